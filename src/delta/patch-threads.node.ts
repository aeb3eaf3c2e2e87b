/** Threads that each make a whole patch of small files: side by side they leave no processor idle. The bytes are those of lanes. */
import type { Cancel } from "../core/ports.ts";
import { checkCancel } from "../core/streams.ts";
import { LanePool } from "./bsdiff40/lanes.ts";
import type { WasmModule } from "./core.node.ts";
import { JobThread } from "./job-thread.node.ts";
import type { PatchJob } from "./patch-worker.node.ts";

/**
 * Bytes of old and new together up to which a patch is made on one thread. Lanes share the search of a pair and wait for each
 * other between its phases, which is most of the time of a file of 100 KB; above this, memory would be the price: a thread takes
 * some six times the size of its pair.
 */
export const WHOLE_AT_MOST = 8 * 1024 * 1024;

export class PatchThreads {
  readonly #threads: readonly JobThread<PatchJob>[];
  readonly #pool: LanePool<JobThread<PatchJob>>;

  /** @param jobs threads, at least 1; each begins with its first patch */
  constructor(module: WasmModule, jobs: number) {
    const file = new URL("./patch-worker.node.js", import.meta.url);
    this.#threads = Array.from({ length: jobs }, () => new JobThread<PatchJob>(file, { module }));
    this.#pool = new LanePool(this.#threads);
  }

  /** @throws OtaError CANCELLED (a patch in the making is finished first), IMGDIFF_STRUCTURE, IMGDIFF_NOT_ZIP, IMGDIFF_BONUS */
  async make(job: PatchJob, cancel?: Cancel): Promise<Uint8Array> {
    const { done } = await this.#pool.start(false, async (thread) => {
      checkCancel(cancel);
      // Copies, which can be moved: a view would take the whole of its memory along.
      const own = { ...job, old: new Uint8Array(job.old), fresh: new Uint8Array(job.fresh) };
      return thread.run(own, [own.old, own.fresh]);
    });
    const patch = await done;
    checkCancel(cancel);
    return patch;
  }

  async end(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }
}
