/** Sets of byte ranges: sorted, not touching one another. */

export interface ByteRange {
  readonly at: number;
  readonly end: number;
}

/** The union of any ranges. */
export function unionOf(ranges: readonly ByteRange[]): ByteRange[] {
  const out: ByteRange[] = [];
  for (const { at, end } of [...ranges].filter((r) => r.end > r.at).sort((a, b) => a.at - b.at)) {
    const last = out.at(-1);
    if (last !== undefined && at <= last.end) out[out.length - 1] = { at: last.at, end: Math.max(last.end, end) };
    else out.push({ at, end });
  }
  return out;
}

/** The parts of a set inside one range. */
export function within(set: readonly ByteRange[], range: ByteRange): ByteRange[] {
  const out: ByteRange[] = [];
  for (const r of set) {
    const at = Math.max(r.at, range.at);
    const end = Math.min(r.end, range.end);
    if (end > at) out.push({ at, end });
  }
  return out;
}

export function totalOf(set: readonly ByteRange[]): number {
  return set.reduce((sum, r) => sum + r.end - r.at, 0);
}
