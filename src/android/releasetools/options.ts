/** What a package is made with; shared by full and incremental ones. */
import type { Cancel, Digests, ProgressSink } from "../../core/ports.ts";
import type { DeviceExtension } from "./extension.ts";
import type { PackagePlan } from "./package-plan.ts";
import type { PatchMaker } from "./patches.ts";

export interface MakeOptions {
  readonly digests: Digests;
  readonly patches: PatchMaker;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel;
  /** `vendor`: the 4.4 tool's package to the byte; `safe` (default): one that works on the device. */
  readonly profile?: "safe" | "vendor";
  /** Format /data on install. */
  readonly wipeUserData?: boolean;
  /** Leave out the check for a newer build (full packages). */
  readonly omitPrereq?: boolean;
  /** Text appended to the script as it stands. */
  readonly extraScript?: string;
  /** Install in two boots, over the recovery partition. */
  readonly twoStep?: boolean;
  /** Recorded in the metadata. */
  readonly fota?: boolean;
  readonly extension?: DeviceExtension;
  /** Values for the extension. */
  readonly extras?: ReadonlyMap<string, string>;
}

/** A package, ready to be written and signed. */
export interface MadePackage {
  readonly plan: PackagePlan;
  /** Text of META-INF/com/google/android/updater-script. */
  readonly script: string;
  readonly metadata: ReadonlyMap<string, string>;
  /** Default signing key of the build, a path without suffix. */
  readonly defaultKey: string;
}
