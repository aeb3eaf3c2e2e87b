/**
 * What each block of a new partition is made of: zeros, a block of the old partition, or data, which may be a patch against
 * the file that stood there before. One operation writes each block once, so the order does not matter to the device; it is
 * that of the first block, as a device writes fastest.
 */
import { isAllByte } from "../../core/bytes.ts";
import type { Cancel, Digests, RandomReader } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { intersect, ranges, size, splitAt, subtract, type Ranges } from "../block/ranges.ts";
import type { MappedFile } from "../block/image-map.ts";
import type { Extent } from "./manifest.ts";

/** An operation to be: its data, where it has any, are made afterwards. */
export interface Draft {
  readonly kind: "zero" | "copy" | "data";
  readonly dst: readonly Extent[];
  /** `copy`: where the blocks come from. `data`: old blocks worth patching; empty when there are none. */
  readonly src: readonly Extent[];
}

export interface PlanInput {
  readonly fresh: RandomReader;
  readonly old?: RandomReader;
  readonly blockSize: number;
  /** Blocks of each file, where the build says so. */
  readonly freshFiles?: ReadonlyMap<string, MappedFile>;
  readonly oldFiles?: ReadonlyMap<string, MappedFile>;
  /** Operations of the payload's minor version. */
  readonly zeros: boolean;
  readonly digests: Pick<Digests, "create">;
  readonly cancel?: Cancel;
}

/** Blocks of one operation of full data: 2 MiB, so that a device can take up again soon. */
export const DATA_BLOCKS = 512;
/** Blocks of one patch; more would make it long to take up again. */
const PATCH_BLOCKS = 8192;
/** A partition up to this size is patched as one file where nothing is known of its files: boot, dtbo, modem. */
const WHOLE_BLOCKS = 16384;
/** Old blocks on both sides of a changed range, where nothing is known of its file. */
const SURROUNDINGS = 512;
/** Extents of one copy or zero operation. */
const MOST_EXTENTS = 1024;

export function toExtents(r: Ranges): Extent[] {
  const out: Extent[] = [];
  for (let i = 0; i < r.length; i += 2) {
    const [start, end] = [r[i] as number, r[i + 1] as number];
    out.push({ startBlock: start, numBlocks: end - start });
  }
  return out;
}

/** First six bytes of a digest: a key that a map holds without an object for each block. */
async function blockKeys(reader: RandomReader, input: PlanInput): Promise<{ keys: Float64Array; zero: Uint8Array }> {
  const { blockSize } = input;
  const count = Math.ceil(reader.size / blockSize);
  const keys = new Float64Array(count);
  const zero = new Uint8Array(count);
  const step = 256;
  for (let block = 0; block < count; block += step) {
    checkCancel(input.cancel);
    const at = block * blockSize;
    const bytes = await reader.read(at, Math.min(step * blockSize, reader.size - at));
    for (let i = 0; i * blockSize < bytes.length; i++) {
      const one = bytes.subarray(i * blockSize, (i + 1) * blockSize);
      if (isAllByte(one, 0)) zero[block + i] = 1;
      const digest = input.digests.create("sha256");
      digest.update(one);
      const hash = digest.digest();
      let key = 0;
      for (let k = 0; k < 6; k++) key = key * 256 + (hash[k] as number);
      keys[block + i] = key;
    }
  }
  return { keys, zero };
}

/** Runs of blocks gathered into operations of limited size. */
class RunGatherer {
  readonly #drafts: Draft[];
  readonly #kind: "zero" | "copy";
  #dst: Extent[] = [];
  #src: Extent[] = [];

  constructor(kind: "zero" | "copy", drafts: Draft[]) {
    this.#kind = kind;
    this.#drafts = drafts;
  }

