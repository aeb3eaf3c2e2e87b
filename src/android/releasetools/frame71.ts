/** What packages of the 7.1 tool have in common, of files or of blocks: options, identity, first and last statements. */
import { BINARY_NAME, METADATA_NAME, SCRIPT_NAME } from "../entry-names.ts";
import { encodeText } from "../../core/text.ts";
import * as write from "../block/script.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import { metadataText } from "./finish.ts";
import {
  checkFrame,
  needImage,
  needUpdater,
  openFrame,
  withFullHooks,
  withIncrementalHooks,
  type Frame,
  type FullFrame,
  type IncrementalFrame,
} from "./frame.ts";
import {
  assertDevice,
  checkOrder,
  identityOf,
  mountOem,
  type Identity,
  type OemSettings,
  type OrderOptions,
} from "./identity.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { twoStep, type TwoStep } from "./two-step.ts";

/** What packages of 5.0 and later take beside the common options. */
export interface Options71 extends MakeOptions, OrderOptions {
  /** Read again what was written: files, or partitions. */
  readonly verify?: boolean;
  /** Program instead of the build's own updater. */
  readonly binary?: Uint8Array;
  /** Values of the OEM partition, for builds with `oem_fingerprint_properties`. */
  readonly oem?: OemSettings;
}

/** Entries of this tool carry the type of a regular file. */
export const FILE = 0o100644;
const PROGRAM = 0o100755;

/** Mount flags of the build for a partition: `recovery_mount_options` is `ext4=a,b|f2fs=c`. */
export function mountFlags(target: TargetFiles, mountPoint: string): string {
  const { fsType, context } = needPartition(target.fstab, mountPoint);
  let flags = "";
  for (const option of (target.info.values.get("recovery_mount_options") ?? "").split("|")) {
    const equals = option.indexOf("=");
    if (equals > 0 && option.slice(0, equals) === fsType) flags = option.slice(equals + 1);
  }
  return [context, flags].filter((f) => f !== undefined && f !== "").join(",");
}

/** Where the OEM partition says who the device is, it is mounted before anything asks. */
export function openIdentity71(frame: Frame, identity: Identity, target: TargetFiles, options: Options71): void {
  if (identity.oem.length > 0) mountOem(frame.script, identity, options.oem, mountFlags(target, "/oem"));
}

/** Metadata of a package for one build; `type`: of what it is made. */
export function fullMetadata71(
  target: TargetFiles,
  { fingerprint, device }: Identity,
  type?: "FILE" | "BLOCK",
): Map<string, string> {
  return new Map([
    ["post-build", fingerprint],
    ["pre-device", device],
    ["post-timestamp", target.prop("ro.build.date.utc")],
    ["ota-required-cache", "0"],
    ...(type === undefined ? [] : [["ota-type", type] as const]),
  ]);
}

/** A two-step package brings the recovery that installs it. */
async function addRecovery(frame: Frame, target: TargetFiles): Promise<void> {
  const recovery = await needImage(target, "recovery");
  if (frame.safe) checkImageSize(recovery, "/recovery", target, frame.note);
  frame.plan.addBytes("recovery.img", recovery.data, FILE);
}

/** A full package in the making. */
export interface Full71 {
  readonly frame: FullFrame;
  readonly steps: TwoStep | undefined;
  /** User data is wiped. */
  readonly wipe: boolean;
}

/** All that comes before a full package's first write. @throws OtaError ANDROID_*, ZIP_* */
export async function beginFull71(
  target: TargetFiles,
  options: Options71,
  how: { readonly type: "FILE" | "BLOCK"; readonly setMetadata?: boolean },
): Promise<Full71> {
  const identity = identityOf(target, options.oem);
  const metadata = fullMetadata71(target, identity, how.type);
  const frame = withFullHooks(openFrame(target, options, { ...how, era: "7.1", metadata }), target, options);
  const { script, plan } = frame;
  openIdentity71(frame, identity, target, options);
  if (options.omitPrereq !== true) {
    write.assertOlderBuild(script, target.prop("ro.build.date.utc"), target.prop("ro.build.date"));
  }
  assertDevice(script, identity);
  await frame.hook("fullOtaAssertions");
  const steps = options.twoStep === true ? twoStep(target, "7.1") : undefined;
  if (steps !== undefined) {
    await addRecovery(frame, target);
    steps.fullPrologue(script);
  }
  script.print(`Target: ${identity.fingerprint}`);
  await frame.hook("fullOtaInstallBegin");
  const contexts = target.zip.get("BOOT/RAMDISK/file_contexts");
  if (contexts !== undefined) plan.addBytes("file_contexts", await target.zip.read(contexts), FILE);
  return { frame, steps, wipe: options.wipeUserData === true };
}

