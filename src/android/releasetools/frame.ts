/** What a package of any kind is made in: its script, its entries, its metadata, and the hooks of the device extension. */
import { OtaError } from "../../core/errors.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import { checkScript } from "./check-script.ts";
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

/** A frame without hooks; `setMetadata`: permissions are set by `set_metadata`. */
export function openFrame(
  target: TargetFiles,
  options: MakeOptions,
  metadata: Map<string, string>,
  setMetadata = target.info.useSetMetadata,
): Frame {
  if (options.fota === true) metadata.set("fota", "on");
  return {
    script: createScript({ fstab: target.fstab, useSetMetadata: setMetadata }),
    plan: createPlan(),
    metadata,
    safe: options.profile !== "vendor",
    note: (level, text) => options.progress.note(level, text),
  };
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

/** The finished script as a device of that year reads it. @throws OtaError ANDROID_SCRIPT */
export function checkFrame({ script, note }: Frame, options: MakeOptions, era: "4.4" | "7.1"): void {
  const { profile = "safe", extraScript } = options;
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
