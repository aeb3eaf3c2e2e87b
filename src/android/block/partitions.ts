/** The partitions of block-based packages: their images, what changes, and how it gets into package and script. */
import { toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Codecs, Digests } from "../../core/ports.ts";
import { streamRange } from "../../core/streams.ts";
import { encodeText } from "../../core/text.ts";
import { fromLatin1 } from "../latin1.ts";
import { openImage, type BlockImage } from "../images/sparse.ts";
import { FILE, type Options71 } from "../releasetools/frame71.ts";
import { modeAttributes, type PackagePlan } from "../releasetools/package-plan.ts";
import type { Script } from "../releasetools/script.ts";
import { memoryScratch, spool, unpackEntry, type OpenScratch } from "../scratch.ts";
import { parseInteger } from "../target-files/key-values.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { mapImage, readBlocks, wholeImage, type MappedImage } from "./image-map.ts";
import { newDataOf, patchDataOf, planBlocks, type BlockPlan, type TransferVersion } from "./plan.ts";
import { size, type Ranges } from "./ranges.ts";
import * as write from "./script.ts";

/** What block-based packages take beside the common options. */
export interface BlockOptions extends Options71 {
  readonly codecs: Pick<Codecs, "brotliCompress">;
  /** Share of the cache partition that may be used; default 0.8. */
  readonly stashThreshold?: number;
  /** 8.1: new data packed with brotli. */
  readonly brotli?: boolean;
  /** Where images that are packed in the build, patches and packed data are kept; absent: in memory. */
  readonly openScratch?: OpenScratch;
}

export const PARTITIONS: readonly write.BlockPartition[] = ["system", "vendor"];

export function hasPartition(target: TargetFiles, partition: write.BlockPartition): boolean {
  return (
    partition === "system" ||
    (target.zip.get(`IMAGES/${partition}.img`) !== undefined && target.fstab.has(`/${partition}`))
  );
}

const openMemory: OpenScratch = () => Promise.resolve(memoryScratch());

export async function loadImage(
  target: TargetFiles,
  partition: write.BlockPartition,
  { openScratch = openMemory, progress, cancel }: BlockOptions,
): Promise<{ image: BlockImage; map: string | undefined }> {
  const entry = target.zip.need(`IMAGES/${partition}.img`);
  const reader = await unpackEntry(target.zip, entry, openScratch, { item: partition, progress, cancel });
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

export async function sha1Of(image: BlockImage, blocks: Ranges, digests: Digests): Promise<string> {
  const digest = digests.create("sha1");
  for (let i = 0; i < blocks.length; i += 2) {
    for (let at = blocks[i] as number; at < (blocks[i + 1] as number); at += 256) {
      digest.update(await readBlocks(image, [at, Math.min(at + 256, blocks[i + 1] as number)]));
    }
  }
  return toHex(digest.digest());
}

/** One partition's update, ready to be put into a package. */
export interface Difference {
  readonly statements: write.PartitionScript;
  readonly plan: BlockPlan;
  readonly target: MappedImage;
  readonly source: MappedImage | undefined;
}

export async function differ(
  partition: write.BlockPartition,
  target: TargetFiles,
  source: TargetFiles | undefined,
  options: BlockOptions,
): Promise<Difference> {
  const fresh = await loadImage(target, partition, options);
  const old = source === undefined ? undefined : await loadImage(source, partition, options);
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
    scratch: await (options.openScratch ?? openMemory)(),
    ...(cache === undefined ? {} : { stashLimitBytes: cache * (options.stashThreshold ?? 0.8) }),
  });
  return {
    statements: write.partitionScript(target, partition, options.brotli === true),
    plan,
    target: mapped,
    source: mappedOld,
  };
}

/** Puts list, new data and patches into the package. */
async function addDifference(plan: PackagePlan, d: Difference, options: BlockOptions): Promise<void> {
  const { partition, newData } = d.statements;
  plan.addBytes(`${partition}.transfer.list`, encodeText(d.plan.list), FILE);
  if (options.brotli === true) {
    const data = options.codecs.brotliCompress(newDataOf(d.plan, d.target));
    const packed = await spool(data, await (options.openScratch ?? openMemory)(), options.cancel);
    plan.add({
      input: { name: newData, method: 0, externalAttributes: modeAttributes(FILE) },
      size: packed.size,
      content: () => streamRange(packed),
    });
  } else {
    plan.add({
      input: { name: newData, method: 8, externalAttributes: modeAttributes(FILE) },
      size: d.plan.newSize,
      content: () => newDataOf(d.plan, d.target),
    });
  }
  plan.add({
    input: { name: `${partition}.patch.dat`, method: 0, externalAttributes: modeAttributes(FILE) },
    size: d.plan.patchSize,
    content: () => patchDataOf(d.plan),
  });
}

/** The update of a partition in the script, and its data in the package. */
export async function writeUpdate(
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
