/**
 * Collects candidate segments for a range of new: exact matches with their alignment, those near the running alignment
 * first. Which of them are used is decided by `select.ts`.
 */
import {
  equal8,
  get32,
  get8,
  matchBackward,
  matchForward,
  matchLoosely,
  mismatches,
  mul32,
  seedHash,
  set32,
  slotOf,
  touch,
} from "./memory.ts";
import {
  ARENA_CANDIDATES,
  ARENA_CANDIDATE_COUNT,
  ARENA_NEW,
  ARENA_NEW_SIZE,
  ARENA_RECENT,
  ARENA_START,
  JOB_BUCKETS,
  JOB_HEADS,
  JOB_OLD,
  JOB_OLD_SIZE,
  JOB_PATIENT,
  JOB_POSITIONS,
  JOB_SEED_BITS,
  JOB_SPREAD,
  JOB_STEP,
  MAX_CANDIDATES,
} from "./work.ts";

const SEED = 8;
/** Recent segments that are remembered. */
const RECENT = 16;
/** How far from a recent alignment a match of 8 bytes still counts; elsewhere it takes 10. */
const NEAR = 1048576;
/** Bytes a segment is grown backwards at most, and its validity beyond that; not more than {@link matchLoosely} takes. */
const BACK = 64;
/** Positions of new whose places in the index are fetched together. */
const AHEAD = 8;
/** Most positions of which the fetched bucket is remembered, a power of two; 16 bytes each: position, hash, bounds. */
const FETCHED = 64;

/** Bytes of the recent segments and the fetched buckets. */
export const RECENT_SIZE = 8 * RECENT + 16 * FETCHED;

let old = 0;
let oldSize = 0;
let fresh = 0;
let size = 0;
let list = 0;
let count = 0;
let heads = 0;
let buckets = 0;
let positions = 0;
let step = 0;
let seedBits = 0;
let seedMask = 0;
let recent = 0;
let recentNext = 0;
let fetched = 0;
// The last alignments that had a segment of 24 bytes or more, the latest first.
let first = 0;
let second = 0;
let third = 0;
// The recorded segment that reaches farthest.
let farEnd = 0;
let farAlignment = 0;
let found = false;

/** Mismatches of `length` bytes at `start` in an alignment; as many as bytes where it leaves old. */
function misses(start: number, length: number, alignment: number): number {
  const q = start + alignment;
  if (q < 0 || q + length > oldSize) return length;
  return mismatches(fresh + start, old + q, length);
}

/** Whether a recent segment of this alignment covers `i`. */
function known(i: number, alignment: number): boolean {
  for (let k = 0; k < RECENT; k++) {
    const entry = recent + 8 * k;
    if (get32(entry) === alignment && get32(entry + 4) > i) return true;
  }
  return false;
}

/** How far in front of `start` the alignment is still worth having: until mismatches outweigh matches by 20. */
function validFrom(start: number, alignment: number): number {
  const q = start + alignment;
  let most = start < q ? start : q;
  if (most > BACK) most = BACK;
  return start - matchLoosely(fresh + start, old + q, most, 20);
}

function record(start: number, end: number, alignment: number): void {
  const entry = recent + 8 * recentNext;
  set32(entry, alignment);
  set32(entry + 4, end);
  recentNext = (recentNext + 1) & (RECENT - 1);
  if (end > farEnd) {
    farEnd = end;
    farAlignment = alignment;
  }
  if (end - start >= 24 && alignment !== first) {
    if (alignment !== second) third = second;
    second = first;
    first = alignment;
  }
  found = true;
  if (count === MAX_CANDIDATES) return;
  const valid = validFrom(start, alignment);
  // Ascending by the beginning; a newcomer moves past few, as beginnings reach at most 128 bytes back.
  let at = count++;
  while (at > 0 && get32(list + 12 * (at - 1)) > valid) {
    set32(list + 12 * at, get32(list + 12 * (at - 1)));
    set32(list + 12 * at + 4, get32(list + 12 * (at - 1) + 4));
    set32(list + 12 * at + 8, get32(list + 12 * (at - 1) + 8));
    at--;
  }
  set32(list + 12 * at, valid);
  set32(list + 12 * at + 4, end);
  set32(list + 12 * at + 8, alignment);
}

