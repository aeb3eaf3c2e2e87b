/** What a range's covers make: statistics for the next pass's prices, difference and extra bytes. */
import { copy, get32, get8, repeats, set32, subtractBytes } from "./memory.ts";
import {
  ARENA_COUNTS,
  ARENA_COVERS,
  ARENA_COVER_COUNT,
  ARENA_DIFF,
  ARENA_DIFF_SIZE,
  ARENA_EXTRA,
  ARENA_EXTRA_SIZE,
  ARENA_NEW,
  ARENA_NEW_SIZE,
  CONTEXTS,
  JOB_OLD,
} from "./work.ts";

/** Bytes of the statistics: contexts x 256 and 256 x 256 counts. */
export const COUNTS_SIZE = 4 * 256 * (CONTEXTS + 256);

function one(counts: number, index: number): void {
  set32(counts + 4 * index, get32(counts + 4 * index) + 1);
}

/** Adds the range's path to the arena's statistics. Changes that continue a repetition are priced apart and not counted. */
export function countPath(job: number, arena: number): void {
  const old = get32(job + JOB_OLD);
  const fresh = get32(arena + ARENA_NEW);
  const size = get32(arena + ARENA_NEW_SIZE);
  const covers = get32(arena + ARENA_COVERS);
  const count = get32(arena + ARENA_COVER_COUNT);
  const counts = get32(arena + ARENA_COUNTS);
  const literals = counts + 4 * 256 * CONTEXTS;
  let context = 15;
  let at = 0;
  for (let k = 0; k <= count; k++) {
    const cover = covers + 12 * k;
    const start = k < count ? get32(cover) : size;
    for (; at < start; at++) one(literals, ((at > 0 ? get8(fresh + at - 1) : 0) << 8) | get8(fresh + at));
    if (k === count) break;
    const end = start + get32(cover + 4);
    const alignment = get32(cover + 8);
    for (; at < end; at++) {
      const q = at + alignment;
      const difference = (get8(fresh + at) - get8(old + q)) & 255;
      if (difference === 0) {
        one(counts, context << 8);
        context = context < 15 ? context + 1 : context === 15 ? 15 : 0;
        continue;
      }
      const repeated = at >= 31 && q >= 31 && (repeats(fresh + at, old + q, 24) || repeats(fresh + at, old + q, 16));
      if (!repeated) one(counts, (context << 8) | difference);
      if (context < 16) context = 16 + difference;
      else {
        const row = (context - 16) >> 8;
        context = 16 + ((row < 2 ? row + 1 : 2) << 8) + difference;
      }
    }
  }
}

/** Writes the range's difference and extra bytes. */
export function emit(job: number, arena: number): void {
  const old = get32(job + JOB_OLD);
  const fresh = get32(arena + ARENA_NEW);
  const size = get32(arena + ARENA_NEW_SIZE);
  const covers = get32(arena + ARENA_COVERS);
  const count = get32(arena + ARENA_COVER_COUNT);
  const diff = get32(arena + ARENA_DIFF);
  const extra = get32(arena + ARENA_EXTRA);
  let d = 0;
  let e = 0;
  let at = 0;
  for (let k = 0; k <= count; k++) {
    const cover = covers + 12 * k;
    const start = k < count ? get32(cover) : size;
    copy(extra + e, fresh + at, start - at);
    e += start - at;
    if (k === count) break;
    const length = get32(cover + 4);
    const alignment = get32(cover + 8);
    subtractBytes(diff + d, fresh + start, old + start + alignment, length);
    d += length;
    at = start + length;
  }
  set32(arena + ARENA_DIFF_SIZE, d);
  set32(arena + ARENA_EXTRA_SIZE, e);
}
