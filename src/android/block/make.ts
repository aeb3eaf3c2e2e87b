/** Block-based packages as the 7.1 tool makes them, with the brotli data of 8.1 on request (formats/android.md 3). */
import { withProfilePatches } from "../releasetools/vendor-patches.ts";
import { toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Codecs, Digests } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { encodeText } from "../../core/text.ts";
import { fromLatin1 } from "../latin1.ts";
import { openImage, type BlockImage } from "../images/sparse.ts";
import { checkScript } from "../releasetools/check-script.ts";
import {
  extensionInput,
  extensionOutput,
  type DeviceExtension,
  type FullOta,
  type IncrementalOta,
} from "../releasetools/extension.ts";
import { BINARY_NAME, METADATA_NAME, metadataText, SCRIPT_NAME } from "../releasetools/finish.ts";
import { needImage } from "../releasetools/full.ts";
import { mountFlags } from "../releasetools/files71.ts";
import {
  assertBuild,
  assertDevice,
  checkOrder,
  identityOf,
  mountOem,
  type OemSettings,
} from "../releasetools/identity.ts";
import { checkImageSize } from "../releasetools/image-size.ts";
import type { MadePackage, MakeOptions } from "../releasetools/options.ts";
import { createPlan, modeAttributes, type PackagePlan } from "../releasetools/package-plan.ts";
import { createScript, type Script } from "../releasetools/script.ts";
import { needPartition } from "../target-files/fstab.ts";
import { parseInteger } from "../target-files/key-values.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { mapImage, readBlocks, wholeImage, type MappedImage } from "./image-map.ts";
import { newDataOf, planBlocks, type BlockPlan, type TransferVersion } from "./plan.ts";
import { rawText, size, subtract, type Ranges } from "./ranges.ts";
import * as write from "./script.ts";

/** What block-based packages take beside the common options. */
export interface BlockOptions extends MakeOptions {
  readonly codecs: Pick<Codecs, "brotliCompress">;
  /** Check the partitions again after they were written. */
  readonly verify?: boolean;
  /** Share of the cache partition that may be used; default 0.8. */
  readonly stashThreshold?: number;
  /** An older build over a newer one: user data is wiped. */
  readonly downgrade?: boolean;
  /** 8.1: new data packed with brotli. */
  readonly brotli?: boolean;
  /** Program instead of the build's own updater. */
  readonly binary?: Uint8Array;
  /** Values of the OEM partition, for builds with `oem_fingerprint_properties`. */
  readonly oem?: OemSettings;
}

/** Entries of this tool carry the type of a regular file. */
const FILE = 0o100644;
const PROGRAM = 0o100755;
/** A sparse image of a partition; packed ones are unpacked in memory. */
const MAX_IMAGE = 3 * 2 ** 30;

const PARTITIONS: readonly write.BlockPartition[] = ["system", "vendor"];

function hasPartition(target: TargetFiles, partition: write.BlockPartition): boolean {
  return (
    partition === "system" ||
    (target.zip.get(`IMAGES/${partition}.img`) !== undefined && target.fstab.has(`/${partition}`))
  );
}

async function loadImage(
  target: TargetFiles,
  partition: write.BlockPartition,
): Promise<{ image: BlockImage; map: string | undefined }> {
  const entry = target.zip.need(`IMAGES/${partition}.img`);
  const reader = entry.method === 0 ? target.zip.raw(entry) : memoryReader(await target.zip.read(entry, MAX_IMAGE));
  if (entry.method === 0) for await (const _ of target.zip.stream(entry));
  const mapEntry = target.zip.get(`IMAGES/${partition}.map`);
  const image = await openImage(reader);
  if (image.blockSize !== 4096) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "the updater knows blocks of 4096 bytes only",
      where: entry.name,
      found: image.blockSize,
    });
  }
  return {
    image,
    map: mapEntry === undefined ? undefined : fromLatin1(await target.zip.read(mapEntry)),
  };
}

