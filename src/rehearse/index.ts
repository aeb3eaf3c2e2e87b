/** `otaforge/rehearse`: any installer with the power cut at every write. Pure; `pool.node.ts` runs it on all cores. */
export { CUT_KINDS, formatCuts, parseCuts } from "./cuts.ts";
export type { Cut, CutKind } from "./cuts.ts";
export { reportPage } from "./report-page.ts";
export { drawStrip, describeReport } from "./report-text.ts";
export type { ReportFacts } from "./report-page.ts";
export type { StripStyle } from "./report-text.ts";
export { rehearse } from "./run.ts";
export type { RehearsalOptions, RehearsalReport } from "./run.ts";
export type { BrokenStep, Outcome, WriteOutcome } from "./rehearsal.ts";
export type { Ending, RehearsalJob, RehearsalSubject, RunResult } from "./subject.ts";
