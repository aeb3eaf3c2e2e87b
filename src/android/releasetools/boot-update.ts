/** The boot image in an incremental package: left alone, patched where it is, or written whole. */
import { needPartition } from "../target-files/fstab.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import type { Frame } from "./frame.ts";
import type { PatchMaker } from "./patches.ts";
import type { PatchStatement } from "./script.ts";

const PATCH_NAME = "patch/boot.img.p";

/** A boot image as patch statements name it: with the sizes and hashes of both builds. */
export function bootName(build: TargetFiles, from: BootableImage, to: BootableImage): string {
  const { type, device } = needPartition(build.fstab, "/boot");
  return `${type}:${device}:${from.data.length}:${from.sha1}:${to.data.length}:${to.sha1}`;
}

/** A patched boot image. */
export interface BootPatch {
  readonly from: BootableImage;
  readonly to: BootableImage;
  readonly statement: PatchStatement;
  /** What may stand in /cache or on the partition when the package is run again. */
  readonly hashes: readonly string[];
}

/** Puts the patch into the package. `build`: whose fstab names the partition; `fileMode`: Unix mode of the entry. */
export function addBootPatch(
  { plan, safe, note }: Frame,
  patch: Uint8Array,
  { from, to, build, fileMode }: { from: BootableImage; to: BootableImage; build: TargetFiles; fileMode?: number },
): BootPatch {
  plan.addBytes(PATCH_NAME, patch, fileMode);
  note("info", `boot      target: ${to.data.length}  source: ${from.data.length}  diff: ${patch.length}`);
  const source = bootName(build, from, to);
  const statement = {
    source,
    targetSize: to.data.length,
    targetSha1: to.sha1,
    sourceSha1: from.sha1,
    patch: PATCH_NAME,
  };
  // Without hashes the copy in /cache never counts, and an update cut while it wrote the partition cannot go on.
  return { from, to, statement, hashes: safe ? [to.sha1, from.sha1] : [] };
}

/** A patch of a boot image by whatever makes one: its members unpacked, or its bytes. */
export async function makeBootPatch(maker: PatchMaker, from: BootableImage, to: BootableImage): Promise<Uint8Array> {
  return (await maker.imgdiff(from.data, to.data, { zip: false })) ?? (await maker.bsdiff(from.data, to.data));
}

/** The whole image: two-step packages wrote the recovery over the old one. */
export function writeWholeBoot({ plan, script, note }: Frame, boot: BootableImage, fileMode?: number): void {
  plan.addBytes("boot.img", boot.data, fileMode);
  script.writeRawImage("/boot", "boot.img");
  note("info", "writing full boot image (forced by two-step mode)");
}
