/** Makes delta images from two finished images: of the release that runs and of the one to come. */
import { concatBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { Cancel, Digests, ProgressSink, RandomReader } from "../core/ports.ts";
import { memoryReader, sliceReader, streamRange } from "../core/streams.ts";
import {
  LARGEST_SHARE,
  makeOtaforge,
  patchProven,
  readForgeHeader,
  type DeltaMaker,
  type DeltaOptions,
  type PartFinder,
  type Repacker,
} from "../delta/index.ts";
import { MAX_PATCH_MEMORY } from "./delta-image.ts";
import { checkInstallable } from "./installable.ts";
import type { InstallPart } from "./installable.ts";
import { encodeKdimgHead, MAX_PATCH_SIZE, readKdimg, verifyPart } from "./kdimg.ts";
import type { Kdimg, KdimgPart } from "./kdimg.ts";
import { KDIMG_CONTENT_START } from "./layouts.ts";

export interface DeltaImageOptions {
  readonly digests: Digests;
  readonly maker: DeltaMaker;
  /** Re-packers the devices have, and finders of what they pack; default: those inside the toolkit. */
  readonly repackers?: readonly Repacker[];
  readonly finders?: readonly PartFinder[];
  readonly effort?: DeltaOptions["effort"];
  readonly cancel?: Cancel;
  readonly progress?: ProgressSink;
}

/** What became of one part. */
export interface DeltaPartReport {
  readonly name: string;
  readonly kind: "delta" | "full";
  /** Bytes the part takes in the image, and in the full one. */
  readonly size: number;
  readonly fullSize: number;
  /** Why it is carried in full. */
  readonly why?: string;
}

export interface DeltaImage {
  /** False when no patch was worth it: then the image is a plain kdimg, and the driver takes it. */
  readonly isDelta: boolean;
  readonly parts: readonly DeltaPartReport[];
  readonly size: number;
  /** The image's bytes in order. */
  content(): AsyncGenerator<Uint8Array>;
}

const BLOCK = 4096;
const up = (value: number): number => Math.ceil(value / BLOCK) * BLOCK;

interface Made {
  readonly part: KdimgPart;
  readonly content: RandomReader;
  readonly report: DeltaPartReport;
}

/** The base's content of a part: of an OTA image by its own name, of a card image by either slot's. */
function findBase({ parts }: Kdimg, name: string): KdimgPart | undefined {
  for (const known of [name, `${name}_a`, `${name}_b`]) {
    const part = parts.find((p) => p.name === known && p.delta === undefined && p.contentSize > 0);
    if (part !== undefined) return part;
  }
  return undefined;
}

const contentOf = (image: RandomReader, part: KdimgPart): RandomReader =>
  sliceReader(image, part.contentOffset, part.contentSize);

/**
 * The delta image that turns `base` into `fresh`. Every patch is applied here and compared before it is taken; one that is
 * larger than 95 % of the full content, or than {@link MAX_PATCH_SIZE}, is left and the content carried in full.
 *
 * @param base image of the running slot: an OTA image, or the card image a device was flashed with
 * @param fresh full OTA image of the new system, with rtt and rtapp
 * @throws OtaError KDIMG_*, CANCELLED
 */
export async function makeDeltaImage(
  base: RandomReader,
  fresh: RandomReader,
  options: DeltaImageOptions,
): Promise<DeltaImage> {
  const crc = (b: Uint8Array): number => options.digests.crc32(b);
  const [old, image] = [await readKdimg(base, crc), await readKdimg(fresh, crc)];
  if (image.parts.some((p) => p.delta !== undefined)) {
    throw new OtaError("KDIMG_BAD_DELTA", "the new image is a delta itself; its full image is needed");
  }
  const { parts } = checkInstallable(image);
  const made: Made[] = [];
  for (const part of parts) {
    const from = findBase(old, part.name);
    for (const [reader, checked] of [
      [fresh, part],
      [base, from],
    ] as const) {
      const problem = checked === undefined ? undefined : await verifyPart(reader, checked, options.digests);
      if (problem !== undefined) throw problem;
    }
    made.push(await makePart({ base, fresh, from }, part, options));
  }
  return assemble(image, made, crc);
}

interface Pair {
  readonly base: RandomReader;
  readonly fresh: RandomReader;
  readonly from: KdimgPart | undefined;
}

async function makePart({ base, fresh, from }: Pair, part: InstallPart, options: DeltaImageOptions): Promise<Made> {
  const { name, contentSize: fullSize, sha256 } = part;
  const content = contentOf(fresh, part);
  const full = (why: string): Made => ({
    part,
    content,
    report: { name, kind: "full", size: fullSize, fullSize, why },
  });
  if (from === undefined) return full(`the base has no ${printable(name)}`);
  const { digests, maker, effort, repackers, finders, cancel, progress } = options;
  const packing = repackers === undefined ? {} : { repackers };
  const old = contentOf(base, from);
  const signal = cancel === undefined ? {} : { signal: cancel };
  const patch = await makeOtaforge(maker, old, content, {
    digests,
    ...signal,
    ...packing,
    ...(finders === undefined ? {} : { finders }),
    ...(effort === undefined ? {} : { effort }),
    ...(progress === undefined ? {} : { progress: (event) => progress.progress({ ...event, item: name }) }),
  });
  if (patch.length > LARGEST_SHARE * fullSize) return full("its patch is no smaller");
  if (patch.length > MAX_PATCH_SIZE) return full("its patch is larger than an installer keeps in memory");
  if ((await readForgeHeader(memoryReader(patch))).memoryBytes > MAX_PATCH_MEMORY) {
    return full("its patch needs more memory than an installer gives");
  }
  if (!(await patchProven("otaforge", patch, [old, content], { digests, ...signal, ...packing }))) {
    return full("its patch does not give the new content");
  }
  const digest = digests.create("sha256");
  digest.update(patch);
  const delta = {
    baseSize: from.contentSize,
    baseSha256: from.sha256,
    resultSize: fullSize,
    resultSha256: sha256,
  };
  return {
    part: { ...part, size: patch.length, contentSize: patch.length, sha256: digest.digest(), delta },
    content: memoryReader(patch),
    report: { name, kind: "delta", size: patch.length, fullSize },
  };
}

/** Contents one behind the other from 64 KiB, each on a 4 KiB boundary, as the vendor's packer lays them. */
function assemble({ header }: Kdimg, made: readonly Made[], crc: (bytes: Uint8Array) => number): DeltaImage {
  let cursor = KDIMG_CONTENT_START;
  const placed = made.map(({ part, content }) => {
    const at = cursor;
    cursor += up(content.size);
    return { part: { ...part, contentOffset: at }, content };
  });
  const head = encodeKdimgHead(
    header,
    placed.map((p) => p.part),
    crc,
  );
  return {
    isDelta: made.some((m) => m.part.delta !== undefined),
    parts: made.map((m) => m.report),
    size: cursor,
    async *content() {
      yield concatBytes(head, new Uint8Array(KDIMG_CONTENT_START - head.length));
      for (const { content } of placed) {
        yield* streamRange(content);
        const padding = up(content.size) - content.size;
        if (padding > 0) yield new Uint8Array(padding);
      }
    },
  };
}
