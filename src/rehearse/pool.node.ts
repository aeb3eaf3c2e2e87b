/** A rehearsal on all cores: every thread makes the same device and the same log, and takes a share of the writes. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { OtaError, checkCancel } from "../core/index.ts";
import { addTally, emptyTally } from "./rehearsal.ts";
import { makeReport, planOptions, rehearse } from "./run.ts";
import type { RehearsalOptions, RehearsalReport } from "./run.ts";
import type { RehearsalJob } from "./subject.ts";
import { loadSubject } from "./worker.node.ts";
import type { WorkerAnswer, WorkerInput, WorkerTask } from "./worker.node.ts";

/** Writes a thread takes at a time: few enough that none waits long for the others at the end. */
const SHARE = 4;

export interface PoolOptions extends RehearsalOptions {
  /** Threads, default: one a core. */
  readonly threads?: number;
}

class Thread {
  readonly #worker: Worker;
  #waiting: { resolve(answer: WorkerAnswer): void; reject(e: unknown): void } | undefined;
  #early: WorkerAnswer | undefined;

  constructor(input: WorkerInput) {
    this.#worker = new Worker(new URL("./worker.node.js", import.meta.url), { workerData: input, execArgv: [] });
    this.#worker.on("message", (answer: WorkerAnswer) => {
      if (this.#waiting === undefined) this.#early = answer;
      else this.#waiting.resolve(answer);
    });
    this.#worker.on("error", (e) => this.#waiting?.reject(e));
  }

  async answer(): Promise<WorkerAnswer> {
    const answer =
      this.#early ??
      (await new Promise<WorkerAnswer>((resolve, reject) => {
        this.#waiting = { resolve, reject };
      }));
    this.#early = this.#waiting = undefined;
    if (answer.kind !== "failed") return answer;
    if (answer.code !== undefined) throw new OtaError(answer.code, answer.details ?? answer.text);
    throw new Error(answer.text);
  }

  async work(task: WorkerTask): Promise<WorkerAnswer> {
    this.#worker.postMessage(task);
    return this.answer();
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/**
 * Like {@link rehearse}, on several threads; the result does not depend on how many there are.
 * @throws OtaError REHEARSE_CLEAN_RUN, REHEARSE_NO_SUCH_CUT, CANCELLED
 */
export async function rehearseOnThreads(job: RehearsalJob, options: PoolOptions = {}): Promise<RehearsalReport> {
  const monotonicMs = options.monotonicMs ?? (() => performance.now());
  const threads = options.threads ?? availableParallelism();
  // Sources that were not compiled (unit tests) have no file that a thread could start with.
  const plain = threads <= 1 || options.only !== undefined || import.meta.url.endsWith(".ts");
  if (plain) return rehearse(await loadSubject(job), { ...options, monotonicMs });
  const start = monotonicMs();
  const plan = planOptions(options);
  const pool = Array.from({ length: threads }, () => new Thread({ job, plan }));
  try {
    const tally = emptyTally();
    let writes = 0;
    let next = 0;
    let done = 0;
    await Promise.all(
      pool.map(async (thread) => {
        const ready = await thread.answer();
        if (ready.kind === "ready") writes = ready.writes;
        while (next < writes) {
          checkCancel(options.cancel);
          const task = { from: next, to: Math.min(writes, next + SHARE) };
          next = task.to;
          const answer = await thread.work(task);
          if (answer.kind === "done") addTally(tally, answer.tally);
          done += task.to - task.from;
          options.progress?.progress({
            phase: "rehearse",
            index: done,
            count: writes,
            doneBytes: done,
            totalBytes: writes,
          });
        }
      }),
    );
    return makeReport({ tally, seed: plan.seed, writes, seconds: (monotonicMs() - start) / 1000, threads });
  } finally {
    await Promise.all(pool.map((thread) => thread.end()));
  }
}
