/** Recovery's arguments: where they come from and what they mean, formats/android.md section 7.2. */
import type { EdifyEra } from "../edify/ast.ts";
import type { ControlBlock } from "./bcb.ts";

/** Most arguments taken from the control block or the command file, and longest line of the file. */
const MAX_ARGUMENTS = 99;
const MAX_LINE = 4095;

/** What recovery is asked to do. Texts are byte strings. */
export interface RecoveryRequest {
  readonly updatePackage?: string;
  readonly wipeData: boolean;
  readonly wipeCache: boolean;
  readonly justExit: boolean;
  readonly showText: boolean;
  readonly locale?: string;
  readonly sendIntent?: string;
  readonly reason?: string;
  readonly stages?: string;
  readonly shutdownAfter: boolean;
  /** Attempts before this one (7.1). */
  readonly retryCount: number;
}

/** Option names with whether a value follows, by release. `update-zip` is another spelling of `update_package`. */
const OPTIONS_44: Readonly<Record<string, boolean>> = {
  send_intent: true,
  update_package: true,
  "update-zip": true,
  wipe_data: false,
  wipe_cache: false,
  show_text: false,
  just_exit: false,
  locale: true,
  stages: true,
};
const OPTIONS_71: Readonly<Record<string, boolean>> = {
  ...OPTIONS_44,
  retry_count: true,
  sideload: false,
  sideload_auto_reboot: false,
  shutdown_after: false,
  reason: true,
  security: false,
  wipe_ab: false,
  wipe_package_size: true,
};

/** The first source that has arguments; sources are never merged. */
export function chooseArguments(
  commandLine: readonly string[],
  block: ControlBlock,
  commandFile: string | undefined,
  log: (text: string) => void,
): string[] {
  if (commandLine.length > 0) return [...commandLine];
  const lines = block.recovery.split("\n").filter((line) => line !== "");
  if (lines[0] === "recovery") {
    if (lines.length > 1) {
      log("I:Got arguments from boot message\n");
      return lines.slice(1, MAX_ARGUMENTS + 1);
    }
  } else if (lines.length > 0 && !block.recovery.startsWith("\xff")) {
    log(`E:Bad boot message\n"${block.recovery.slice(0, 20)}"\n`);
  }
  if (commandFile === undefined) return [];
  log("I:Got arguments from /cache/recovery/command\n");
  return commandFile
    .split("\n")
    .map((line) => (line.slice(0, MAX_LINE).replace(/^\r+/, "").split("\r", 1) as [string])[0])
    .filter((line) => line !== "")
    .slice(0, MAX_ARGUMENTS);
}

/** The option a name means: itself, or the only one it begins. */
function optionOf(name: string, options: Readonly<Record<string, boolean>>): string | undefined {
  if (Object.hasOwn(options, name)) return name;
  const found = Object.keys(options).filter((option) => option.startsWith(name));
  return found.length === 1 ? found[0] : undefined;
}

/** Reads arguments; what is none is told to `log` and left out. */
export function parseArguments(args: readonly string[], era: EdifyEra, log: (text: string) => void): RecoveryRequest {
  const options = era === "4.4" ? OPTIONS_44 : OPTIONS_71;
  const values = new Map<string, string>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const match = /^--([^=]*)(?:=(.*))?$/s.exec(arg);
    const name = match === null ? undefined : optionOf(match[1] as string, options);
    if (match === null || name === undefined) {
      log(`E:Invalid command argument: ${arg}\n`);
      continue;
    }
    const value = match[2] ?? (options[name] === true ? args[++i] : "");
    if (value === undefined) log(`E:Invalid command argument: ${arg} has no value\n`);
    else values.set(name === "update-zip" ? "update_package" : name, value);
  }
  const text = <K extends string>(key: K, name: string): Partial<Record<K, string>> => {
    const value = values.get(name);
    return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, string>>);
  };
  const path = values.get("update_package");
  return {
    // The old spelling of a path on the cache partition.
    ...(path === undefined ? {} : { updatePackage: path.startsWith("CACHE:") ? `/cache/${path.slice(6)}` : path }),
    wipeData: values.has("wipe_data"),
    wipeCache: values.has("wipe_data") || values.has("wipe_cache"),
    justExit: values.has("just_exit"),
    showText: values.has("show_text"),
    shutdownAfter: values.has("shutdown_after"),
    retryCount: Math.max(0, Number.parseInt(values.get("retry_count") ?? "0", 10) || 0),
    ...text("locale", "locale"),
    ...text("sendIntent", "send_intent"),
    ...text("reason", "reason"),
    ...text("stages", "stages"),
  };
}
