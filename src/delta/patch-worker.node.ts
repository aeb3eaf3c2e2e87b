/** A thread that makes whole patches of small files on a core of its own. Jobs: {@link PatchJob}; `workerData`: the compiled module. */
import { workerData } from "node:worker_threads";
import { makeBsdiff40, type MakeOptions } from "./bsdiff40/make.ts";
import type { Effort } from "./bsdiff40/plan.ts";
import type { Core } from "./core.ts";
import { createMemory, createWasmCore, type WasmModule } from "./core.node.ts";
import { answerJobs } from "./job-thread.node.ts";

export interface PatchJob {
  readonly kind: "bsdiff40" | "imgdiff2";
  readonly old: Uint8Array;
  readonly fresh: Uint8Array;
  readonly effort?: Effort;
  /** Of imgdiff2: both are zip archives; bytes appended to chunk 1 of the source. */
  readonly zip?: boolean;
  readonly bonus?: Uint8Array;
}

const { module } = workerData as { readonly module: WasmModule };
let core: Core | undefined;

/** The core of the patch before, where it is large enough. */
function coreOf(size: number): Core {
  if (core === undefined || core.buffer.byteLength < size) core = createWasmCore(module, createMemory(size));
  return core;
}

answerJobs(async ({ kind, old, fresh, effort, zip, bonus }: PatchJob) => {
  const options: MakeOptions = { createCore: coreOf, ...(effort === undefined ? {} : { effort }) };
  if (kind === "bsdiff40") return makeBsdiff40(old, fresh, options);
  const { makeImgdiff2 } = await import("./imgdiff/make.ts");
  return makeImgdiff2(old, fresh, {
    bsdiff: (from, to) => makeBsdiff40(from, to, options),
    ...(zip === undefined ? {} : { zip }),
    ...(bonus === undefined ? {} : { bonus }),
  });
});
