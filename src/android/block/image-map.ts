/** Which block of an image belongs to which file (formats/android.md 3.2). */
import { isAllByte } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import type { BlockImage } from "../images/sparse.ts";
import { EMPTY, extend, intersect, overlaps, parseMapRanges, ranges, size, subtract, type Ranges } from "./ranges.ts";

export interface MappedFile {
  readonly blocks: Ranges;
  /** The file's blocks stand in ascending order, so reading them in order gives the file. */
  readonly monotonic: boolean;
}

export interface MappedImage {
  readonly image: BlockImage;
  /** Files by path, and the groups `__ZERO`, `__NONZERO-n`, `__COPY`, `__DATA`. */
  readonly files: ReadonlyMap<string, MappedFile>;
  /** The superblock: a mount changes it. */
  readonly clobbered: Ranges;
  /** Blocks near used ones that are zeroed, too: file systems read ahead into them. */
  readonly extended: Ranges;
}

/** Blocks that belong to no file are patched in groups of at most this many. */
const GROUP = 1024;
const EXTENSION = 512;

/** The bytes of a set of blocks, in ascending order. */
export async function readBlocks(image: BlockImage, blocks: Ranges): Promise<Uint8Array> {
  const { blockSize, raw } = image;
  const out = new Uint8Array(size(blocks) * blockSize);
  let at = 0;
  for (let i = 0; i < blocks.length; i += 2) {
    const start = (blocks[i] as number) * blockSize;
    const length = (blocks[i + 1] as number) * blockSize - start;
    out.set(await raw.read(start, length), at);
    at += length;
  }
  return out;
}

/** Splits blocks into those that are all zero and those that are not. */
async function splitZeros(image: BlockImage, blocks: Ranges): Promise<{ zero: Ranges; other: Ranges }> {
  const zero: number[] = [];
  const other: number[] = [];
  const { blockSize, raw } = image;
  for (let i = 0; i < blocks.length; i += 2) {
    const end = blocks[i + 1] as number;
    for (let start = blocks[i] as number; start < end;) {
      const count = Math.min(256, end - start);
      const data = await raw.read(start * blockSize, count * blockSize);
      for (let k = 0; k < count; k++) {
        const block = data.subarray(k * blockSize, (k + 1) * blockSize);
        (isAllByte(block, 0) ? zero : other).push(start + k, start + k + 1);
      }
      start += count;
    }
  }
  return { zero: ranges(zero), other: ranges(other) };
}

function bad(what: string, name: string): OtaError {
  return new OtaError("ANDROID_TARGET_FILES", { what, where: `block map: ${printable(name)}` });
}

/** An image with its block map; without one, everything that is used is one group. @throws OtaError ANDROID_TARGET_FILES */
export async function mapImage(image: BlockImage, mapText: string | undefined): Promise<MappedImage> {
  const { care, blocks } = image;
  const clobbered = intersect(care, [0, 1]);
  const extended = subtract(extend(care, EXTENSION, blocks), care);
  const files = new Map<string, MappedFile>();
  let rest = care;
  for (const line of (mapText ?? "").split("\n")) {
    if (line.trim() === "") continue;
    const blank = line.search(/\s/);
    const name = blank < 0 ? line : line.slice(0, blank);
    const { set, monotonic } = parseMapRanges(blank < 0 ? "" : line.slice(blank), `block map: ${printable(name)}`);
    if (size(intersect(set, rest)) !== size(set))
      throw bad("a file has blocks that are not in the image, or another file's", name);
    if (overlaps(set, clobbered)) throw bad("a file has the superblock", name);
    if (files.has(name)) throw bad("a file is listed twice", name);
    files.set(name, { blocks: set, monotonic });
    rest = subtract(rest, set);
  }
  rest = subtract(rest, clobbered);
  const { zero, other } = await splitZeros(image, rest);
  if (size(zero) > 0) files.set("__ZERO", { blocks: zero, monotonic: true });
  let left = other;
  for (let i = 0; size(left) > 0; i++) {
    const group: number[] = [];
    let room = GROUP;
    const after: number[] = [];
    for (let k = 0; k < left.length; k += 2) {
      const [start, end] = [left[k] as number, left[k + 1] as number];
      const take = Math.min(room, end - start);
      if (take > 0) group.push(start, start + take);
      if (take < end - start) after.push(start + take, end);
      room -= take;
    }
    files.set(`__NONZERO-${i}`, { blocks: group, monotonic: true });
    left = after;
  }
  if (clobbered.length > 0) files.set("__COPY", { blocks: clobbered, monotonic: true });
  return { image, files, clobbered, extended };
}

/** The image as one piece: what a full package writes. */
export function wholeImage(image: BlockImage): MappedImage {
  const { care, blocks } = image;
  return {
    image,
    files: new Map(care.length === 0 ? [] : [["__DATA", { blocks: care, monotonic: true }]]),
    clobbered: EMPTY,
    extended: subtract(extend(care, EXTENSION, blocks), care),
  };
}
