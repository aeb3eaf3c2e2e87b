/** The report in words, for a terminal and for the page. */
import { hexOffset, printable } from "../core/index.ts";
import { CUT_KINDS, parseCuts } from "./cuts.ts";
import type { Outcome, WriteOutcome } from "./rehearsal.ts";
import { cellsOf, columnsOf, WHOLE_ROW } from "./report-columns.ts";
import type { RehearsalReport } from "./run.ts";

/** One letter an outcome, so that the strip can be read without colours. */
const LETTERS: Readonly<Record<Outcome, string>> = { old: "o", new: "n", resumed: "r", broken: "X" };
const ANSI: Readonly<Record<Outcome, string>> = { old: "90", new: "36", resumed: "32", broken: "1;97;41" };

export interface StripStyle {
  /** Characters of a line. */
  readonly columns: number;
  readonly colour: boolean;
}

/** The writes from first to last, one character each or a few together: the worst of what was tried there. */
export function drawStrip(report: Pick<RehearsalReport, "steps">, { columns, colour }: StripStyle): string {
  const cells = cellsOf(report.steps, WHOLE_ROW, columnsOf(report.steps.length, Math.max(10, columns - 2)));
  const drawn = cells.map((cell) => {
    if (cell === undefined) return " ";
    return colour ? `\u001b[${ANSI[cell]}m${LETTERS[cell]}\u001b[0m` : LETTERS[cell];
  });
  return `[${drawn.join("")}]`;
}

/** `write /dev/mtd4 at 0x1000, 4096 bytes`; names are made printable. */
export function describeStep({ kind, where, offsetBytes, sizeBytes }: WriteOutcome): string {
  if (kind === "end") return "after the end of the installation";
  const range = offsetBytes === undefined ? "" : ` at ${hexOffset(offsetBytes)}`;
  const amount = sizeBytes === undefined ? "" : `, ${sizeBytes} bytes`;
  return `${kind} ${printable(where)}${range}${amount}`;
}

const UNFLUSHED = {
  dropped: "everything that was not flushed is lost",
  kept: "everything written so far is on the medium",
  some: "of what was not flushed a part is on the medium, in any order",
} as const;

function describeCut(write: number, kind: number): string {
  const { phase, unflushed } = CUT_KINDS[kind] as (typeof CUT_KINDS)[number];
  if (phase === "torn") {
    const which =
      unflushed === "kept" ? "its first sectors are on the medium" : "some of its sectors are on the medium";
    return `inside write ${write + 1}: ${which}`;
  }
  return `${phase} write ${write + 1}: ${UNFLUSHED[unflushed]}`;
}

/** A chain of cuts (or a fault) as sentences: what a reader must imagine to see what went wrong. */
export function explainCut(cut: string): string[] {
  if (cut === "end") {
    return ["The installation reports success. Then the power goes, and everything that was not flushed is lost."];
  }
  const fault = /^(\d+)\.(DEVICE_IO|DEVICE_NO_SPACE)$/.exec(cut);
  if (fault !== null) {
    const what =
      fault[2] === "DEVICE_IO"
        ? "fails with an input or output error"
        : "finds the medium full, as every later one does";
    return [`Write ${Number(fault[1]) + 1} ${what}. The device restarts and the same command is run again.`];
  }
  return (parseCuts(cut) ?? []).map(({ write, kind }, i) =>
    i === 0
      ? `The power goes ${describeCut(write, kind)}. The device restarts and the same command is run again.`
      : `In that run the power goes ${describeCut(write, kind)}. The device restarts once more.`,
  );
}

/** The report for people. */
export function describeReport(report: RehearsalReport, style: StripStyle = { columns: 80, colour: false }): string {
  const { cuts, endedOld, endedNew, resumed, broken, seed, seconds, writes, repeatedCuts, faults, firstBroken } =
    report;
  const speed = seconds > 0 ? `, ${Math.round(cuts / seconds)} a second` : "";
  const lines = [
    `${cuts} power cuts at ${writes} writes (${repeatedCuts} of them while an installation was repeated), ${faults} faults, seed ${seed}`,
    `ended old ${endedOld}, ended new ${endedNew}, resumed to new ${resumed}, broken ${broken}`,
    `${seconds.toFixed(1)} s on ${report.threads} ${report.threads === 1 ? "thread" : "threads"}${speed}`,
    drawStrip(report, style),
    "from the first write to the last, the worst of each: n new, r resumed to new, o old, X broken",
  ];
  if (firstBroken !== undefined) {
    lines.push(
      `first broken: at write ${firstBroken.index + 1} of ${firstBroken.count}: ${printable(firstBroken.write)}`,
      ...explainCut(firstBroken.cut).map((line) => `  ${line}`),
      `  ${printable(firstBroken.reason)}`,
      `  to see it again: --seed ${firstBroken.seed} --only ${firstBroken.cut}`,
    );
  }
  return lines.join("\n");
}
