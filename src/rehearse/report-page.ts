/**
 * The report as one HTML page without scripts or outside files, for who decides on a release: verdict, what was written when,
 * how every cut ended, the first unsafe step in words. Every name comes from a package or a description and is escaped.
 */
import { printable } from "../core/index.ts";
import type { Outcome, WriteOutcome } from "./rehearsal.ts";
import { cellsOf, columnsOf, OUTCOMES, STRIP_ROWS, type Column } from "./report-columns.ts";
import { REPORT_STYLE } from "./report-style.ts";
import { describeStep, explainCut } from "./report-text.ts";
import type { RehearsalReport } from "./run.ts";

/** What the report is of: rows of name and value, such as package, digest, versions. */
export interface ReportFacts {
  /** The package's name. */
  readonly title: string;
  readonly rows: readonly (readonly [name: string, value: string])[];
}

/** More columns than this are narrower than a pixel on paper. */
const MOST_COLUMNS = 480;
/** Lanes of the timeline; targets beyond share the last one. */
const MOST_LANES = 12;
/** Writes listed before and after the first unsafe one. */
const AROUND = 3;

/** Text as HTML; control characters, odd directions and bytes that are no text are made visible first. */
function escape(text: string): string {
  return printable(text).replace(
    /[&<>"']/g,
    (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c] as string,
  );
}

const OUTCOME_NAMES: readonly (readonly [Outcome, string])[] = [
  ["new", "ended as the new system"],
  ["resumed", "resumed to the new system"],
  ["old", "ended as the old system"],
  ["broken", "broken"],
];

type WriteClass = "data" | "flush" | "name" | "erase";

const CLASS_NAMES: readonly (readonly [WriteClass, string])[] = [
  ["data", "content"],
  ["flush", "flush, sync"],
  ["erase", "erase, begin of a volume"],
  ["name", "names, attributes"],
];

function classOf(kind: WriteOutcome["kind"]): WriteClass | undefined {
  switch (kind) {
    case "write":
    case "program":
    case "data":
    case "ubi-data":
    case "size":
      return "data";
    case "flush":
    case "sync-file":
    case "sync-folder":
    case "ubi-end":
      return "flush";
    case "erase":
    case "mark-bad":
    case "ubi-begin":
    case "ubi-create":
    case "ubi-remove":
      return "erase";
    case "names":
    case "attributes":
    case "ubi-swap":
      return "name";
    case "end":
      return undefined;
  }
}

/** Writes `from` to before `to`, for a tooltip. */
function rangeText(steps: readonly WriteOutcome[], from: number, to: number): string {
  const first = steps[from] as WriteOutcome;
  const last = steps[to - 1] as WriteOutcome;
  const numbers = first === last ? `write ${first.index + 1}` : `writes ${first.index + 1} to ${last.index + 1}`;
  return first.kind === "end" ? "after the end" : `${numbers}: ${describeStep(first)}${first === last ? "" : " …"}`;
}

/** What a row shows, for who cannot see it: `torn, in order: broken in 3 of 40 columns, ...`, the worst first. */
function rowText(label: string, cells: readonly (string | undefined)[], name: (cell: string) => string): string {
  const counts = new Map<string, number>();
  for (const cell of cells) if (cell !== undefined) counts.set(cell, (counts.get(cell) ?? 0) + 1);
  const rank = (cell: string): number => OUTCOMES.findIndex((o) => o === cell);
  const parts = [...counts].sort(([a], [b]) => rank(a) - rank(b)).map(([cell, n]) => `${name(cell)} in ${n}`);
  return `${label}: ${parts.join(", ")} of ${cells.length} columns`;
}

/** Broken stands out by its height as well: on a grey printer, and to who sees no red. */
const shapeOf = (cell: string): string =>
  OUTCOMES.some((o) => o === cell) && cell !== "broken" ? 'y=".2" height=".6"' : 'height="1"';

/** One row: equal neighbours are one rectangle. */
function drawRow(
  cells: readonly (string | undefined)[],
  columns: readonly Column[],
  { steps, label, name }: { steps: readonly WriteOutcome[]; label: string; name: (cell: string) => string },
): string {
  const rects: string[] = [];
  for (let i = 0; i < cells.length;) {
    const cell = cells[i];
    let end = i + 1;
    while (end < cells.length && cells[end] === cell) end++;
    if (cell !== undefined) {
      const range = rangeText(steps, (columns[i] as Column).from, (columns[end - 1] as Column).to);
      rects.push(
        `<rect class="${cell}" x="${i}" width="${end - i}" ${shapeOf(cell)}><title>${escape(`${name(cell)}, ${range}`)}</title></rect>`,
      );
    }
    i = end;
  }
  return `<div class="row"><span class="label">${escape(label)}</span><svg viewBox="0 0 ${cells.length} 1" preserveAspectRatio="none" role="img" aria-label="${escape(rowText(label, cells, name))}">${rects.join("")}</svg></div>`;
}

function drawTimeline(steps: readonly WriteOutcome[], columns: readonly Column[]): string {
  const targets = [...new Set(steps.filter((s) => s.kind !== "end").map((s) => s.where))];
  const own = targets.length <= MOST_LANES ? targets : targets.slice(0, MOST_LANES - 1);
  const lanes: (readonly [string, (where: string) => boolean])[] = own.map((t) => [t, (where) => where === t]);
  if (targets.length > own.length) {
    lanes.push([`${targets.length - own.length} more`, (where) => !own.includes(where)]);
  }
  // Of a shared column the rarer kinds are shown: they decide what survives a cut.
  const order: readonly WriteClass[] = ["flush", "name", "erase", "data"];
  return lanes
    .map(([label, has]) => {
      const cells = columns.map(({ from, to }) => {
        const found = new Set(steps.slice(from, to).flatMap((s) => (has(s.where) ? [classOf(s.kind)] : [])));
        return order.find((c) => found.has(c));
      });
      const name = (cell: string): string => CLASS_NAMES.find(([c]) => c === cell)?.[1] ?? "";
      return drawRow(cells, columns, { steps, label: label === "" ? "/" : label, name });
    })
    .join("\n");
}

function drawStrips(steps: readonly WriteOutcome[], columns: readonly Column[]): string {
  const name = (cell: string): string => OUTCOME_NAMES.find(([o]) => o === cell)?.[1] ?? "";
  return STRIP_ROWS.map((row) => {
    const cells = cellsOf(steps, row, columns);
    return cells.every((c) => c === undefined) ? "" : drawRow(cells, columns, { steps, label: row.name, name });
  })
    .filter((row) => row !== "")
    .join("\n");
}

/** Numbers of writes below the strips. */
function drawAxis(steps: readonly WriteOutcome[]): string {
  const marks = Math.min(5, steps.length);
  const numbers = Array.from({ length: marks }, (_, i) => {
    const step = steps[Math.round((i * (steps.length - 1)) / Math.max(1, marks - 1))] as WriteOutcome;
    return step.kind === "end" ? "end" : String(step.index + 1);
  });
  return `<div class="row axis"><span class="label">write</span><div>${numbers.map((n) => `<span>${n}</span>`).join("")}</div></div>`;
}

function legend(entries: readonly (readonly [string, string])[]): string {
  return `<p class="legend">${entries.map(([c, name]) => `<span><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="${c}" width="1" ${shapeOf(c)}/></svg>${escape(name)}</span>`).join("")}</p>`;
}

function table(rows: readonly (readonly [string, string])[]): string {
  return `<table><tbody>${rows.map(([name, value]) => `<tr><th scope="row">${escape(name)}</th><td>${escape(value)}</td></tr>`).join("\n")}</tbody></table>`;
}

function firstUnsafe({ firstBroken, steps }: RehearsalReport): string {
  if (firstBroken === undefined) {
    return `<h2>First unsafe step</h2><p>There is none: whatever was cut, the device came back, and the same command finished.</p>`;
  }
  const { index, count, write, reason, cut, seed } = firstBroken;
  const at = steps.findIndex((s) => s.index === index);
  const near = at < 0 ? [] : steps.slice(Math.max(0, at - AROUND), at + AROUND + 1);
  const list = near
    .map((s) => `<li value="${s.index + 1}"${s.index === index ? ' class="here"' : ""}>${escape(describeStep(s))}</li>`)
    .join("");
  return `<h2>First unsafe step: write ${index + 1} of ${count}</h2>
<p><code>${escape(write)}</code></p>
<ol class="story">${explainCut(cut)
    .map((line) => `<li>${escape(line)}</li>`)
    .join("")}<li class="bad">${escape(reason)}</li></ol>
<p>The writes around it:</p><ol class="near">${list}</ol>
<p>To see it again: <code>--seed ${seed} --only ${escape(cut)}</code></p>`;
}

/** Which targets the cuts were at, and how they ended. */
function byTarget({ steps }: RehearsalReport): string {
  const counts = new Map<string, Record<Outcome, number>>();
  for (const step of steps) {
    const key = step.kind === "end" ? "after the end" : step.where;
    const sum = counts.get(key) ?? { old: 0, new: 0, resumed: 0, broken: 0 };
    for (const o of step.cuts) if (o !== null) sum[o]++;
    for (const [o] of OUTCOME_NAMES) sum[o] += step.repeated[o];
    sum.broken += step.brokenFaults;
    counts.set(key, sum);
  }
  const head = OUTCOME_NAMES.map(([, name]) => `<th scope="col">${name}</th>`).join("");
  const rows = [...counts].map(
    ([where, sum]) =>
      `<tr><th scope="row">${escape(where)}</th>${OUTCOME_NAMES.map(([o]) => `<td${o === "broken" && sum[o] > 0 ? ' class="bad"' : ""}>${sum[o]}</td>`).join("")}</tr>`,
  );
  return `<h2>By target</h2><div class="scroll"><table class="counts"><thead><tr><th scope="col">cut while writing</th>${head}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

/** The page; reproducible but for the time it took. */
export function reportPage(report: RehearsalReport, facts: ReportFacts = { title: "package", rows: [] }): string {
  const { cuts, endedOld, endedNew, resumed, broken, steps } = report;
  const columns = columnsOf(steps.length, MOST_COLUMNS);
  const safe = broken === 0;
  const verdict = safe
    ? "After every cut the device came back as the old or the new system."
    : `${broken} of ${cuts} cuts and ${report.faults} faults left a device that is neither the old nor the new system.`;
  const figures: readonly (readonly [string, string])[] = [
    [String(cuts), "power cuts"],
    [String(report.writes), "writes of one installation"],
    [String(report.repeatedCuts), "cuts during a rerun"],
    [String(report.faults), "errors and full media"],
    [String(broken), "broken"],
  ];
  const run: readonly (readonly [string, string])[] = [
    ...facts.rows,
    ["Seed", String(report.seed)],
    ["Time", `${report.seconds.toFixed(1)} s on ${report.threads} ${report.threads === 1 ? "thread" : "threads"}`],
    ["Ended as the new system", `${endedNew}, and ${resumed} after work was done again`],
    ["Ended as the old system", String(endedOld)],
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Power-cut rehearsal of ${escape(facts.title)}</title><style>${REPORT_STYLE}</style></head><body>
<header><p class="kind">Power-cut rehearsal</p><h1>${escape(facts.title)}</h1>
<p class="verdict ${safe ? "good" : "bad"}"><b>${safe ? "Safe to cut" : "Not safe"}</b> ${escape(verdict)}</p></header>
<dl class="figures">${figures.map(([n, what]) => `<div><dd>${n}</dd><dt>${what}</dt></div>`).join("")}</dl>
<section><h2>What was written, and how each cut ended</h2>
<p>From the first write to the last${columns.length < steps.length ? `; ${Math.ceil(steps.length / columns.length)} writes share a column, the worst is shown` : ""}. Above, which target was written; below, how the device came back when the power went at that write.</p>
<div class="chart">${drawTimeline(steps, columns)}
${legend(CLASS_NAMES)}
${drawStrips(steps, columns)}
${drawAxis(steps)}
${legend(OUTCOME_NAMES)}</div></section>
<section>${firstUnsafe(report)}</section>
<section>${byTarget(report)}</section>
<section><h2>This run</h2>${table(run)}</section>
<footer><p>The device was a simulated copy of the description; the installer is the one that runs on the board. Not simulated: worn or lying
flash, a kernel's own errors, what scripts do.</p></footer>
</body></html>
`;
}
