/** Block ranges of transfer lists, formats/android.md section 3.2: `<count>,<start>,<end>,…`, pairs half open. */

export type BlockRange = readonly [start: number, end: number];

export interface RangeSet {
  readonly ranges: readonly BlockRange[];
  /** Blocks of all ranges together. */
  readonly blocks: number;
}

/** Largest block number and count: the original's int. */
const MAX = 0x7fffffff;

/** A well-formed range text; undefined for anything else. */
export function parseRanges(text: string): RangeSet | undefined {
  const words = text.split(",");
  const numbers: number[] = [];
  for (const word of words) {
    if (!/^\d{1,10}$/.test(word)) return undefined;
    const value = Number(word);
    if (value > MAX) return undefined;
    numbers.push(value);
  }
  const [count, ...rest] = numbers;
  if (count === undefined || count === 0 || count % 2 !== 0 || count !== rest.length) return undefined;
  const ranges: BlockRange[] = [];
  let blocks = 0;
  for (let i = 0; i < rest.length; i += 2) {
    const [start, end] = [rest[i] as number, rest[i + 1] as number];
    if (start >= end || blocks > MAX - (end - start)) return undefined;
    ranges.push([start, end]);
    blocks += end - start;
  }
  return { ranges, blocks };
}

/** Whether two sets have a block in common. */
export function rangesOverlap(a: RangeSet, b: RangeSet): boolean {
  return a.ranges.some(([s, e]) => b.ranges.some(([t, f]) => s < f && t < e));
}

/** Block number behind the last one. */
export function rangesEnd({ ranges }: RangeSet): number {
  return ranges.reduce((end, [, e]) => Math.max(end, e), 0);
}

/** The first blocks of a set, `most` at most. */
export function firstBlocks({ ranges }: RangeSet, most: number): RangeSet {
  const taken: BlockRange[] = [];
  let blocks = 0;
  for (const [start, end] of ranges) {
    if (blocks === most) break;
    const size = Math.min(end - start, most - blocks);
    taken.push([start, start + size]);
    blocks += size;
  }
  return { ranges: taken, blocks };
}

/** A set as text, as {@link parseRanges} reads it. */
export function rangesText({ ranges }: RangeSet): string {
  return [ranges.length * 2, ...ranges.flat()].join(",");
}