function near(alignment: number): boolean {
  const a = alignment - first;
  const b = alignment - second;
  return (a < NEAR && a > -NEAR) || (b < NEAR && b > -NEAR);
}

/** Whether the segment has at least 3 mismatches fewer than the alignment `other` over its length and 24 bytes more. */
function better(start: number, length: number, own: number, alignment: number, other: number): boolean {
  return alignment === other || own + 3 <= misses(start, length, other);
}

/** Takes the match of 8 bytes of new at `i` and old at `q` if it is one. */
function consider(i: number, q: number): void {
  if (q < 0 || q + SEED > oldSize || !equal8(fresh + i, old + q)) return;
  const alignment = q - i;
  if (known(i, alignment)) return;
  const room = size - i < oldSize - q ? size - i : oldSize - q;
  const forward = SEED + matchForward(fresh + i + SEED, old + q + SEED, room - SEED);
  let back = i < q ? i : q;
  if (back > BACK) back = BACK;
  back = matchBackward(fresh + i, old + q, back);
  const start = i - back;
  const length = back + forward;
  if (length < 10 && !near(alignment)) return;
  if (forward < 256 && alignment !== first) {
    let span = length + 24;
    if (start + span > size) span = size - start;
    if (start + alignment + span > oldSize) span = oldSize - start - alignment;
    const own = misses(start, span, alignment);
    if (!better(start, span, own, alignment, first) || !better(start, span, own, alignment, second)) return;
  }
  record(start, i + forward, alignment);
}

/** Tries the entry at `at` if it may be a seed like the one at `i`: the tag, then old itself. Gives whether it is. */
function tryEntry(at: number, i: number, tag: number): boolean {
  const entry = get32(at);
  if ((entry ^ tag) >>> seedBits !== 0) return false;
  const q = mul32(entry & seedMask, step);
  if (!equal8(fresh + i, old + q)) return false;
  consider(i, q);
  return true;
}

/** Tries the nearest seeds on both sides of the old position `target` among the entries from `low` to `high`. */
function nearest(low: number, high: number, i: number, tag: number, target: number): void {
  // The first entry at or behind the target.
  let a = low;
  let b = high;
  while (a < b) {
    const middle = (a + b) >>> 1;
    if (mul32(get32(positions + 4 * middle) & seedMask, step) < target) a = middle + 1;
    else b = middle;
  }
  for (let k = 0; k < 3 && a + k < high; k++) if (tryEntry(positions + 4 * (a + k), i, tag)) break;
  for (let k = 1; k <= 3 && a - k >= low; k++) if (tryEntry(positions + 4 * (a - k), i, tag)) break;
}

function lookUp(i: number, spread: number, advance: number): void {
  const at = fetched + 16 * (i & (FETCHED - 1));
  if (get32(at) !== i) fetchAhead(i, advance);
  const tag = get32(at + 4) << seedBits;
  const low = get32(at + 8);
  const high = get32(at + 12);
  const entries = high - low;
  if (entries <= 4) {
    for (let k = low; k < high; k++) tryEntry(positions + 4 * k, i, tag);
    return;
  }
  nearest(low, high, i, tag, i + first);
  if (second !== first) nearest(low, high, i, tag, i + second);
  for (let k = 1; k <= spread; k++) {
    // Fractions of the bucket, the same whatever its size: k / (spread + 1), in 1/64.
    const part = spread === 2 ? 21 * k : 13 * k;
    tryEntry(positions + 4 * (low + (entries >> 6) * part + (((entries & 63) * part) >> 6)), i, tag);
  }
}

