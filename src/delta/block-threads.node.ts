/** Threads that code blocks of `otaforge` deltas side by side. The bytes are those of one thread. */
import { Worker } from "node:worker_threads";
import { LanePool } from "./bsdiff40/lanes.ts";
import type { BlockReply, BlockRequest } from "./block-worker.node.ts";
import { encodeBlock, holdTask, type BlockEncoder, type HeldTask } from "./forge/block-encoder.ts";

class BlockThread {
  #worker: Worker | undefined;
  #nextId = 0;

  /** Codes one block; the caller gives a thread one at a time. */
  async code(task: HeldTask): Promise<Uint8Array> {
    const worker = (this.#worker ??= new Worker(new URL("./block-worker.node.js", import.meta.url)));
    const id = this.#nextId++;
    worker.ref();
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        worker.once("error", reject);
        worker.once("message", ({ bytes, error }: BlockReply) => {
          if (bytes === undefined) reject(new Error(error));
          else resolve(bytes);
        });
        const transfer = [task.fresh.buffer, ...task.old.map(({ bytes }) => bytes.buffer)] as ArrayBuffer[];
        worker.postMessage({ id, task } satisfies BlockRequest, transfer);
      });
    } finally {
      worker.removeAllListeners("error");
      worker.removeAllListeners("message");
      // The program may end while a thread nobody ended is idle.
      worker.unref();
    }
  }

  async end(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }
}

export class BlockThreads {
  readonly #threads: readonly BlockThread[];
  readonly encoder: BlockEncoder;

  /** @param jobs threads, at least 1; each begins with its first block */
  constructor(jobs: number) {
    this.#threads = Array.from({ length: jobs }, () => new BlockThread());
    const pool = new LanePool(this.#threads);
    this.encoder = async (task) => {
      // A single block is not worth a thread.
      if (task.block.viewSize === task.newView.size) return encodeBlock(task);
      let held: Promise<HeldTask> | undefined;
      const { done } = await pool.start(false, async (thread) => {
        held = holdTask(task);
        return thread.code(await held);
      });
      await held;
      return { done };
    };
  }

  async end(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }
}
