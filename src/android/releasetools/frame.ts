/** What a package of any kind is made in: its script, its entries, its metadata, and the hooks of the device extension. */
import { OtaError } from "../../core/errors.ts";
import type { ZipEntry } from "../../core/zip/entry.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import { checkExtraScript, checkNames, checkScript } from "./check-script.ts";
import { extensionInput, extensionOutput, type FullOta, type IncrementalOta } from "./extension.ts";
import type { MakeOptions } from "./options.ts";
import { createPlan, type PackagePlan } from "./package-plan.ts";
import { createScript, type Script } from "./script.ts";

export type FullHook = "fullOtaAssertions" | "fullOtaInstallBegin" | "fullOtaInstallEnd";
export type IncrementalHook =
  | "incrementalOtaAssertions"
  | "incrementalOtaVerifyBegin"
  | "incrementalOtaVerifyEnd"
  | "incrementalOtaInstallBegin"
  | "incrementalOtaInstallEnd";

export interface Frame {
  readonly script: Script;
  readonly plan: PackagePlan;
  readonly metadata: Map<string, string>;
  readonly era: "4.4" | "7.1";
  /** Not the vendor profile. */
  readonly safe: boolean;
  readonly note: (level: "info" | "warning", text: string) => void;
}

export interface FullFrame extends Frame {
  /** Lets the device extension add to script and package. */
  hook(name: FullHook): Promise<void>;
}

export interface IncrementalFrame extends Frame {
  hook(name: IncrementalHook): Promise<void>;
}

export interface FrameInput {
  readonly era: "4.4" | "7.1";
  readonly metadata: Map<string, string>;
  /** Permissions are set by `set_metadata`; default: as the build says. */
  readonly setMetadata?: boolean;
}

/**
 * A frame without hooks. What would stop a package after minutes of patching is told here: a program that the build lacks,
 * an extra script that does not parse.
 * @throws OtaError ANDROID_TARGET_FILES, ANDROID_SCRIPT
 */
export function openFrame(
  target: TargetFiles,
  options: MakeOptions & { readonly binary?: Uint8Array },
  { era, metadata, setMetadata = target.info.useSetMetadata }: FrameInput,
): Frame {
  if (options.binary === undefined) needUpdater(target);
  if (options.profile !== "vendor") checkExtraScript(options.extraScript, era);
  if (options.fota === true) metadata.set("fota", "on");
  return {
    script: createScript({ fstab: target.fstab, useSetMetadata: setMetadata }),
    plan: createPlan(),
    metadata,
    era,
    safe: options.profile !== "vendor",
    note: (level, text) => options.progress.note(level, text),
  };
}

/** The program that goes into the package. @throws OtaError ANDROID_TARGET_FILES when the build has none */
export function needUpdater({ zip }: TargetFiles): ZipEntry {
  const updater = zip.get("OTA/bin/updater");
  if (updater === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", { what: "the target files lack an entry", where: "OTA/bin/updater" });
  }
  return updater;
}

/** What every hook is given, whatever the kind of package. */
function sharedOf(
  frame: Frame,
  target: TargetFiles,
  options: MakeOptions,
): Omit<FullOta, "kind" | "input" | "version"> {
  const { script, plan, metadata, note } = frame;
  const extras = options.extras ?? new Map<string, string>();
  return { script, output: extensionOutput(plan), metadata, info: target.info.values, extras, note };
}

export function withFullHooks(frame: Frame, target: TargetFiles, options: MakeOptions): FullFrame {
  const ota: FullOta = {
    ...sharedOf(frame, target, options),
    kind: "full",
    input: extensionInput(target.zip),
    version: target.info.recoveryApiVersion,
  };
  return {
    ...frame,
    hook: async (name) => {
      await options.extension?.[name]?.(ota);
    },
  };
}

export function withIncrementalHooks(
  frame: Frame,
  source: TargetFiles,
  target: TargetFiles,
  options: MakeOptions,
): IncrementalFrame {
  const ota: IncrementalOta = {
    ...sharedOf(frame, target, options),
    kind: "incremental",
    source: extensionInput(source.zip),
    target: extensionInput(target.zip),
    sourceVersion: source.info.recoveryApiVersion,
    targetVersion: target.info.recoveryApiVersion,
    sourceInfo: source.info.values,
  };
  return {
    ...frame,
    hook: async (name) => {
      await options.extension?.[name]?.(ota);
    },
  };
}

/** The finished script and the package's names as a device of that year reads them. @throws OtaError ANDROID_SCRIPT */
export function checkFrame({ script, plan, era, note }: Frame, options: MakeOptions): void {
  const { profile = "safe", extraScript } = options;
  const names = plan.entries.map((entry) => entry.input.name);
  checkNames(names, { era, note });
  checkScript(script.text(), { era, profile, extraScript, note });
}

/** An image that a package cannot do without. @throws OtaError ANDROID_TARGET_FILES */
export async function needImage(target: TargetFiles, name: "boot" | "recovery"): Promise<BootableImage> {
  const image = await target.image(name);
  if (image === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: `there is no ${name}.img and nothing to build it from`,
      expected: `BOOTABLE_IMAGES/${name}.img, or ${name.toUpperCase()}/kernel and ${name.toUpperCase()}/RAMDISK/`,
    });
  }
  return image;
}