/**
 * Finds the buckets of `i` and of the positions that come next if the search goes on by `advance`. Reads that miss the caches are
 * under way together: all heads, then the first entry of each bucket, then what it means in old.
 */
function fetchAhead(i: number, advance: number): void {
  let end = i + AHEAD * advance;
  if (end > size - SEED + 1) end = size - SEED + 1;
  for (let k = i; k < end; k += advance) {
    const hash = seedHash(fresh + k);
    const head = heads + 4 * slotOf(hash, buckets);
    const at = fetched + 16 * (k & (FETCHED - 1));
    set32(at, k);
    set32(at + 4, hash);
    set32(at + 8, get32(head));
    set32(at + 12, get32(head + 4));
  }
  let sum = 0;
  for (let k = i; k < end; k += advance) {
    const at = fetched + 16 * (k & (FETCHED - 1));
    const low = get32(at + 8);
    if (low === get32(at + 12)) continue;
    const entry = get32(positions + 4 * low);
    if ((entry ^ (get32(at + 4) << seedBits)) >>> seedBits === 0) sum ^= get8(old + mul32(entry & seedMask, step));
  }
  touch(sum);
}

/** Looks up to 8 bytes behind the farthest segment for its alignment going on for 16 bytes. */
function resume(): boolean {
  for (let k = 1; k <= 8; k++) {
    const i = farEnd + k;
    const q = i + farAlignment;
    if (i + 16 > size || q + 16 > oldSize) return false;
    if (!equal8(fresh + i, old + q) || !equal8(fresh + i + 8, old + q + 8)) continue;
    const room = size - i < oldSize - q ? size - i : oldSize - q;
    record(i, i + 16 + matchForward(fresh + i + 16, old + q + 16, room - 16), farAlignment);
    return true;
  }
  return false;
}

/** Fills the arena's candidates for its range, ascending by their beginnings; gives their number. */
export function gather(job: number, arena: number): number {
  old = get32(job + JOB_OLD);
  oldSize = get32(job + JOB_OLD_SIZE);
  fresh = get32(arena + ARENA_NEW);
  size = get32(arena + ARENA_NEW_SIZE);
  list = get32(arena + ARENA_CANDIDATES);
  recent = get32(arena + ARENA_RECENT);
  fetched = recent + 8 * RECENT;
  heads = get32(job + JOB_HEADS);
  buckets = get32(job + JOB_BUCKETS);
  positions = get32(job + JOB_POSITIONS);
  step = get32(job + JOB_STEP);
  seedBits = get32(job + JOB_SEED_BITS);
  seedMask = (1 << seedBits) - 1;
  const spread = get32(job + JOB_SPREAD);
  count = 0;
  recentNext = 0;
  for (let k = 0; k < 2 * RECENT; k++) set32(recent + 4 * k, -1);
  for (let k = 0; k < FETCHED; k++) set32(fetched + 16 * k, -1);
  first = get32(arena + ARENA_START);
  second = first;
  third = first;
  farEnd = 0;
  farAlignment = first;
  const patient = get32(job + JOB_PATIENT) !== 0;
  const indexed = oldSize >= SEED;
  let turn = 0;
  let fruitless = 0;
  let advance = 1;
  for (let i = 0; i + SEED <= size;) {
    if (farEnd >= i + 32) {
      i = farEnd - 3;
      if ((++turn & 3) !== 0 && resume()) continue;
      if (i + SEED > size) break;
    }
    if (!indexed) break;
    found = false;
    consider(i, i + first);
    if (second !== first) consider(i, i + second);
    if (third !== second) consider(i, i + third);
    lookUp(i, spread, advance);
    advance = 1;
    if (i + 32 <= size && misses(i, 32, first) <= 16) advance = 3;
    fruitless = found ? 0 : fruitless + advance;
    if (!patient && fruitless > 128) advance = fruitless > 256 ? 5 : 3;
    i += advance;
  }
  set32(arena + ARENA_CANDIDATE_COUNT, count);
  return count;
}
