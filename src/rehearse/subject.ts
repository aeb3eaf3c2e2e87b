/** What is rehearsed: a device and an installer. */
import type { Device } from "../core/index.ts";
import type { SimulatedDevice } from "../device/simulated/index.ts";

/** What a device is after the same command was run again. */
export type Ending = { readonly state: "old" | "new" } | { readonly state: "broken"; readonly reason: string };

/** How the last run of the installer ended. */
export interface RunResult {
  /** Whether the installer reported success. */
  readonly succeeded: boolean;
  /** The refusal or failure when it did not. */
  readonly error?: unknown;
}

export interface RehearsalSubject {
  /** The device before the update. Made once a thread; its log is not used. */
  makeDevice(): SimulatedDevice;
  /**
   * One run of the installer, as a command would start it: also after a cut, on the device as the cut left it. Resolves when it
   * reports success, rejects with an OtaError when it refuses or fails. It must not keep anything from one call to the next.
   */
  install(device: Device): Promise<unknown>;
  /**
   * Judges the device after the last run, with everything unflushed lost. Absent: all nodes, UBI volumes and files are compared
   * with those of the old device and of a clean run; attributes count, times do not, files of neither system do not matter.
   */
  judge?(device: Device, result: RunResult): Promise<Ending>;
  /**
   * What the loader would start right after the cut, before the installer is run again: a reason when that is no complete old or
   * new system. Only for devices that can start at any moment (A/B slots); absent elsewhere.
   */
  boots?(device: Device): Promise<string | undefined>;
}

/**
 * How a worker thread makes the same subject: `module` is the URL of a module that exports `rehearsalSubject(data)`, `data` can be
 * cloned.
 */
export interface RehearsalJob {
  readonly module: string;
  readonly data: unknown;
}
