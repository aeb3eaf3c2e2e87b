/** Threads that code and decode blocks of `otaforge` deltas side by side. The bytes are those of one thread. */
import { OtaError } from "../core/errors.ts";
import { LanePool } from "./bsdiff40/lanes.ts";
import type { BlockJob } from "./block-worker.node.ts";
import type { BlockDecoder } from "./forge/apply.ts";
import { encodeBlock, holdStrip, holdTask, type BlockEncoder } from "./forge/block-encoder.ts";
import { BlockOutput } from "./forge/block-output.ts";
import type { RepackerSet } from "./forge/repack.ts";
import { JobThread } from "./job-thread.node.ts";

type BlockThread = JobThread<BlockJob>;

/** Does one job; what it holds is moved, not copied. */
function runJob(thread: BlockThread, job: BlockJob): Promise<Uint8Array> {
  const last = job.kind === "encode" ? job.strip.fresh : job.stored;
  return thread.run(job, [...job.strip.old.map(({ bytes }) => bytes), last]);
}

export class BlockThreads {
  readonly #threads: readonly BlockThread[];
  readonly #pool: LanePool<BlockThread>;
  readonly encoder: BlockEncoder;
  #ended = false;

  /** @param jobs threads, at least 1; each begins with its first job or with {@link start} */
  constructor(jobs: number) {
    this.#threads = Array.from(
      { length: jobs },
      () => new JobThread<BlockJob>(new URL("./block-worker.node.js", import.meta.url)),
    );
    this.#pool = new LanePool(this.#threads);
    this.encoder = async (task) => {
      // A single strip is not worth a thread.
      if (task.strip.viewSize === task.newView.size) return encodeBlock(task);
      return this.#held(async () => ({ kind: "encode", strip: await holdTask(task) }));
    };
  }

  start(): void {
    for (const thread of this.#threads) thread.start();
  }

  /** Waits for a thread, gathers what the job needs, and begins it. */
  async #held(gather: () => Promise<BlockJob>): Promise<{ readonly done: Promise<Uint8Array> }> {
    let job: Promise<BlockJob> | undefined;
    const { done } = await this.#pool.start(false, async (thread) => {
      job = gather();
      const ready = await job;
      // What waited for a thread when all were ended must not begin one anew.
      if (this.#ended) throw new OtaError("CANCELLED", "the threads have been ended");
      return runJob(thread, ready);
    });
    await job;
    return { done };
  }

  /** A decoder on these threads. `repackers` pack what has several strips; the rest is packed by the threads. */
  decoder(repackers: RepackerSet): BlockDecoder {
    return async ({ block, tasks, stored }, allow) => {
      const parts: Promise<Uint8Array>[] = [];
      for (const [i, task] of tasks.entries()) {
        const { done } = await this.#held(async () => {
          allow(task.strip);
          const strip = await holdStrip(task);
          // Bytes of their own, which can be moved.
          const bytes = new Uint8Array(stored[i] as Uint8Array);
          return { kind: "decode", strip, stored: bytes, ...(tasks.length === 1 ? { block } : {}) };
        });
        parts.push(done);
      }
      if (parts.length === 1) return { done: parts[0] as Promise<Uint8Array> };
      const packed = async (): Promise<Uint8Array> => {
        const out = new BlockOutput(block, repackers);
        for (const part of parts) await out.add(await part);
        return out.finish();
      };
      const done = packed();
      done.catch(() => undefined);
      return { done };
    };
  }

  /** Ends the threads, and with them what they are doing. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }
}