/** Version of the transfer list: the highest the build's updater knows. */
export function transferVersion(target: TargetFiles): TransferVersion {
  const text = target.info.values.get("blockimgdiff_versions") ?? "1";
  const versions = text.split(",").map((v) => parseInteger(v, "blockimgdiff_versions"));
  const version = Math.min(4, Math.max(...versions));
  if (version !== 1 && version !== 2 && version !== 3 && version !== 4) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: "unknown transfer list version",
      where: "blockimgdiff_versions",
      found: text,
    });
  }
  return version;
}

async function sha1Of(image: BlockImage, blocks: Ranges, digests: Digests): Promise<string> {
  const digest = digests.create("sha1");
  for (let i = 0; i < blocks.length; i += 2) {
    for (let at = blocks[i] as number; at < (blocks[i + 1] as number); at += 256) {
      digest.update(await readBlocks(image, [at, Math.min(at + 256, blocks[i + 1] as number)]));
    }
  }
  return toHex(digest.digest());
}

/** One partition's update, ready to be put into a package. */
interface Difference {
  readonly statements: write.PartitionScript;
  readonly plan: BlockPlan;
  readonly target: MappedImage;
  readonly source: MappedImage | undefined;
}

async function differ(
  partition: write.BlockPartition,
  target: TargetFiles,
  source: TargetFiles | undefined,
  options: BlockOptions,
): Promise<Difference> {
  const fresh = await loadImage(target, partition);
  const old = source === undefined ? undefined : await loadImage(source, partition);
  const mapped = old === undefined ? wholeImage(fresh.image) : await mapImage(fresh.image, fresh.map);
  const mappedOld = old === undefined ? undefined : await mapImage(old.image, old.map);
  const cache = target.info.size("cache");
  if (cache === undefined && old !== undefined)
    options.progress.note("warning", "the build does not state cache_size: the stash is not limited");
  const plan = await planBlocks(mapped, mappedOld, {
    version: transferVersion(target),
    patches: options.patches,
    digests: options.digests,
    progress: options.progress,
    cancel: options.cancel,
    ...(cache === undefined ? {} : { stashLimitBytes: cache * (options.stashThreshold ?? 0.8) }),
  });
  return {
    statements: write.partitionScript(target, partition, options.brotli === true),
    plan,
    target: mapped,
    source: mappedOld,
  };
}

