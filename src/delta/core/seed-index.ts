/**
 * The seed index of old: positions of 8-byte seeds, sorted inside each bucket, so that the nearest to an expected position
 * is found by halving. Bits that positions leave free hold a part of the seed's hash: what shares a bucket and nothing else is told
 * apart without a look at old, which would miss the caches. A position whose seed equals the one a step in front is left out: runs take no room and no time.
 *
 * Workers fill it together: each takes all seeds and keeps those of its own buckets, so that no two write to the same place.
 */
import { equal8, fill, get32, seedHash, set32, slotOf } from "./memory.ts";
import { JOB_BUCKETS, JOB_HEADS, JOB_OLD, JOB_OLD_SIZE, JOB_POSITIONS, JOB_SEED_BITS, JOB_STEP } from "./work.ts";

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

/** Counts the seeds of buckets `first` to `last` into the heads. @returns how many there are */
export function countBuckets(job: number, first: number, last: number): number {
  const old = get32(job + JOB_OLD);
  const end = get32(job + JOB_OLD_SIZE) - 8;
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const heads = get32(job + JOB_HEADS) + 4;
  fill(heads + 4 * first, 0, 4 * (last - first));
  let count = 0;
  for (let p = 0; p <= end; p += step) {
    if (p !== 0 && equal8(old + p, old + p - step)) continue;
    const bucket = slotOf(seedHash(old + p), buckets);
    if (bucket < first || bucket >= last) continue;
    const head = heads + 4 * bucket;
    set32(head, get32(head) + 1);
    count++;
  }
  return count;
}

/** Writes the positions of buckets `first` to `last`; `start`: seeds in all buckets in front. */
export function fillBuckets(job: number, first: number, last: number, start: number): void {
  const old = get32(job + JOB_OLD);
  const end = get32(job + JOB_OLD_SIZE) - 8;
  const step = get32(job + JOB_STEP);
  const buckets = get32(job + JOB_BUCKETS);
  const heads = get32(job + JOB_HEADS) + 4;
  const positions = get32(job + JOB_POSITIONS);
  const bits = get32(job + JOB_SEED_BITS);
  let sum = start;
  for (let b = first; b < last; b++) {
    const count = get32(heads + 4 * b);
    set32(heads + 4 * b, sum);
    sum += count;
  }
  for (let p = 0, index = 0; p <= end; p += step, index++) {
    if (p !== 0 && equal8(old + p, old + p - step)) continue;
    const hash = seedHash(old + p);
    const bucket = slotOf(hash, buckets);
    if (bucket < first || bucket >= last) continue;
    const head = heads + 4 * bucket;
    const to = get32(head);
    set32(positions + 4 * to, (hash << bits) | index);
    // Each head moves from its bucket's beginning to its end, which is where the next one begins.
    set32(head, to + 1);
  }
}
