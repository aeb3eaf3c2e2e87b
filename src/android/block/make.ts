/** Block-based packages as the 7.1 tool makes them, with the brotli data of 8.1 on request (formats/android.md 3). */
import { withProfilePatches } from "../releasetools/vendor-patches.ts";
import {
  extensionInput,
  extensionOutput,
  type DeviceExtension,
  type FullOta,
  type IncrementalOta,
} from "../releasetools/extension.ts";
import { needImage } from "../releasetools/full.ts";
import { mountFlags } from "../releasetools/files71.ts";
import { assertBuild, assertDevice, checkOrder, identityOf, mountOem } from "../releasetools/identity.ts";
import { checkImageSize } from "../releasetools/image-size.ts";
import type { MadePackage } from "../releasetools/options.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { subtract } from "./ranges.ts";
import * as write from "./script.ts";
import {
  type BlockOptions,
  FILE,
  PARTITIONS,
  hasPartition,
  transferVersion,
  sha1Of,
  type Difference,
  differ,
  writeUpdate,
} from "./partitions.ts";
import { begin, finish } from "./frame.ts";

/** A full block-based package. @throws OtaError ANDROID_*, ZIP_* */
export async function makeBlockFull(target: TargetFiles, options: BlockOptions): Promise<MadePackage> {
  const { script, plan, note } = begin(target, options);
  const identity = identityOf(target, options.oem);
  const { device, fingerprint } = identity;
  const timestamp = target.prop("ro.build.date.utc");
  const metadata = new Map([
    ["post-build", fingerprint],
    ["pre-device", device],
    ["post-timestamp", timestamp],
    ["ota-required-cache", "0"],
    ["ota-type", "BLOCK"],
  ]);
  if (options.fota === true) metadata.set("fota", "on");
  const ota: FullOta = {
    kind: "full",
    script,
    input: extensionInput(target.zip),
    output: extensionOutput(plan),
    version: target.info.recoveryApiVersion,
    metadata,
    info: target.info.values,
    extras: options.extras ?? new Map(),
    note,
  };
  const hook = async (name: keyof DeviceExtension & `full${string}`): Promise<void> => {
    await (options.extension?.[name] as ((ota: FullOta) => void | Promise<void>) | undefined)?.(ota);
  };
  const wipe = options.wipeUserData === true;

  if (identity.oem.length > 0) mountOem(script, identity, options.oem, mountFlags(target, "/oem"));
  if (options.omitPrereq !== true) write.assertOlderBuild(script, timestamp, target.prop("ro.build.date"));
  assertDevice(script, identity);
  await hook("fullOtaAssertions");
  const steps = options.twoStep === true ? write.twoStep71(target) : undefined;
  if (steps !== undefined) {
    const recovery = await needImage(target, "recovery");
    if (options.profile !== "vendor") checkImageSize(recovery, "/recovery", target, note);
    plan.addBytes("recovery.img", recovery.data, FILE);
    steps.fullPrologue(script);
  }
  script.print(`Target: ${fingerprint}`);
  await hook("fullOtaInstallBegin");
  const vendor = hasPartition(target, "vendor");
  const contexts = target.zip.get("BOOT/RAMDISK/file_contexts");
  if (contexts !== undefined) plan.addBytes("file_contexts", await target.zip.read(contexts), FILE);
  script.showProgress(0.75 - (wipe ? 0.1 : 0) - (vendor ? 0.1 : 0), 0);
  await writeUpdate(script, plan, await differ("system", target, undefined, options), { options });
  if (vendor)
    await writeUpdate(script, plan, await differ("vendor", target, undefined, options), { progress: 0.1, options });
  const boot = await needImage(target, "boot");
  checkImageSize(boot, "/boot", target, note);
  plan.addBytes("boot.img", boot.data, FILE);
  script.showProgress(0.05, 5);
  script.writeRawImage("/boot", "boot.img");
  script.showProgress(0.2, 10);
  await hook("fullOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  script.unmountAll();
  if (wipe) {
    script.showProgress(0.1, 10);
    script.format("/data");
  }
  steps?.fullEpilogue(script);
  script.setProgress(1);
  return finish(plan, script, target, { metadata, options });
}

/** An incremental block-based package. @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeBlockIncremental(
  source: TargetFiles,
  target: TargetFiles,
  made: BlockOptions,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const { script, plan, note } = begin(target, options);
  const version = transferVersion(target);
  const wipe = options.wipeUserData === true || options.downgrade === true;
  const postTimestamp = checkOrder(source, target, options, note);
  const [before, after] = [identityOf(source, options.oem), identityOf(target, options.oem)];
  const [preBuild, postBuild] = [before.fingerprint, after.fingerprint];
  const metadata = new Map([
    ["pre-device", before.device],
    ["post-timestamp", postTimestamp],
    ["pre-build", preBuild],
    ["post-build", postBuild],
    ["pre-build-incremental", source.prop("ro.build.version.incremental")],
    ["post-build-incremental", target.prop("ro.build.version.incremental")],
    ["ota-type", "BLOCK"],
  ]);
  if (options.downgrade === true) metadata.set("ota-downgrade", "yes");
  if (options.fota === true) metadata.set("fota", "on");
  const ota: IncrementalOta = {
    kind: "incremental",
    script,
    source: extensionInput(source.zip),
    target: extensionInput(target.zip),
    output: extensionOutput(plan),
    sourceVersion: source.info.recoveryApiVersion,
    targetVersion: target.info.recoveryApiVersion,
    metadata,
    info: target.info.values,
    sourceInfo: source.info.values,
    extras: options.extras ?? new Map(),
    note,
  };
  const hook = async (name: keyof DeviceExtension & `incremental${string}`): Promise<void> => {
    await (options.extension?.[name] as ((ota: IncrementalOta) => void | Promise<void>) | undefined)?.(ota);
  };

  const differences: Difference[] = [];
  for (const partition of PARTITIONS) {
    if (!hasPartition(target, partition)) continue;
    differences.push(await differ(partition, target, hasPartition(source, partition) ? source : undefined, options));
  }
  const sourceBoot = await needImage(source, "boot");
  const targetBoot = await needImage(target, "boot");
  const steps = options.twoStep === true ? write.twoStep71(target) : undefined;
  const updateBoot = steps === undefined && sourceBoot.sha1 !== targetBoot.sha1;

  if (after.oem.length > 0) mountOem(script, after, options.oem, mountFlags(target, "/oem"));
  assertDevice(script, after);
  await hook("incrementalOtaAssertions");
  if (steps !== undefined) {
    const recovery = await needImage(target, "recovery");
    if (options.profile !== "vendor") checkImageSize(recovery, "/recovery", target, note);
    plan.addBytes("recovery.img", recovery.data, FILE);
    steps.incrementalPrologue(script);
  }
  script.print(`Source: ${preBuild}`);
  script.print(`Target: ${postBuild}`);
  script.print("Verifying current system...");
  await hook("incrementalOtaVerifyBegin");
  // Versions 1 and 2 cannot be run twice, so an updated device is refused early.
  assertBuild(script, before, version >= 3 ? after : undefined);
  const required = differences.map((d) => d.plan.maxStashedBlocks * d.target.image.blockSize);
  const bootPatch = updateBoot
    ? await options.patches.imgdiff(sourceBoot.data, targetBoot.data, { zip: false })
    : undefined;
  const { type, device } = needPartition(target.fstab, "/boot");
  const bootName = `${type}:${device}:${sourceBoot.data.length}:${sourceBoot.sha1}:${targetBoot.data.length}:${targetBoot.sha1}`;
  if (updateBoot && options.profile !== "vendor") checkImageSize(targetBoot, "/boot", target, note);
  if (bootPatch !== undefined) {
    note(
      "info",
      `boot      target: ${targetBoot.data.length}  source: ${sourceBoot.data.length}  diff: ${bootPatch.length}`,
    );
    plan.addBytes("patch/boot.img.p", bootPatch, FILE);
    write.checkFile(script, bootName, options.profile === "vendor" ? [] : [targetBoot.sha1, sourceBoot.sha1]);
    required.push(targetBoot.data.length);
  } else if (updateBoot) plan.addBytes("boot.img", targetBoot.data, FILE);
  const cache = Math.max(...required);
  metadata.set("ota-required-cache", String(cache));
  write.checkSpace(script, cache);
  await hook("incrementalOtaVerifyEnd");
  steps?.incrementalMiddle(script);

  for (const d of differences) {
    if (d.source === undefined) continue;
    const blocks = version >= 3 ? d.plan.touched : subtract(d.source.image.care, d.source.clobbered);
    if (blocks.length === 0) continue;
    write.verifyPartition(script, d.statements, {
      version,
      ranges: blocks,
      sha1: await sha1Of(d.source.image, blocks, options.digests),
    });
  }
  script.comment("---- start making changes here ----");
  await hook("incrementalOtaInstallBegin");
  const vendor = differences.length > 1;
  for (const d of differences) {
    const progress = d.statements.partition === "vendor" ? 0.1 : vendor ? 0.8 : 0.9;
    await writeUpdate(script, plan, d, { progress, options });
  }
  if (steps !== undefined) {
    plan.addBytes("boot.img", targetBoot.data, FILE);
    script.writeRawImage("/boot", "boot.img");
    note("info", "writing full boot image (forced by two-step mode)");
  } else if (bootPatch !== undefined) {
    script.print("Patching boot image...");
    script.showProgress(0.1, 10);
    write.applyPatch(script, {
      source: bootName,
      targetSize: targetBoot.data.length,
      targetSha1: targetBoot.sha1,
      sourceSha1: sourceBoot.sha1,
      patch: "patch/boot.img.p",
    });
    note("info", "boot image changed; including patch.");
  } else if (updateBoot) {
    script.print("Installing boot image...");
    script.writeRawImage("/boot", "boot.img");
    note("info", "boot image changed; including full.");
  } else note("info", "boot image unchanged; skipping.");
  await hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  if (wipe) {
    script.print("Erasing user data...");
    script.format("/data");
  }
  steps?.incrementalEpilogue(script);
  script.setProgress(1);
  return finish(plan, script, target, { metadata, options });
}
