/** `otaforge pack android`: the options of `ota_from_target_files`. */
import type { Command } from "commander";
import { OTA_HELP, OTA_OPTIONS, otaFromTargetFilesMain } from "./commands/ota-from-target-files.ts";
import type { Io } from "./io.ts";
import { runGuarded } from "./run.ts";

type Values = Record<string, string[] | boolean | undefined>;

/** Commander's name for a long option. */
function attribute(long: string): string {
  return long.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase());
}

export function buildAndroidPack(command: Command, io: Io, done: (exitCode: number) => void): void {
  command.description("Makes an OTA package from target files: the options of ota_from_target_files.");
  command.argument("<target_files>", "target files zip").argument("<output>", "package to write");
  for (const { long, short, takesValue } of OTA_OPTIONS) {
    if (long === "help" || long === undefined) continue;
    const flags = `${short === undefined ? "" : `-${short}, `}--${long}${takesValue ? " <value>" : ""}`;
    if (takesValue) command.option(flags, "", (v: string, list?: string[]) => [...(list ?? []), v]);
    else command.option(flags);
  }
  command.helpInformation = () =>
    OTA_HELP.replace("ota_from_target_files [options]", "otaforge pack android [options]");
  command.action(async (target: string, output: string, values: Values) => {
    const argv: string[] = [];
    for (const { long = "" } of OTA_OPTIONS) {
      const value = values[attribute(long)];
      if (value === true) argv.push(`--${long}`);
      else if (Array.isArray(value)) for (const v of value) argv.push(`--${long}=${v}`);
    }
    done(await runGuarded("otaforge pack android", otaFromTargetFilesMain, [...argv, "--", target, output], io));
  });
}
