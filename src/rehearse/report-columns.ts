/** A rehearsal's writes in as many columns as there is room for; the worst of a column's cuts is what it shows. */
import { CUT_KINDS } from "./cuts.ts";
import type { Outcome, WriteOutcome } from "./rehearsal.ts";

/** Worst first. */
export const OUTCOMES: readonly Outcome[] = ["broken", "old", "resumed", "new"];

/** Steps `[from, to)` of a report share one column. */
export interface Column {
  readonly from: number;
  readonly to: number;
}

/** At most `most` columns over `count` steps. */
export function columnsOf(count: number, most: number): Column[] {
  const width = Math.ceil(count / Math.max(1, most));
  const columns: Column[] = [];
  for (let from = 0; from < count; from += width) columns.push({ from, to: Math.min(count, from + width) });
  return columns;
}

function worst(outcomes: Iterable<Outcome | null>): Outcome | undefined {
  const found = new Set(outcomes);
  return OUTCOMES.find((o) => found.has(o));
}

const repeatedOf = ({ repeated }: WriteOutcome): Outcome[] => OUTCOMES.filter((o) => repeated[o] > 0);
const faultsOf = ({ faults, brokenFaults }: WriteOutcome): Outcome[] =>
  faults === 0 ? [] : [brokenFaults > 0 ? "broken" : "resumed"];

/** One row of the strip: what it shows of a step. */
export interface StripRow {
  readonly name: string;
  readonly of: (step: WriteOutcome) => readonly (Outcome | null)[];
}

const KIND_NAMES = [
  "before, unflushed lost",
  "torn, in order",
  "torn, scattered",
  "after, all kept",
  "after, some kept",
] as const;

/** A row a kind of cut, then cuts of the repeated installation, then errors of the medium. */
export const STRIP_ROWS: readonly StripRow[] = [
  ...CUT_KINDS.map((_, kind) => ({
    name: KIND_NAMES[kind] as string,
    of: (step: WriteOutcome) => [step.cuts[kind] ?? null],
  })),
  { name: "cut again in the rerun", of: repeatedOf },
  { name: "errors, full medium", of: faultsOf },
];

/** Everything that was tried at a step. */
export const WHOLE_ROW: StripRow = {
  name: "all cuts",
  of: (step) => [...step.cuts, ...repeatedOf(step), ...faultsOf(step)],
};

/** What a row shows, one a column; undefined where nothing of it was tried. */
export function cellsOf(
  steps: readonly WriteOutcome[],
  row: StripRow,
  columns: readonly Column[],
): (Outcome | undefined)[] {
  return columns.map(({ from, to }) => worst(steps.slice(from, to).flatMap((step) => row.of(step))));
}
