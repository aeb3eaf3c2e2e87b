/** Each part of cover selection as steps, for one lane. */
import type { Bzip2Block } from "../bzip2/joiner.ts";
import { evenSteps } from "../bzip2/writer.ts";
import type { Steps } from "../core-calls.ts";
import { COUNTS_SIZE } from "../core/emit.ts";
import {
  ARENA_CANDIDATE_COUNT,
  ARENA_COVER_COUNT,
  ARENA_DIFF_SIZE,
  ARENA_EXTRA_SIZE,
  ARENA_NEW_SIZE,
  ARENA_START,
  ARENA_TABLE_COUNT,
  JOB_BUCKETS,
  JOB_PART_BITS,
  JOB_POSITIONS,
  JOB_SLOTS,
  JOB_TABLE,
} from "../core/work.ts";
import type { ArenaLayout, JobLayout, Settings } from "./plan.ts";
import type { PriceTables } from "./prices.ts";

/** A share of work: part `index` of `count`. */
export interface Share {
  readonly index: number;
  readonly count: number;
}

function part(total: number, share: Share, unit: number): [from: number, to: number] {
  const cut = (k: number) => Math.min(total, Math.ceil((total * k) / share.count / unit) * unit);
  return [cut(share.index), cut(share.index + 1)];
}

/** Seeds and table keys in a share of old. */
export function* countSteps(layout: JobLayout, step: number, share: Share): Steps<readonly [number, number]> {
  const seeds = part(Math.max(0, layout.oldSize - 7), share, step);
  const keys = part(layout.oldSize, share, 8);
  const seedCount = yield ["countSeeds", layout.job, seeds[0], seeds[1]];
  return [seedCount, yield ["countTableKeys", layout.job, keys[0], keys[1]]];
}

/** Decides the sizes of the indexes from the counts; gives the numbers of buckets and slots. */
export function sizeIndexes(memory: ArrayBufferLike, layout: JobLayout, seeds: number, keys: number): [number, number] {
  const words = new Int32Array(memory);
  const buckets = Math.max(1, Math.floor(seeds / 2));
  const slots = keys;
  const positions = layout.heads + 4 * (buckets + 1);
  words[(layout.job + JOB_BUCKETS) / 4] = buckets;
  words[(layout.job + JOB_POSITIONS) / 4] = positions;
  words[(layout.job + JOB_SLOTS) / 4] = slots;
  words[(layout.job + JOB_TABLE) / 4] = positions + 4 * seeds;
  words[(layout.job + JOB_PART_BITS) / 4] = partBits(buckets);
  words[layout.heads / 4] = 0;
  return [buckets, slots];
}

/** Buckets that are put in order at a time, as a power of two: what fits the nearest cache, but at most 1024 parts. */
function partBits(buckets: number): number {
  let bits = 13;
  while (buckets >>> bits >= 1024) bits++;
  return bits;
}

/** `at`: the lane's arena, the same for {@link fillSteps}. */
export function* countBucketSteps(layout: JobLayout, at: ArenaLayout, buckets: number, share: Share): Steps<number> {
  const [from, to] = part(buckets, share, 1 << partBits(buckets));
  return yield ["countBuckets", layout.job, at.candidates, from, to];
}

export function* fillSteps(
  layout: JobLayout,
  at: ArenaLayout,
  sizes: readonly [number, number],
  share: Share,
  start: number,
): Steps<void> {
  const [from, to] = part(sizes[0], share, 1 << partBits(sizes[0]));
  yield ["fillBuckets", layout.job, at.candidates, from, to, start];
  if (sizes[1] === 0) return;
  const slots = part(sizes[1], share, 1);
  yield ["fillTable", layout.job, slots[0], slots[1]];
}

/** Where a range of new lies, and where its bytes would be in the window of old if nothing moved. */
export interface Range {
  readonly newAt: number;
  readonly size: number;
  /** Position of `newAt` in the window. */
  readonly expected: number;
}

/** Puts a range's bytes into an arena. */
export function loadRange(memory: ArrayBufferLike, at: ArenaLayout, range: Range, bytes: Uint8Array): void {
  new Uint8Array(memory, at.fresh, range.size).set(bytes);
  const words = new Int32Array(memory, at.arena, 32);
  words[ARENA_NEW_SIZE / 4] = range.size;
  words[ARENA_START / 4] = range.expected;
}