async function gather(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Puts list, new data and patches into the package. */
async function addDifference(plan: PackagePlan, d: Difference, options: BlockOptions): Promise<void> {
  const { partition, newData } = d.statements;
  plan.addBytes(`${partition}.transfer.list`, encodeText(d.plan.list), FILE);
  if (options.brotli === true) {
    const packed = await gather(options.codecs.brotliCompress(newDataOf(d.plan, d.target)));
    plan.add({
      input: { name: newData, method: 0, externalAttributes: modeAttributes(FILE) },
      size: packed.length,
      content: async function* () {
        if (packed.length > 0) yield packed;
      },
    });
  } else {
    plan.add({
      input: { name: newData, method: 8, externalAttributes: modeAttributes(FILE) },
      size: d.plan.newSize,
      content: () => newDataOf(d.plan, d.target),
    });
  }
  const { patchData } = d.plan;
  plan.add({
    input: { name: `${partition}.patch.dat`, method: 0, externalAttributes: modeAttributes(FILE) },
    size: patchData.length,
    content: async function* () {
      if (patchData.length > 0) yield patchData;
    },
  });
}

/** The update of a partition in the script, and its data in the package. */
async function writeUpdate(
  script: Script,
  plan: PackagePlan,
  d: Difference,
  { progress, options }: { progress?: number; options: BlockOptions },
): Promise<void> {
  const { partition } = d.statements;
  script.print(
    d.source === undefined
      ? `Patching ${partition} image unconditionally...`
      : `Patching ${partition} image after verification.`,
  );
  if (progress !== undefined) script.showProgress(progress, 0);
  await addDifference(plan, d, options);
  write.updatePartition(script, d.statements);
  if (options.verify !== true) return;
  const { image, extended } = d.target;
  const zeros = options.digests.create("sha1");
  for (let i = 0; i < size(extended); i++) zeros.update(new Uint8Array(image.blockSize));
  write.verifyUpdated(script, d.statements, {
    ranges: image.care,
    sha1: await sha1Of(image, image.care, options.digests),
    extended,
    extendedSha1: toHex(zeros.digest()),
  });
}

function begin(
  target: TargetFiles,
  options: BlockOptions,
): { script: Script; plan: PackagePlan; note: FullOta["note"] } {
  if (target.zip.get("SYSTEM/recovery-from-boot.p") === undefined) {
    options.progress.note(
      "warning",
      "the build has no SYSTEM/recovery-from-boot.p: the recovery partition is not updated by this package",
    );
  }
  return {
    script: createScript({ fstab: target.fstab, useSetMetadata: true }),
    plan: createPlan(),
    note: (level, text) => options.progress.note(level, text),
  };
}

async function finish(
  plan: PackagePlan,
  script: Script,
  target: TargetFiles,
  { metadata, options }: { metadata: ReadonlyMap<string, string>; options: BlockOptions },
): Promise<MadePackage> {
  script.unmountAll();
  checkScript(script.text(), {
    era: "7.1",
    profile: options.profile ?? "safe",
    extraScript: options.extraScript,
    note: (level, text) => options.progress.note(level, text),
  });
  plan.addBytes(SCRIPT_NAME, encodeText(script.text()), FILE);
  const binary = options.binary ?? (await target.zip.read(target.zip.need("OTA/bin/updater")));
  plan.addBytes(BINARY_NAME, binary, PROGRAM);
  plan.addBytes(METADATA_NAME, encodeText(metadataText(metadata)), FILE);
  return { plan, script: script.text(), metadata, defaultKey: target.info.defaultKey };
}

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
  checkOrder(source, target, options.downgrade === true, note);
  const [before, after] = [identityOf(source, options.oem), identityOf(target, options.oem)];
  const [preBuild, postBuild] = [before.fingerprint, after.fingerprint];
  const metadata = new Map([
    ["pre-device", before.device],
    ["post-timestamp", target.prop("ro.build.date.utc")],
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

/** A package that changes nothing and tells whether the device has this build (`--gen_verify`). */
export async function makeVerifyPackage(target: TargetFiles, options: BlockOptions): Promise<MadePackage> {
  const { script, plan } = begin(target, options);
  const identity = identityOf(target, options.oem);
  const { fingerprint } = identity;
  const metadata = new Map([
    ["post-build", fingerprint],
    ["pre-device", identity.device],
    ["post-timestamp", target.prop("ro.build.date.utc")],
    ["ota-required-cache", "0"],
  ]);
  if (identity.oem.length > 0) mountOem(script, identity, options.oem, mountFlags(target, "/oem"));
  assertDevice(script, identity);
  script.print(`Verifying device images against ${fingerprint}...`);
  script.append("");
  const verdict = (check: string, name: string): void => {
    script.append(`${check} && ui_print("    Verified.") || ui_print("\\"${name}\\" has unexpected contents.");`);
    script.append("");
  };
  for (const name of ["boot", "recovery"] as const) {
    const image = await needImage(target, name);
    const { type, device } = needPartition(target.fstab, `/${name}`);
    const text = `${type}:${device}:${image.data.length}:${image.sha1}`;
    script.print(`Verifying ${name}...`);
    verdict(`apply_patch_check("${text}")`, text);
  }
  for (const partition of PARTITIONS) {
    if (!hasPartition(target, partition)) continue;
    const { image } = await loadImage(target, partition);
    const { device } = needPartition(target.fstab, `/${partition}`);
    script.print(`Verifying ${partition}...`);
    verdict(
      `range_sha1("${device}", "${rawText(image.care)}") == "${await sha1Of(image, image.care, options.digests)}"`,
      device,
    );
  }
  script.setProgress(1);
  return finish(plan, script, target, { metadata, options });
}
