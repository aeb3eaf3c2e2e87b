/**
 * `otaforge diff OLD NEW PATCH` for BSDIFF40 without the rest of the program: the option parser and its modules take 0.05
 * processor seconds, 5 % of a fast patch of 5 MB. Whatever it does not know, above all what is wrong, is left to the full command,
 * which says the same in the same words.
 */
import { resolve } from "node:path";
import { createDeltaEngine } from "../delta/engine.node.ts";
import { isEffort, type Effort } from "../delta/bsdiff40/plan.ts";
import { openFileReader } from "../device/file-reader.ts";
import { diffReport, writeDiffed } from "./diffed-file.ts";
import type { Io } from "./io.ts";
import { paintProgress } from "./progress.ts";
import { printReport } from "./report.ts";
import { launch } from "./run.ts";
import { paints, plainIo, shortRequest, type ShortRequest } from "./short-form.ts";
import { placeFor } from "./write-beside.ts";

interface Request extends ShortRequest {
  readonly effort: Effort;
  readonly jobs?: number;
}

/** The arguments behind `diff`; undefined when there is anything unusual about them. */
export function quickDiffRequest(argv: readonly string[]): Request | undefined {
  const request = shortRequest(argv, ["--format", "--effort", "--jobs", "-j"]);
  if (request === undefined) return undefined;
  const { values } = request;
  const effort = values.get("--effort") ?? "default";
  const jobs = values.get("--jobs") ?? values.get("-j");
  if ((values.get("--format") ?? "bsdiff40") !== "bsdiff40" || !isEffort(effort)) return undefined;
  if (values.has("--jobs") && values.has("-j")) return undefined;
  if (jobs === undefined) return { ...request, effort };
  return /^[1-9][0-9]{0,3}$/.test(jobs) ? { ...request, effort, jobs: Number(jobs) } : undefined;
}

/** Opens the files; undefined when one cannot be: the full command opens them once more and says what is wrong. */
async function opened([oldName, newName]: readonly [string, string, string]) {
  const old = await openFileReader(resolve(oldName)).catch(() => undefined);
  if (old === undefined) return undefined;
  const fresh = await openFileReader(resolve(newName)).catch(() => undefined);
  if (fresh !== undefined) return { old, fresh };
  await old.close();
  return undefined;
}

/**
 * Runs the command if this form can. @param argv what follows `diff`
 * @returns whether it did; if not, nothing has happened
 */
export async function quickDiff(argv: readonly string[]): Promise<boolean> {
  const request = quickDiffRequest(argv);
  if (request === undefined || paints(request.style)) return false;
  const { effort, jobs } = request;
  const engine = createDeltaEngine(jobs === undefined ? {} : { jobs });
  engine.start();
  const files = await opened(request.operands);
  if (files === undefined) {
    await engine.close();
    return false;
  }
  const { old, fresh } = files;
  const name = request.operands[2];
  const main = async (_: readonly string[], io: Io): Promise<number> => {
    const startMs = performance.now();
    const progress = paintProgress(io, request.style);
    try {
      await placeFor(resolve(name));
      const made = await engine.bsdiff40(old, fresh, {
        effort,
        signal: io.signal,
        progress: (event) => {
          progress.progress(event);
        },
      });
      const patchSize = await writeDiffed([made], resolve(name));
      progress.done();
      const run = { format: "bsdiff40", effort, oldSize: old.size, newSize: fresh.size, engine, name, startMs };
      return printReport(diffReport(run, patchSize), request, io);
    } finally {
      await engine.close();
      await old.close();
      await fresh.close();
    }
  };
  await launch("otaforge", main, plainIo);
  return true;
}
