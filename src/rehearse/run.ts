/** A whole rehearsal in one thread, and the report of any. */
import { OtaError, checkCancel } from "../core/index.ts";
import type { Cancel, ProgressSink } from "../core/index.ts";
import { parseCuts } from "./cuts.ts";
import { planCuts } from "./plan.ts";
import type { PlanOptions, WritePlan } from "./plan.ts";
import { Rehearsal, addTally, emptyTally } from "./rehearsal.ts";
import type { BrokenStep, Tally, WriteOutcome } from "./rehearsal.ts";
import type { RehearsalSubject } from "./subject.ts";

export interface RehearsalOptions extends Partial<PlanOptions> {
  /** One chain of cuts and nothing else: `17.torn.some,4.after.kept`, as a report's `firstBroken.cut` says it. */
  readonly only?: string;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
  /** Milliseconds of a clock that never jumps; without it `seconds` is 0. */
  readonly monotonicMs?: () => number;
}

/** What `otaforge rehearse --json` prints. */
export interface RehearsalReport {
  readonly cuts: number;
  readonly endedOld: number;
  readonly endedNew: number;
  readonly resumed: number;
  /** Cuts and faults after which the device was neither old nor new, or success was a lie. */
  readonly broken: number;
  readonly seed: number;
  readonly seconds: number;
  /** Writes of the clean run. */
  readonly writes: number;
  /** Cuts that came while an interrupted installation was being repeated. */
  readonly repeatedCuts: number;
  /** Runs with an input or output error, or a full medium, instead of a cut. */
  readonly faults: number;
  readonly threads: number;
  readonly firstBroken?: BrokenStep;
  /** What became of the cuts at each write that was tried, in the order of the clean run; the end comes last. */
  readonly steps: readonly WriteOutcome[];
}

export const DEFAULT_PLAN: PlanOptions = { cuts: "all", seed: 1, deeper: "auto", faults: true };

/** The options with their defaults; what `undefined` says is a default, too. */
export function planOptions(options: RehearsalOptions): PlanOptions {
  return {
    cuts: options.cuts ?? DEFAULT_PLAN.cuts,
    seed: options.seed ?? DEFAULT_PLAN.seed,
    deeper: options.deeper ?? DEFAULT_PLAN.deeper,
    faults: options.faults ?? DEFAULT_PLAN.faults,
  };
}

export interface ReportParts {
  readonly tally: Tally;
  readonly seed: number;
  readonly writes: number;
  readonly seconds: number;
  readonly threads: number;
}

export function makeReport({ tally, seed, writes, seconds, threads }: ReportParts): RehearsalReport {
  const { cuts, endedOld, endedNew, resumed, broken, repeatedCuts, faults, firstBroken } = tally;
  const steps = [...tally.steps].sort((a, b) => a.index - b.index);
  const counts = {
    cuts,
    endedOld,
    endedNew,
    resumed,
    broken,
    seed,
    seconds,
    writes,
    repeatedCuts,
    faults,
    threads,
    steps,
  };
  return firstBroken === undefined ? counts : { ...counts, firstBroken };
}

function noSuchCut(text: string): OtaError {
  return new OtaError("REHEARSE_NO_SUCH_CUT", {
    what: "no such cut",
    where: JSON.stringify(text),
    expected: "write.before|torn|after.dropped|kept|some, several with commas, or end",
  });
}

/** One chain of cuts alone. @throws OtaError REHEARSE_NO_SUCH_CUT */
export async function rehearseOnly(rehearsal: Rehearsal, only: string): Promise<Tally> {
  if (only === "end") return rehearsal.end();
  const cuts = parseCuts(only);
  const tally = cuts === undefined ? undefined : await rehearsal.only(cuts);
  if (tally === undefined) throw noSuchCut(only);
  return tally;
}

/** Tells progress while plans are done. */
export function planProgress(plans: readonly WritePlan[], progress: ProgressSink | undefined): () => void {
  let done = 0;
  return () => {
    done++;
    progress?.progress({
      phase: "rehearse",
      index: done,
      count: plans.length,
      doneBytes: done,
      totalBytes: plans.length,
    });
  };
}

/**
 * Rehearses in this thread: runs the installer once, then cuts the power before, inside and after every write, restarts it and
 * judges the device. @throws OtaError REHEARSE_CLEAN_RUN, REHEARSE_NO_SUCH_CUT, CANCELLED
 */
export async function rehearse(subject: RehearsalSubject, options: RehearsalOptions = {}): Promise<RehearsalReport> {
  const now = options.monotonicMs ?? (() => 0);
  const start = now();
  const plan = planOptions(options);
  const rehearsal = await Rehearsal.prepare(subject, plan.seed);
  const tally = emptyTally();
  if (options.only !== undefined) addTally(tally, await rehearseOnly(rehearsal, options.only));
  else {
    const plans = planCuts(rehearsal.log, plan);
    const tick = planProgress(plans, options.progress);
    for (const one of plans) {
      checkCancel(options.cancel);
      addTally(tally, await rehearsal.rehearse(one));
      tick();
    }
    if (plans.length > 0) addTally(tally, await rehearsal.end());
  }
  const seconds = (now() - start) / 1000;
  return makeReport({ tally, seed: plan.seed, writes: rehearsal.log.length, seconds, threads: 1 });
}