/** The boot image, and all that follows a full package's partitions. */
export async function endFull71(
  { frame, steps, wipe }: Full71,
  boot: BootableImage,
  target: TargetFiles,
  options: Options71,
): Promise<MadePackage> {
  const { script, plan, note } = frame;
  checkImageSize(boot, "/boot", target, note);
  plan.addBytes("boot.img", boot.data, FILE);
  script.showProgress(0.05, 5);
  script.writeRawImage("/boot", "boot.img");
  script.showProgress(0.2, 10);
  await frame.hook("fullOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  script.unmountAll();
  if (wipe) {
    script.showProgress(0.1, 10);
    script.format("/data");
  }
  steps?.fullEpilogue(script);
  script.setProgress(1);
  return finish71(frame, target, options);
}

/** An incremental package in the making. */
export interface Incremental71 {
  readonly frame: IncrementalFrame;
  readonly before: Identity;
  readonly after: Identity;
  readonly steps: TwoStep | undefined;
  readonly wipe: boolean;
}

/** @throws OtaError ANDROID_NOT_POSSIBLE when the builds do not fit one another or the options */
export function beginIncremental71(
  source: TargetFiles,
  target: TargetFiles,
  options: Options71,
  how: { readonly type: "FILE" | "BLOCK"; readonly setMetadata?: boolean },
): Incremental71 {
  const postTimestamp = checkOrder(source, target, options, (level, text) => options.progress.note(level, text));
  const [before, after] = [identityOf(source, options.oem), identityOf(target, options.oem)];
  const metadata = new Map([
    ["pre-device", before.device],
    ["post-timestamp", postTimestamp],
    ["pre-build", before.fingerprint],
    ["post-build", after.fingerprint],
    ["pre-build-incremental", source.prop("ro.build.version.incremental")],
    ["post-build-incremental", target.prop("ro.build.version.incremental")],
    ["ota-type", how.type],
  ]);
  if (options.downgrade === true) metadata.set("ota-downgrade", "yes");
  return {
    frame: withIncrementalHooks(openFrame(target, options, { ...how, era: "7.1", metadata }), source, target, options),
    before,
    after,
    steps: options.twoStep === true ? twoStep(target, "7.1") : undefined,
    wipe: options.wipeUserData === true || options.downgrade === true,
  };
}

/** From the check of the device to the first check of its contents. */
export async function beginChecks71(
  { frame, before, after, steps }: Incremental71,
  target: TargetFiles,
): Promise<void> {
  const { script } = frame;
  assertDevice(script, after);
  await frame.hook("incrementalOtaAssertions");
  if (steps !== undefined) {
    await addRecovery(frame, target);
    steps.incrementalPrologue(script);
  }
  script.print(`Source: ${before.fingerprint}`);
  script.print(`Target: ${after.fingerprint}`);
  script.print("Verifying current system...");
  await frame.hook("incrementalOtaVerifyBegin");
}

/** From the last check to the first change; `bytes`: what the change needs of /cache, undefined for nothing to ask for. */
export async function endChecks71({ frame, steps }: Incremental71, bytes: number | undefined): Promise<void> {
  const { script, metadata } = frame;
  metadata.set("ota-required-cache", String(bytes ?? 0));
  if (bytes !== undefined) write.checkSpace(script, bytes);
  await frame.hook("incrementalOtaVerifyEnd");
  steps?.incrementalMiddle(script);
}

/** User data, and the end of a two-step package. */
export function endIncremental71({ frame, steps, wipe }: Incremental71): void {
  const { script } = frame;
  if (wipe) {
    script.print("Erasing user data...");
    script.format("/data");
  }
  steps?.incrementalEpilogue(script);
}

/** The entries that every package of this tool ends with. @throws OtaError ANDROID_SCRIPT, ANDROID_TARGET_FILES */
export async function finish71(frame: Frame, target: TargetFiles, options: Options71): Promise<MadePackage> {
  const { script, plan, metadata } = frame;
  script.unmountAll();
  checkFrame(frame, options);
  plan.addBytes(SCRIPT_NAME, encodeText(script.text()), FILE);
  const binary = options.binary ?? (await target.zip.read(needUpdater(target)));
  plan.addBytes(BINARY_NAME, binary, PROGRAM);
  plan.addBytes(METADATA_NAME, encodeText(metadataText(metadata)), FILE);
  return { plan, script: script.text(), metadata, defaultKey: target.info.defaultKey };
}
