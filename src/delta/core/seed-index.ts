/**
 * The seed index of old: positions of 8-byte seeds, sorted inside each bucket, so that the nearest to an expected position
 * is found by halving. Bits that positions leave free hold a part of the seed's hash: what shares a bucket and nothing else is told
 * apart without a look at old, which would miss the caches. A position whose seed equals the one a step in front is left out: runs take no room and no time.
 *
 * Workers fill it together: each takes all seeds and keeps those of its own buckets, so that no two write to the same place. Its
 * seeds are dealt out to *parts*, runs of some thousand buckets, and each part is then put in order where it lies. Done seed by
 * seed, every one would miss the caches three times: that took a sixth of a patch's time, and takes a third of that now.
 */
import { equal8, fill, get32, mul32, seedHash, set32, slotOf } from "./memory.ts";
import {
  JOB_BUCKETS,
  JOB_HEADS,
  JOB_OLD,
  JOB_OLD_SIZE,
  JOB_PART_BITS,
  JOB_POSITIONS,
  JOB_SEED_BITS,
  JOB_STEP,
  MAX_PART,
} from "./work.ts";

/** Bytes of the scratch in front of a part's entries: where each part ends. */
const PARTS_SIZE = 8192;

/** How many seeds between `from` and `to` (multiples of the step) are indexed. */
export function countSeeds(job: number, from: number, to: number): number {
  const old = get32(job + JOB_OLD);
  const step = get32(job + JOB_STEP);
  let count = 0;
  for (let p = from; p < to; p += step) {
    if (p === 0 || !equal8(old + p, old + p - step)) count++;
  }
  return count;
}

/**
 * Counts the seeds of buckets `first` to `last` by parts, of which `first` begins one. `scratch`: memory of the worker's own, as it
 * is for {@link fillBuckets} later. @returns how many there are
 */
export function countBuckets(job: number, scratch: number, first: number, last: number): number {
  const old = get32(job + JOB_OLD);
  const end = get32(job + JOB_OLD_SIZE) - 8;
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const bits = get32(job + JOB_PART_BITS);
  fill(scratch, 0, PARTS_SIZE);
  let count = 0;
  for (let p = 0; p <= end; p += step) {
    if (p !== 0 && equal8(old + p, old + p - step)) continue;
    const bucket = slotOf(seedHash(old + p), buckets);
    if (bucket < first || bucket >= last) continue;
    const part = scratch + 4 * ((bucket - first) >>> bits);
    set32(part, get32(part) + 1);
    count++;
  }
  return count;
}

/** Writes the positions of buckets `first` to `last` after {@link countBuckets}; `start`: seeds in all buckets in front. */
export function fillBuckets(job: number, scratch: number, first: number, last: number, start: number): void {
  const old = get32(job + JOB_OLD);
  const end = get32(job + JOB_OLD_SIZE) - 8;
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const positions = get32(job + JOB_POSITIONS);
  const seedBits = get32(job + JOB_SEED_BITS);
  const bits = get32(job + JOB_PART_BITS);
  const parts = (last - first + (1 << bits) - 1) >>> bits;
  let sum = start;
  for (let k = 0; k < parts; k++) {
    const count = get32(scratch + 4 * k);
    set32(scratch + 4 * k, sum);
    sum += count;
  }
  for (let p = 0, index = 0; p <= end; p += step, index++) {
    if (p !== 0 && equal8(old + p, old + p - step)) continue;
    const hash = seedHash(old + p);
    const bucket = slotOf(hash, buckets);
    if (bucket < first || bucket >= last) continue;
    const part = scratch + 4 * ((bucket - first) >>> bits);
    const to = get32(part);
    set32(positions + 4 * to, (hash << seedBits) | index);
    // Each moves from its part's beginning to its end.
    set32(part, to + 1);
  }
  let from = start;
  for (let k = 0; k < parts; k++) {
    const to = get32(scratch + 4 * k);
    const low = first + (k << bits);
    const high = last - low < 1 << bits ? last : low + (1 << bits);
    if (to - from <= MAX_PART) orderPart(job, scratch + PARTS_SIZE, low, high, from, to);
    else orderLargePart(job, low, high, from);
    from = to;
  }
}

/** The counts of buckets become their beginnings. */
function beginnings(heads: number, low: number, high: number, from: number): void {
  let sum = from;
  for (let b = low; b < high; b++) {
    const count = get32(heads + 4 * b);
    set32(heads + 4 * b, sum);
    sum += count;
  }
}

/** Puts the entries `from` to `to` in the order of their buckets, `low` to `high`; each head ends where its bucket does. */
function orderPart(job: number, scratch: number, low: number, high: number, from: number, to: number): void {
  const old = get32(job + JOB_OLD);
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const heads = get32(job + JOB_HEADS) + 4;
  const positions = get32(job + JOB_POSITIONS) + 4 * from;
  const mask = (1 << get32(job + JOB_SEED_BITS)) - 1;
  const count = to - from;
  fill(heads + 4 * low, 0, 4 * (high - low));
  for (let i = 0; i < count; i++) {
    const entry = get32(positions + 4 * i);
    const head = heads + 4 * slotOf(seedHash(old + mul32(entry & mask, step)), buckets);
    set32(head, get32(head) + 1);
    set32(scratch + 8 * i, entry);
    set32(scratch + 8 * i + 4, head);
  }
  beginnings(heads, low, high, from);
  const all = get32(job + JOB_POSITIONS);
  for (let i = 0; i < count; i++) {
    const head = get32(scratch + 8 * i + 4);
    const at = get32(head);
    set32(all + 4 * at, get32(scratch + 8 * i));
    // Each head moves from its bucket's beginning to its end, which is where the next one begins.
    set32(head, at + 1);
  }
}

/** The same for a part without bounds, as made inputs have: seed by seed over all of old. */
function orderLargePart(job: number, low: number, high: number, from: number): void {
  const old = get32(job + JOB_OLD);
  const end = get32(job + JOB_OLD_SIZE) - 8;
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const heads = get32(job + JOB_HEADS) + 4;
  const positions = get32(job + JOB_POSITIONS);
  const seedBits = get32(job + JOB_SEED_BITS);
  fill(heads + 4 * low, 0, 4 * (high - low));
  for (let pass = 0; pass < 2; pass++) {
    for (let p = 0, index = 0; p <= end; p += step, index++) {
      if (p !== 0 && equal8(old + p, old + p - step)) continue;
      const hash = seedHash(old + p);
      const bucket = slotOf(hash, buckets);
      if (bucket < low || bucket >= high) continue;
      const head = heads + 4 * bucket;
      const at = get32(head);
      if (pass === 1) set32(positions + 4 * at, (hash << seedBits) | index);
      set32(head, at + 1);
    }
    if (pass === 0) beginnings(heads, low, high, from);
  }
}