  add(dst: number, src: number | undefined): void {
    const grow = (list: Extent[], block: number): Extent | undefined => {
      const last = list.at(-1);
      if (last === undefined || (last.startBlock as number) + (last.numBlocks as number) !== block) return undefined;
      return { startBlock: last.startBlock as number, numBlocks: (last.numBlocks as number) + 1 };
    };
    const put = (list: Extent[], block: number): void => {
      const grown = grow(list, block);
      if (grown === undefined) list.push({ startBlock: block, numBlocks: 1 });
      else list[list.length - 1] = grown;
    };
    if (this.#dst.length >= MOST_EXTENTS || this.#src.length >= MOST_EXTENTS) this.flush();
    put(this.#dst, dst);
    if (src !== undefined) put(this.#src, src);
  }

  flush(): void {
    if (this.#dst.length > 0) this.#drafts.push({ kind: this.#kind, dst: this.#dst, src: this.#src });
    this.#dst = [];
    this.#src = [];
  }
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The old file a new one is patched from: the same path, else the same base name, else the same with its numbers changed. */
function createFileFinder(old: ReadonlyMap<string, MappedFile>): (path: string) => MappedFile | undefined {
  const numberless = (name: string): string => baseName(name).replace(/[0-9]+/g, "#");
  const byBase = new Map<string, MappedFile>();
  const byPattern = new Map<string, MappedFile>();
  for (const [path, file] of [...old].sort(([a], [b]) => (a < b ? 1 : -1))) {
    if (path.startsWith("__")) continue;
    byBase.set(baseName(path), file);
    byPattern.set(numberless(path), file);
  }
  return (path) => old.get(path) ?? byBase.get(baseName(path)) ?? byPattern.get(numberless(path));
}

/** Blocks in pieces of at most `most`. */
function* pieces(blocks: Ranges, most: number): Generator<Ranges> {
  for (let rest = blocks; size(rest) > 0;) {
    const [first, after] = splitAt(rest, most);
    yield first;
    rest = after;
  }
}

/** Data operations for the blocks that are neither zeros nor copies. */
function planData(blocks: Ranges, input: PlanInput, drafts: Draft[]): void {
  const oldBlocks = input.old === undefined ? 0 : Math.ceil(input.old.size / input.blockSize);
  const add = (dst: Ranges, src: Ranges, most: number): void => {
    for (const piece of pieces(dst, most)) drafts.push({ kind: "data", dst: toExtents(piece), src: toExtents(src) });
  };
  let rest = blocks;
  if (oldBlocks > 0 && input.freshFiles !== undefined && input.oldFiles !== undefined) {
    const find = createFileFinder(input.oldFiles);
    for (const [path, file] of input.freshFiles) {
      if (path.startsWith("__")) continue;
      const changed = intersect(file.blocks, rest);
      if (size(changed) === 0) continue;
      rest = subtract(rest, changed);
      const source = find(path);
      if (source === undefined) add(changed, [], DATA_BLOCKS);
      else add(changed, source.blocks, PATCH_BLOCKS);
    }
  }
  if (oldBlocks === 0) {
    add(rest, [], DATA_BLOCKS);
    return;
  }
  if (oldBlocks <= WHOLE_BLOCKS && input.freshFiles === undefined) {
    add(rest, [0, oldBlocks], PATCH_BLOCKS);
    return;
  }
  for (const piece of pieces(rest, DATA_BLOCKS)) {
    const start = Math.max(0, (piece[0] as number) - SURROUNDINGS);
    const end = Math.min(oldBlocks, (piece.at(-1) as number) + SURROUNDINGS);
    // Scattered changes: the surroundings of the whole span would be most of the partition.
    const near = end - start <= 4 * DATA_BLOCKS + 2 * SURROUNDINGS;
    add(piece, start < end && near ? [start, end] : intersect(piece, [0, oldBlocks]), DATA_BLOCKS);
  }
}

/** Where each block that old holds too comes from; -1 for the others. Digest keys are proven by comparing the blocks. */
async function findCopies(input: PlanInput, old: RandomReader, keys: Float64Array): Promise<Float64Array> {
  const { fresh, blockSize } = input;
  const oldKeys = (await blockKeys(old, input)).keys;
  const places = new Map<number, number>();
  for (let i = oldKeys.length - 1; i >= 0; i--) places.set(oldKeys[i] as number, i);
  const from = new Float64Array(keys.length).fill(-1);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as number;
    // The same place, else one behind the last copy, else the first such block: long runs are few extents.
    const next = i > 0 ? (from[i - 1] as number) + 1 : 0;
    if (oldKeys[i] === key) from[i] = i;
    else if (next > 0 && oldKeys[next] === key) from[i] = next;
    else from[i] = places.get(key) ?? -1;
  }
  for (let i = 0; i < from.length; i++) {
    const source = from[i] as number;
    if (source < 0) continue;
    let n = 1;
    while (n < 256 && from[i + n] === source + n) n++;
    const length = Math.min(n * blockSize, fresh.size - i * blockSize, old.size - source * blockSize);
    const [a, b] = [await fresh.read(i * blockSize, length), await old.read(source * blockSize, length)];
    for (let k = 0; k < n; k++) {
      const [x, y] = [a, b].map((bytes) => bytes.subarray(k * blockSize, (k + 1) * blockSize)) as [
        Uint8Array,
        Uint8Array,
      ];
      if (x.length !== blockSize || x.some((v, at) => v !== y[at])) from[i + k] = -1;
    }
    i += n - 1;
  }
  return from;
}

/** Plans the operations of one partition, in the order of their first blocks. */
export async function planPartition(input: PlanInput): Promise<Draft[]> {
  const { fresh, old } = input;
  const drafts: Draft[] = [];
  const blocks = Math.ceil(fresh.size / input.blockSize);
  if (old === undefined) {
    planData(ranges(blocks === 0 ? [] : [0, blocks]), input, drafts);
    return drafts;
  }
  const { keys, zero } = await blockKeys(fresh, input);
  const from = await findCopies(input, old, keys);
  const zeros = new RunGatherer("zero", drafts);
  const copies = new RunGatherer("copy", drafts);
  const data: number[] = [];
  for (let i = 0; i < blocks; i++) {
    if (zero[i] === 1 && input.zeros) zeros.add(i, undefined);
    else if ((from[i] as number) >= 0) copies.add(i, from[i]);
    else if (data.at(-1) === i) data[data.length - 1] = i + 1;
    else data.push(i, i + 1);
  }
  zeros.flush();
  copies.flush();
  planData(data, input, drafts);
  const first = (d: Draft): number => d.dst[0]?.startBlock ?? 0;
  return drafts.sort((a, b) => first(a) - first(b));
}
