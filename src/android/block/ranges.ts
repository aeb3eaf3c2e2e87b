/** Sets of block numbers as sorted half-open pairs, and the two texts they are written in (formats/android.md 3.2). */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";

/** `[start, end, start, end …]`, ascending, disjoint, joined where they touch; ends are exclusive. */
export type Ranges = readonly number[];

export const EMPTY: Ranges = Object.freeze([]);

/** Any pairs in any order, overlapping or not, as a set. */
export function ranges(pairs: readonly number[]): Ranges {
  const list: [number, number][] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const [start, end] = [pairs[i] as number, pairs[i + 1] as number];
    if (end > start) list.push([start, end]);
  }
  list.sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [start, end] of list) {
    const last = out.length - 1;
    if (last > 0 && start <= (out[last] as number)) out[last] = Math.max(out[last] as number, end);
    else out.push(start, end);
  }
  return out;
}

export function size(r: Ranges): number {
  let n = 0;
  for (let i = 0; i < r.length; i += 2) n += (r[i + 1] as number) - (r[i] as number);
  return n;
}

export function equal(a: Ranges, b: Ranges): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}

/** Walks both borders at once and keeps what `keep` says. */
function combine(a: Ranges, b: Ranges, keep: (inA: boolean, inB: boolean) => boolean): Ranges {
  const out: number[] = [];
  let i = 0;
  let k = 0;
  let inside = false;
  while (i < a.length || k < b.length) {
    const at = Math.min(a[i] ?? Infinity, b[k] ?? Infinity);
    if (a[i] === at) i++;
    if (b[k] === at) k++;
    const now = keep(i % 2 === 1, k % 2 === 1);
    if (now !== inside) out.push(at);
    inside = now;
  }
  return out;
}

export function union(a: Ranges, b: Ranges): Ranges {
  return combine(a, b, (x, y) => x || y);
}

export function unite(...all: readonly Ranges[]): Ranges {
  return ranges(all.flat());
}

export function intersect(a: Ranges, b: Ranges): Ranges {
  return combine(a, b, (x, y) => x && y);
}

export function subtract(a: Ranges, b: Ranges): Ranges {
  return combine(a, b, (x, y) => x && !y);
}

export function overlaps(a: Ranges, b: Ranges): boolean {
  let i = 0;
  let k = 0;
  while (i < a.length && k < b.length) {
    if ((a[i + 1] as number) <= (b[k] as number)) i += 2;
    else if ((b[k + 1] as number) <= (a[i] as number)) k += 2;
    else return true;
  }
  return false;
}

/** Every pair made larger by `n` blocks on both sides, within `[0, most)`. */
export function extend(r: Ranges, n: number, most: number): Ranges {
  const out: number[] = [];
  for (let i = 0; i < r.length; i += 2)
    out.push(Math.max(0, (r[i] as number) - n), Math.min(most, (r[i + 1] as number) + n));
  return ranges(out);
}

/** Positions of `part` (a subset of `whole`) when the blocks of `whole` are numbered from 0. */
export function mapWithin(whole: Ranges, part: Ranges): Ranges {
  const out: number[] = [];
  let before = 0;
  let k = 0;
  for (let i = 0; i < whole.length; i += 2) {
    const [start, end] = [whole[i] as number, whole[i + 1] as number];
    while (k < part.length && (part[k] as number) < end) {
      out.push(before + (part[k] as number) - start, before + (part[k + 1] as number) - start);
      k += 2;
    }
    before += end - start;
  }
  return ranges(out);
}

/** The first `n` blocks, and the rest. */
export function splitAt(r: Ranges, n: number): [Ranges, Ranges] {
  const first: number[] = [];
  const rest: number[] = [];
  let left = n;
  for (let i = 0; i < r.length; i += 2) {
    const [start, end] = [r[i] as number, r[i + 1] as number];
    const take = Math.min(left, end - start);
    if (take > 0) first.push(start, start + take);
    if (take < end - start) rest.push(start + take, end);
    left -= take;
  }
  return [first, rest];
}

/** `4,0,2,5,6`: the count of numbers and the pairs, as transfer lists and scripts have it. */
export function rawText(r: Ranges): string {
  return [r.length, ...r].join(",");
}

/**
 * `10-20 30` of a block map, ends included.
 * @returns the set, and whether the blocks stand in ascending order
 * @throws OtaError ANDROID_TARGET_FILES
 */
export function parseMapRanges(text: string, where: string): { readonly set: Ranges; readonly monotonic: boolean } {
  const pairs: number[] = [];
  let monotonic = true;
  let last = -1;
  for (const item of text.trim().split(/\s+/)) {
    const match = /^([0-9]{1,10})(?:-([0-9]{1,10}))?$/.exec(item);
    const start = Number(match?.[1]);
    const end = Number(match?.[2] ?? match?.[1]) + 1;
    if (match === null || end <= start) {
      throw new OtaError("ANDROID_TARGET_FILES", { what: "bad block range", where, found: printable(item) });
    }
    if (start <= last) monotonic = false;
    last = end - 1;
    pairs.push(start, end);
  }
  return { set: ranges(pairs), monotonic };
}
