/** Block-based packages: images are compared block by block, and a transfer list turns one into the other (formats/android.md 3). */
import { withProfilePatches } from "../releasetools/vendor-patches.ts";
import { addBootPatch, writeWholeBoot, type BootPatch } from "../releasetools/boot-update.ts";
import { needImage, type Frame } from "../releasetools/frame.ts";
import {
  beginChecks71,
  beginFull71,
  beginIncremental71,
  endChecks71,
  endFull71,
  endIncremental71,
  FILE,
  finish71,
  openIdentity71,
} from "../releasetools/frame71.ts";
import { hasRecoveryPatch } from "../releasetools/full71.ts";
import { assertBuild } from "../releasetools/identity.ts";
import { checkImageSize } from "../releasetools/image-size.ts";
import type { MadePackage } from "../releasetools/options.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import {
  differ,
  hasPartition,
  PARTITIONS,
  sha1Of,
  transferVersion,
  writeUpdate,
  type BlockOptions,
  type Difference,
} from "./partitions.ts";
import { subtract } from "./ranges.ts";
import * as write from "./script.ts";

/** Permissions are part of the images; `set_metadata` is what the tool would write. */
export const BLOCK = { type: "BLOCK", setMetadata: true } as const;

/** Blocks hold what is on the partitions, and no recovery patch beside it. */
export function noteRecovery(target: TargetFiles, note: Frame["note"]): void {
  if (hasRecoveryPatch(target)) return;
  note(
    "warning",
    "the build has no SYSTEM/recovery-from-boot.p: the recovery partition is not updated by this package",
  );
}

/** A full block-based package. @throws OtaError ANDROID_*, ZIP_* */
export async function makeBlockFull(target: TargetFiles, options: BlockOptions): Promise<MadePackage> {
  noteRecovery(target, (level, text) => options.progress.note(level, text));
  const full = await beginFull71(target, options, BLOCK);
  const { script, plan } = full.frame;
  const vendor = hasPartition(target, "vendor");
  script.showProgress(0.75 - (full.wipe ? 0.1 : 0) - (vendor ? 0.1 : 0), 0);
  await writeUpdate(script, plan, await differ("system", target, undefined, options), { options });
  if (vendor)
    await writeUpdate(script, plan, await differ("vendor", target, undefined, options), { progress: 0.1, options });
  return endFull71(full, await needImage(target, "boot"), target, options);
}

/** An incremental block-based package. @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeBlockIncremental(
  source: TargetFiles,
  target: TargetFiles,
  made: BlockOptions,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  noteRecovery(target, (level, text) => options.progress.note(level, text));
  const incremental = beginIncremental71(source, target, options, BLOCK);
  const { frame, before, after, steps } = incremental;
  const { script, plan, safe, note } = frame;
  const version = transferVersion(target);

  const differences: Difference[] = [];
  for (const partition of PARTITIONS) {
    if (!hasPartition(target, partition)) continue;
    differences.push(await differ(partition, target, hasPartition(source, partition) ? source : undefined, options));
  }
  const sourceBoot = await needImage(source, "boot");
  const targetBoot = await needImage(target, "boot");
  const updateBoot = steps === undefined && sourceBoot.sha1 !== targetBoot.sha1;

  openIdentity71(frame, after, target, options);
  await beginChecks71(incremental, target);
  // Versions 1 and 2 cannot be run twice, so an updated device is refused early.
  assertBuild(script, before, version >= 3 ? after : undefined);
  const required = differences.map((d) => d.plan.maxStashedBlocks * d.target.image.blockSize);
  if (safe && (updateBoot || steps !== undefined)) checkImageSize(targetBoot, "/boot", target, note);
  const boot = updateBoot ? await writeBootCheck() : undefined;
  if (boot !== undefined) required.push(targetBoot.data.length);
  await endChecks71(incremental, Math.max(...required));

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
  await frame.hook("incrementalOtaInstallBegin");
  const vendor = differences.length > 1;
  for (const d of differences) {
    const progress = d.statements.partition === "vendor" ? 0.1 : vendor ? 0.8 : 0.9;
    await writeUpdate(script, plan, d, { progress, options });
  }
  writeBoot();
  await frame.hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  endIncremental71(incremental);
  script.setProgress(1);
  return finish71(frame, target, options);

  /** Undefined when there is no patch: the image is sent whole. */
  async function writeBootCheck(): Promise<BootPatch | undefined> {
    const patch = await options.patches.imgdiff(sourceBoot.data, targetBoot.data, { zip: false });
    if (patch === undefined) {
      plan.addBytes("boot.img", targetBoot.data, FILE);
      return undefined;
    }
    const boot = addBootPatch(frame, patch, { from: sourceBoot, to: targetBoot, build: target, fileMode: FILE });
    write.checkFile(script, boot.statement.source, boot.hashes);
    return boot;
  }

  function writeBoot(): void {
    if (steps !== undefined) writeWholeBoot(frame, targetBoot, FILE);
    else if (boot !== undefined) {
      script.print("Patching boot image...");
      script.showProgress(0.1, 10);
      write.applyPatch(script, boot.statement);
      note("info", "boot image changed; including patch.");
    } else if (updateBoot) {
      script.print("Installing boot image...");
      script.writeRawImage("/boot", "boot.img");
      note("info", "boot image changed; including full.");
    } else note("info", "boot image unchanged; skipping.");
  }
}
