/** One thread of a rehearsal: makes the subject itself and does the writes it is told. */
import { parentPort, workerData } from "node:worker_threads";
import { OtaError } from "../core/index.ts";
import { planCuts } from "./plan.ts";
import type { PlanOptions } from "./plan.ts";
import { Rehearsal, addTally, emptyTally } from "./rehearsal.ts";
import type { Tally } from "./rehearsal.ts";
import type { RehearsalJob, RehearsalSubject } from "./subject.ts";

export interface WorkerInput {
  readonly job: RehearsalJob;
  readonly plan: PlanOptions;
}

/** From the pool: do the writes from `from` to before `to`. Ranges come in ascending order. */
export interface WorkerTask {
  readonly from: number;
  readonly to: number;
}

export type WorkerAnswer =
  | { readonly kind: "ready"; readonly writes: number }
  | { readonly kind: "done"; readonly tally: Tally }
  | {
      readonly kind: "failed";
      readonly code?: OtaError["code"];
      readonly details?: OtaError["details"];
      readonly text: string;
    };

/** Makes a subject in this thread. */
export async function loadSubject({ module, data }: RehearsalJob): Promise<RehearsalSubject> {
  const made = (await import(module)) as {
    rehearsalSubject(data: unknown): RehearsalSubject | Promise<RehearsalSubject>;
  };
  return made.rehearsalSubject(data);
}

function failure(e: unknown): WorkerAnswer {
  if (e instanceof OtaError) return { kind: "failed", code: e.code, details: e.details, text: e.message };
  return { kind: "failed", text: e instanceof Error ? (e.stack ?? e.message) : String(e) };
}

const port = parentPort;
if (port !== null) {
  const answer = (message: WorkerAnswer): void => port.postMessage(message);
  try {
    const { job, plan } = workerData as WorkerInput;
    const rehearsal = await Rehearsal.prepare(await loadSubject(job), plan.seed);
    const plans = planCuts(rehearsal.log, plan);
    const work = async ({ from, to }: WorkerTask): Promise<void> => {
      const tally = emptyTally();
      for (const one of plans.slice(from, to)) addTally(tally, await rehearsal.rehearse(one));
      // The end of the clean run belongs to the last write.
      if (to === plans.length) addTally(tally, await rehearsal.end());
      answer({ kind: "done", tally });
    };
    port.on("message", (task: WorkerTask) => {
      work(task).catch((e: unknown) => answer(failure(e)));
    });
    answer({ kind: "ready", writes: rehearsal.log.length });
  } catch (e) {
    answer(failure(e));
  }
}
