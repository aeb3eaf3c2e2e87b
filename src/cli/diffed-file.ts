/** Writes a patch that was made, and says so: the part of `otaforge diff` that both its forms share. */
import { writeFile } from "node:fs/promises";
import { formatBytes } from "../core/progress.ts";
import type { Report } from "./family.ts";
import { writeBeside } from "./write-beside.ts";

export interface DiffRun {
  readonly format: string;
  readonly effort: string;
  readonly oldSize: number;
  readonly newSize: number;
  readonly engine: { readonly core: string; readonly threads: number };
  /** What the format has to say about the patch. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  /** The patch as the user named it. */
  readonly name: string;
  /** When the command began, by `performance.now`. */
  readonly startMs: number;
}

/** Writes the parts of a patch to `target`, which appears when it is complete. @returns its bytes */
export async function writeDiffed(parts: readonly Uint8Array[], target: string): Promise<number> {
  await writeBeside(target, (file) => writeFile(file, parts, { flag: "wx" }));
  return parts.reduce((sum, part) => sum + part.length, 0);
}

export function diffReport(run: DiffRun, patchSize: number): Report {
  const { format, effort, oldSize, newSize, engine, details, name, startMs } = run;
  const seconds = (performance.now() - startMs) / 1000;
  const percent = newSize === 0 ? 100 : (100 * patchSize) / newSize;
  return {
    text:
      `${name}: ${formatBytes(patchSize)}, ${percent.toFixed(1)} % of ${formatBytes(newSize)}, ` +
      `${format}, ${seconds.toFixed(1)} s`,
    json: {
      format,
      effort,
      oldSize,
      newSize,
      patchSize,
      ratio: newSize === 0 ? null : patchSize / newSize,
      seconds: Math.round(seconds * 1000) / 1000,
      core: engine.core,
      threads: engine.threads,
      ...details,
    },
    exitCode: 0,
  };
}
