/** Options that several commands share, and their readers. */
import { InvalidArgumentError, type Command } from "commander";
import { paintProgress, parseProgressStyle, type Painter } from "./progress.ts";
import type { CommonOptions } from "./family.ts";
import type { Io } from "./io.ts";

export { printReport } from "./report.ts";

/** A whole number, decimal or `0x` hex. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^(0x[0-9a-fA-F]+|[0-9]+)$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("Expected a whole number.");
  }
  return value;
}

export interface SharedValues {
  json?: boolean;
  progress?: string;
  vendorCompatible?: boolean;
}

/** Adds `--json`, `--progress` and `--vendor-compatible`. */
export function withSharedOptions(command: Command): Command {
  return command
    .option("--json", "print JSON on standard output and nothing else there")
    .option("--progress <style>", "auto, plain, json or none (on standard error)")
    .option("--vendor-compatible", "behave as the vendor's own program, harmful cases included");
}

/** The painter and the options every family verb takes. */
export function commonOptions(values: SharedValues, io: Io): CommonOptions & { progress: Painter } {
  return {
    progress: paintProgress(io, parseProgressStyle(values.progress)),
    cancel: io.signal,
    profile: values.vendorCompatible === true ? "vendor" : "safe",
  };
}
