/**
 * The delta engine of a Node program: worker threads over one shared WebAssembly memory. Where there is no compiled core or
 * no threads it does the same on the caller's thread in TypeScript; the patches are the same bytes.
 */
import { availableParallelism } from "node:os";
import type { BlockThreads } from "./block-threads.node.ts";
import type { DeltaMaker } from "./maker.ts";
import type { ImgdiffOptions } from "./maker.ts";
import type { Core } from "./core-calls.ts";
import { loadCoreModule, readCore } from "./core.node.ts";
import { LaneThreads } from "./lane-threads.node.ts";
import { PatchThreads, WHOLE_AT_MOST } from "./patch-threads.node.ts";
import type { PatchJob } from "./patch-worker.node.ts";
import { ownLane, type Machine } from "./bsdiff40/lanes.ts";
import { scheduleBsdiff40, scheduleCovers, type ScheduleOptions } from "./bsdiff40/schedule.ts";
import { OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import type { RandomReader } from "../core/ports.ts";

export interface DeltaEngineOptions {
  /** Worker threads, 1 to 256; default: as many as the machine has processors, at most 8. */
  readonly jobs?: number;
  /** The compiled core, where it is not beside this file. */
  readonly coreFile?: string | URL;
  /** Bytes of old indexed at a time; see {@link ScheduleOptions}. */
  readonly windowSize?: number;
  /** Many patches will be asked for at once: those of small files are made side by side, one a thread. Default false. */
  readonly manyFiles?: boolean;
}

/** An engine with its own threads; {@link DeltaEngine.close} ends them. Patches of large files are made one by one. */
export interface DeltaEngine extends DeltaMaker {
  /** What runs: the number of threads, 0 when everything runs on the caller's, and the kind of core. */
  readonly threads: number;
  readonly core: "wasm" | "typescript";
  /** Begins the threads, which otherwise the first patch does: for callers that have something else to do meanwhile. */
  start(): void;
  close(): Promise<void>;
}

/** Most threads by default: each takes up to 50 MiB, and past this the scheduling thread holds them up. */
const MOST_JOBS = 8;

/** Most threads that are begun, whatever is asked for: their number is the user's, and thousands take the process down. */
const MOST_THREADS = 256;

/** Most threads for one pair of files, which are all begun at once; a memory of 4 GiB has no arenas for many more. */
const MOST_LANES = 64;

/** Larger memories are given back when only covers were wanted; smaller ones are worth keeping for the next patch. */
const KEPT_MEMORY = 256 * 1024 * 1024;

/** Windows of the TypeScript core, whose addresses stay below 2 GiB. */
const PLAIN_WINDOW = 256 * 1024 * 1024;

/** One lane on the caller's thread. */
async function plainMachine(): Promise<Machine> {
  const { createCore } = await import("./core.ts");
  let core: Core | undefined;
  const current = (size: number): Core => {
    if (core === undefined || core.buffer.byteLength < size) core = createCore(size);
    return core;
  };
  return { lanes: [ownLane(() => current(0))], core: current };
}

/** Threads for blocks of `otaforge` deltas, which no other format needs: their modules are loaded when they are asked for. */
function laterBlockThreads(jobs: number) {
  let threads: Promise<BlockThreads> | undefined;
  return {
    threads: () => (threads ??= import("./block-threads.node.ts").then((module) => new module.BlockThreads(jobs))),
    end: async () => {
      const ending = threads;
      threads = undefined;
      await (await ending)?.end();
    },
  };
}

/** Starts an engine. Threads begin with the first patch. @throws OtaError USAGE: `jobs` is no number */
export function createDeltaEngine(options: DeltaEngineOptions = {}): DeltaEngine {
  const asked = options.jobs ?? Math.min(MOST_JOBS, availableParallelism());
  if (typeof asked !== "number" || Number.isNaN(asked)) {
    throw new OtaError("USAGE", { what: "the number of worker threads is no number", found: String(asked) });
  }
  const jobs = Math.max(1, Math.min(MOST_THREADS, Math.floor(asked)));
  const lanes = Math.min(MOST_LANES, jobs);
  // Worker files exist in the compiled form only.
  const compiled = import.meta.url.endsWith(".js");
  const core = compiled ? readCore(options.coreFile) : undefined;
  const threads = core === undefined ? undefined : new LaneThreads(core, lanes);
  const blockThreads = threads === undefined || jobs === 1 ? undefined : laterBlockThreads(lanes);
  // They compile on their own what they call first, as few of them may be needed.
  const module =
    options.manyFiles === true && threads !== undefined && jobs > 1 ? loadCoreModule(options.coreFile) : undefined;
  const patchThreads = module === undefined ? undefined : new PatchThreads(module, jobs);
  let plain: Promise<Machine> | undefined;
  const machine = (): Promise<Machine> => threads?.ready() ?? (plain ??= plainMachine());
  const windowSize = options.windowSize ?? (threads === undefined ? PLAIN_WINDOW : undefined);
  let last: Promise<unknown> = Promise.resolve();

  /** One job after the other: they share one memory. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const withWindow = (more: ScheduleOptions) => ({ ...more, ...(windowSize === undefined ? {} : { windowSize }) });

  /** The threads for whole patches, where this one is for them. */
  const wholeFor = (old: RandomReader, fresh: RandomReader): PatchThreads | undefined =>
    old.size + fresh.size <= WHOLE_AT_MOST && old.size <= (windowSize ?? WHOLE_AT_MOST) ? patchThreads : undefined;

  const bsdiff40 = async (old: RandomReader, fresh: RandomReader, more: ScheduleOptions = {}): Promise<Uint8Array> => {
    const whole = wholeFor(old, fresh);
    if (whole !== undefined) {
      const [from, to] = [await old.read(0, old.size), await fresh.read(0, fresh.size)];
      const { effort, signal } = more;
      const effortOf = effort === undefined ? {} : { effort };
      return whole.make({ kind: "bsdiff40", old: from, fresh: to, ...effortOf }, signal);
    }
    return inTurn(async () => scheduleBsdiff40(await machine(), old, fresh, withWindow(more)));
  };

  return {
    start: () => {
      threads?.start();
    },
    threads: threads === undefined ? 0 : jobs,
    core: threads === undefined ? "typescript" : "wasm",
    bsdiff40,
    ...(blockThreads === undefined
      ? {}
      : {
          blockEncoder: async (task) => (await blockThreads.threads()).encoder(task),
          prepare: () => {
            void blockThreads.threads().then((all) => {
              all.start();
            });
          },
        }),
    covers: (old, fresh, more = {}) =>
      inTurn(async () => {
        const covers = await scheduleCovers(await machine(), old, fresh, withWindow(more));
        // What follows is coded elsewhere, with memory of its own.
        if (threads !== undefined && threads.memorySize > KEPT_MEMORY) await threads.end();
        return covers;
      }),
    async imgdiff2(old, fresh, { zip, bonus, ...rest }: ImgdiffOptions = {}) {
      const [oldBytes, newBytes] = [await old.read(0, old.size), await fresh.read(0, fresh.size)];
      const whole = wholeFor(old, fresh);
      if (whole !== undefined) {
        const { effort, signal } = rest;
        const job: PatchJob = {
          kind: "imgdiff2",
          old: oldBytes,
          fresh: newBytes,
          ...(effort === undefined ? {} : { effort }),
          ...(zip === undefined ? {} : { zip }),
          ...(bonus === undefined ? {} : { bonus }),
        };
        return whole.make(job, signal);
      }
      // Deflate and its tables are modules that most patches do not need.
      const { makeImgdiff2 } = await import("./imgdiff/make.ts");
      return makeImgdiff2(oldBytes, newBytes, {
        bsdiff: (from, to) => bsdiff40(memoryReader(from), memoryReader(to), rest),
        ...(zip === undefined ? {} : { zip }),
        ...(bonus === undefined ? {} : { bonus }),
        ...(rest.signal === undefined ? {} : { signal: rest.signal }),
      });
    },
    async close() {
      await last;
      await threads?.end();
      await blockThreads?.end();
      await patchThreads?.end();
    },
  };
}
