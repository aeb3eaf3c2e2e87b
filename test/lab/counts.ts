/** How much of everything a run does: CI's counts, times OTAFORGE_LAB_TIMES (`npm run lab:long`). */
const text = process.env["OTAFORGE_LAB_TIMES"] ?? "1";
const times = Number(text);
if (!(times > 0)) throw new Error(`OTAFORGE_LAB_TIMES: expected a number above 0, found ${JSON.stringify(text)}`);

const scaled = (count: number): number => Math.max(1, Math.round(count * times));

export const COUNTS = {
  simulatedCuts: scaled(50_000),
  replayPoints: scaled(5_000),
  ubiCuts: scaled(150),
  /** 150 cuts of restored machines; one of a file package costs twice as much as one of a block package. */
  blockSnapshotCuts: scaled(100),
  fileSnapshotCuts: scaled(50),
  coldCuts: scaled(10),
} as const;

/** Prints what a suite did: the counts are part of its result. */
export function report(line: string): void {
  process.stdout.write(`lab: ${line}\n`);
}