/** The candidates of a range, kept between passes. */
export interface Candidates {
  readonly segments: Int32Array;
  readonly tables: Int32Array;
}

export function* gatherSteps(layout: JobLayout, at: ArenaLayout): Steps<void> {
  yield ["gather", layout.job, at.arena];
  yield ["gatherTables", layout.job, at.arena];
}

export function* searchSteps(layout: JobLayout, at: ArenaLayout, learn: boolean): Steps<void> {
  yield ["select", layout.job, at.arena];
  if (learn) yield ["countPath", layout.job, at.arena];
  else yield ["emit", layout.job, at.arena];
}

export function saveCandidates(memory: ArrayBufferLike, at: ArenaLayout): Candidates {
  const words = new Int32Array(memory, at.arena, 32);
  const list = (address: number, field: number) =>
    new Int32Array(memory, address, 3 * (words[field / 4] as number)).slice();
  return {
    segments: list(at.candidates, ARENA_CANDIDATE_COUNT),
    tables: list(at.tables, ARENA_TABLE_COUNT),
  };
}

export function restoreCandidates(memory: ArrayBufferLike, at: ArenaLayout, saved: Candidates): void {
  const words = new Int32Array(memory, at.arena, 32);
  new Int32Array(memory, at.candidates, saved.segments.length).set(saved.segments);
  new Int32Array(memory, at.tables, saved.tables.length).set(saved.tables);
  words[ARENA_CANDIDATE_COUNT / 4] = saved.segments.length / 3;
  words[ARENA_TABLE_COUNT / 4] = saved.tables.length / 3;
}

/** Adds an arena's statistics to `sum` and clears them. */
export function takeCounts(memory: ArrayBufferLike, at: ArenaLayout, sum: Float64Array): void {
  const counts = new Uint32Array(memory, at.counts, COUNTS_SIZE / 4);
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i] as number;
    if (count !== 0) sum[i] = (sum[i] as number) + count;
  }
  counts.fill(0);
}

/** What a range makes of the patch. */
export interface RangeResult {
  /** Start, length, alignment of each cover. */
  readonly covers: Int32Array;
  /** Difference bytes; none where they are compressed already. */
  readonly diff: Uint8Array;
  readonly blocks: readonly Bzip2Block[];
  readonly extra: Uint8Array;
}

/** Compresses the difference bytes of the arena's range where {@link Settings.apart} asks for it; gives its blocks. */
export function* compressSteps(memory: ArrayBufferLike, at: ArenaLayout, settings: Settings): Steps<Bzip2Block[]> {
  if (!settings.apart) return [];
  const words = new Int32Array(memory, at.arena, 32);
  const size = words[ARENA_DIFF_SIZE / 4] as number;
  const blocks = yield* evenSteps(memory, at.piece, [at.diff, size], settings.cutting.leaf);
  words[ARENA_DIFF_SIZE / 4] = 0;
  return blocks;
}

/** The arena's result in place; valid until the arena is used again. */
export function viewResult(memory: ArrayBufferLike, at: ArenaLayout, blocks: readonly Bzip2Block[]): RangeResult {
  const words = new Int32Array(memory, at.arena, 32);
  return {
    covers: new Int32Array(memory, at.covers, 3 * (words[ARENA_COVER_COUNT / 4] as number)),
    diff: new Uint8Array(memory, at.diff, words[ARENA_DIFF_SIZE / 4]),
    blocks,
    extra: new Uint8Array(memory, at.extra, words[ARENA_EXTRA_SIZE / 4]),
  };
}

/** A copy of a result, for one that has to wait for its turn. */
export function copyResult({ covers, diff, blocks, extra }: RangeResult): RangeResult {
  return { covers: covers.slice(), diff: diff.slice(), blocks, extra: extra.slice() };
}

/** Writes price tables where the job has them. */
export function writePrices(memory: ArrayBufferLike, layout: JobLayout, tables: PriceTables): void {
  new Uint16Array(memory, layout.prices, tables.differences.length).set(tables.differences);
  new Uint16Array(memory, layout.literals, tables.literals.length).set(tables.literals);
}
