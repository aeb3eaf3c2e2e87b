/** Which cuts there are, and their names. */
import type { SimulatedWrite, Unflushed } from "../device/simulated/index.ts";

/** Where in a write the power goes, and what becomes of what was not flushed. */
export interface CutKind {
  readonly phase: "before" | "torn" | "after";
  readonly unflushed: Unflushed;
}

/**
 * For every write: before it with everything unflushed lost; inside it in order and scattered; after it with everything there and
 * with a seeded part of it. "After it, everything lost" is "before the next one".
 */
export const CUT_KINDS: readonly CutKind[] = [
  { phase: "before", unflushed: "dropped" },
  { phase: "torn", unflushed: "kept" },
  { phase: "torn", unflushed: "some" },
  { phase: "after", unflushed: "kept" },
  { phase: "after", unflushed: "some" },
];

/** Whether a write can be torn: flushes, renames and single sectors are there or not. */
export function isTearable(write: SimulatedWrite): boolean {
  switch (write.kind) {
    case "program":
    case "erase":
      return true;
    case "write":
    case "data":
      return write.bytes.length > 512 || (write.offset % 512) + write.bytes.length > 512;
    default:
      return false;
  }
}

/** Numbers of the kinds of cut that a write has. */
export function kindsOf(write: SimulatedWrite): number[] {
  const torn = isTearable(write);
  return CUT_KINDS.flatMap((kind, i) => (kind.phase === "torn" && !torn ? [] : [i]));
}

/** One cut of a chain: at write `write` (from 0) of a run. */
export interface Cut {
  readonly write: number;
  readonly kind: number;
}

/** `17.torn.some,4.after.kept`: a chain of cuts, each in the run after the one before. */
export function formatCuts(cuts: readonly Cut[]): string {
  return cuts
    .map(({ write, kind }) => {
      const { phase, unflushed } = CUT_KINDS[kind] as CutKind;
      return `${write}.${phase}.${unflushed}`;
    })
    .join(",");
}

/** The chain of a text that {@link formatCuts} made; undefined when it is none. */
export function parseCuts(text: string): Cut[] | undefined {
  const cuts: Cut[] = [];
  for (const part of text.split(",")) {
    const match = /^(\d{1,9})\.(before|torn|after)\.(dropped|kept|some)$/.exec(part);
    const kind = CUT_KINDS.findIndex(({ phase, unflushed }) => phase === match?.[2] && unflushed === match[3]);
    if (match === null || kind < 0) return undefined;
    cuts.push({ write: Number(match[1]), kind });
  }
  return cuts;
}
