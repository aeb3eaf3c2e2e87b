/** A delta that cannot be used here falls back to the full package the user named with it. */
import { OtaError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { ProgressSink } from "../core/ports.ts";

/** Raised before the first write when the base of a delta, or what is needed to expand it, is not on this device. */
const NEEDS_FULL: readonly ErrorCode[] = ["K230_WRONG_BASE", "FORGE_BASE", "FORGE_REPACKER", "FORGE_VERSION"];

/** Runs `install` with `name`, and once more with `full` when `name` is a delta that this device cannot use. */
export async function installOrFull(
  name: string,
  full: string | undefined,
  install: (name: string) => Promise<number>,
  progress: ProgressSink,
): Promise<number> {
  try {
    return await install(name);
  } catch (e) {
    if (full === undefined || !(e instanceof OtaError) || !NEEDS_FULL.includes(e.code)) throw e;
    progress.note("warning", `${e.message} Installing ${full} instead.`);
    return install(full);
  }
}
