/**
 * Makes BSDIFF40 patches in lanes: ranges of new are searched side by side, and pieces of the streams are compressed as soon
 * as they are complete. Borders of ranges, pieces and windows are fixed, so the bytes are the same for any number of lanes.
 *
 * Memory: a window of old with its indexes, an arena for each lane, and what waits to be compressed. Old files beyond a
 * window are indexed window by window; each range of new is compared with the window around its own position.
 */
import { checkCancel } from "../../core/streams.ts";
import type { Cancel, ProgressEvent, RandomReader } from "../../core/ports.ts";
import type { Bzip2Block } from "../bzip2/joiner.ts";
import { pieceBlocks, pieceInput, pieceSteps } from "../bzip2/writer.ts";
import type { Core } from "../core-calls.ts";
import type { CoverList } from "../cover-list.ts";
import { PatchAssembler, type StreamIndex } from "./assembler.ts";
import { CoverSink, type RangeSink } from "./cover-sink.ts";
import { LanePool, runOnLane, type Lane, type Machine } from "./lanes.ts";
import {
  arenaLayout,
  jobLayout,
  rangeSizeFor,
  SETTINGS,
  stepFor,
  WINDOW_SIZE,
  writeArena,
  writeJob,
  type ArenaLayout,
  type Effort,
  type JobLayout,
  type Settings,
} from "./plan.ts";
import { learntPrices, LITERAL_COUNT, PRICE_COUNT, priorPrices } from "./prices.ts";
import { smaller } from "./smaller.ts";
import * as steps from "./steps.ts";

export interface ScheduleOptions {
  readonly effort?: Effort;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
  /** Bytes of old that are indexed at a time, a multiple of 8 MiB; default 1 GiB. Changes the patch. */
  readonly windowSize?: number;
}

/** Bytes of old that are read at a time. */
const READ_SIZE = 4 * 1024 * 1024;
/** Bytes of new that may be under way or wait for ranges in front of them, where that is more than a range for each lane. */
const WAITING_SIZE = 8 * 1024 * 1024;
/** Candidates are kept between passes up to this many bytes, then found again. */
const KEEP_LIMIT = 192 * 1024 * 1024;

interface ArenaLane {
  readonly lane: Lane;
  readonly arena: ArenaLayout;
}

/** A window of old and the ranges of new that are compared with it. */
interface Window {
  readonly at: number;
  readonly size: number;
  readonly ranges: steps.Range[];
}

/** Windows begin at multiples of half their size; each range takes the one whose middle is nearest to its own position. */
export function windowsFor(oldSize: number, newSize: number, windowSize: number, rangeSize: number): Window[] {
  const windows: Window[] = [];
  const half = windowSize / 2;
  const lastStart = Math.max(0, Math.ceil(oldSize / half) * half - windowSize);
  for (let newAt = 0; newAt < newSize; newAt += rangeSize) {
    const wanted = Math.round((newAt - half) / half) * half;
    const at = Math.min(lastStart, Math.max(0, wanted));
    const range = { newAt, size: Math.min(rangeSize, newSize - newAt), expected: newAt - at };
    const last = windows.at(-1);
    if (last?.at === at) last.ranges.push(range);
    else windows.push({ at, size: Math.min(windowSize, oldSize - at), ranges: [range] });
  }
  return windows;
}

/** Largest memory of a core: what 32 bits address, less a page. */
const MOST_MEMORY = 2 ** 32 - 65536;

/** One patch in the making. */
class Schedule {
  readonly #core: Core;
  readonly #memory: ArrayBufferLike;
  readonly #layout: JobLayout;
  readonly #settings: Settings;
  readonly #lanes: readonly ArenaLane[];
  readonly #pool: LanePool<ArenaLane>;
  /** Makes the patch; absent when only covers are wanted. */
  readonly #assembler: PatchAssembler | undefined;
  readonly #sink: RangeSink;
  readonly #pieces: { stream: StreamIndex; length: number; blocks: Promise<Bzip2Block[]> }[] = [];
  readonly #old: RandomReader;
  readonly #fresh: RandomReader;
  readonly #options: ScheduleOptions;
  #searched = 0;

  constructor(
    machine: Machine,
    [old, fresh]: readonly [RandomReader, RandomReader],
    sink: RangeSink,
    options: ScheduleOptions,
  ) {
    this.#settings = SETTINGS[options.effort ?? "default"];
    const layout = jobLayout(Math.min(old.size, options.windowSize ?? WINDOW_SIZE), this.#settings);
    let end = layout.firstArena;
    const lanes: ArenaLane[] = [];
    for (const lane of machine.lanes) {
      const arena = arenaLayout(end);
      // The others stay idle: an arena takes 52 MiB, and large machines have more processors than a memory has room for arenas.
      if (arena.end > MOST_MEMORY && lanes.length > 0) break;
      end = arena.end;
      lanes.push({ lane, arena });
    }
    this.#lanes = lanes;
    this.#core = machine.core(end);
    this.#memory = this.#core.buffer;
    this.#layout = layout;
    this.#pool = new LanePool(this.#lanes);
    this.#assembler = sink instanceof PatchAssembler ? sink : undefined;
    this.#sink = sink;
    this.#old = old;
    this.#fresh = fresh;
    this.#options = options;
    for (const { arena } of this.#lanes) writeArena(this.#memory, arena);
  }

  #progress(phase: string, doneBytes: number, totalBytes: number): void {
    this.#options.progress?.({ phase, doneBytes, totalBytes });
  }

  /** The same kind of work on every lane at once. */
  async #all<T>(work: (lane: ArenaLane, share: steps.Share) => Promise<T>): Promise<T[]> {
    const count = this.#lanes.length;
    const settled = await Promise.allSettled(this.#lanes.map((lane, index) => work(lane, { index, count })));
    return settled.map((result) => {
      if (result.status === "rejected") throw result.reason;
      return result.value;
    });
  }

  async #index(window: Window): Promise<JobLayout> {
    const layout = { ...this.#layout, oldSize: window.size };
    const bytes = new Uint8Array(this.#memory, layout.old, window.size);
    for (let at = 0; at < window.size; at += READ_SIZE) {
      checkCancel(this.#options.signal);
      const size = Math.min(READ_SIZE, window.size - at);
      const target = bytes.subarray(at, at + size);
      if (this.#old.readInto === undefined) target.set(await this.#old.read(window.at + at, size));
      else await this.#old.readInto(window.at + at, target);
      this.#progress("read old", window.at + at + size, this.#old.size);
    }
    writeJob(this.#memory, layout, this.#settings);
    const step = stepFor(this.#settings, window.size);
    const counts = await this.#all((l, share) => runOnLane(l.lane, steps.countSteps(layout, step, share)));
    const seeds = counts.reduce((sum, [n]) => sum + n, 0);
    const keys = counts.reduce((sum, [, n]) => sum + n, 0);
    const sizes = steps.sizeIndexes(this.#memory, layout, seeds, keys);
    const filled = await this.#all((l, share) =>
      runOnLane(l.lane, steps.countBucketSteps(layout, l.arena, sizes[0], share)),
    );
    const starts = filled.map((_, i) => filled.slice(0, i).reduce((sum, n) => sum + n, 0));
    await this.#all((l, share) => {
      return runOnLane(l.lane, steps.fillSteps(layout, l.arena, sizes, share, starts[share.index] as number));
    });
    return layout;
  }

  /** Complete pieces of the streams go to the next idle lanes, in front of ranges. */
  async #compress(all: boolean): Promise<void> {
    const assembler = this.#assembler;
    if (assembler === undefined) return;
    const { cutting } = this.#settings;
    const scan = new Uint8Array(this.#memory, this.#layout.scan);
    for (;;) {
      const piece = assembler.ready(all);
      if (piece === undefined) return;
      const { stream, front } = piece;
      scan.set(front);
      const length = this.#core.pieceLength(this.#layout.scan, front.length, cutting.leaf, cutting.leaves);
      assembler.drop(stream, length);
      // The piece stays in the scratch until a lane takes it.
      const started = await this.#pool.start(true, async ({ lane, arena }) => {
        new Uint8Array(this.#memory, pieceInput(arena.piece), length).set(scan.subarray(0, length));
        const count = await runOnLane(lane, pieceSteps(arena.piece, length, cutting));
        return pieceBlocks(this.#memory, arena.piece, count);
      });
      this.#pieces.push({ stream, length, blocks: started.done });
    }
  }

  /** Adds results to the patch in order: at once when it is their turn, otherwise when those in front have come. */
  #adder(window: Window): (index: number, result: steps.RangeResult) => void {
    const waiting = new Map<number, steps.RangeResult>();
    let turn = 0;
    const add = (result: steps.RangeResult) => {
      const range = window.ranges[turn++] as steps.Range;
      this.#sink.addRange(range.newAt, range.size, window.at, result);
    };
    return (index, result) => {
      if (index !== turn) {
        waiting.set(index, steps.copyResult(result));
        return;
      }
      add(result);
      for (let next = waiting.get(turn); next !== undefined; next = waiting.get(turn)) {
        waiting.delete(turn);
        add(next);
      }
    };
  }

  async #search(window: Window, layout: JobLayout): Promise<void> {
    const { passes, prior } = this.#settings;
    const rangeSize = rangeSizeFor(this.#settings, this.#fresh.size);
    const most = Math.max(this.#lanes.length, WAITING_SIZE / rangeSize);
    const kept = new Map<steps.Range, steps.Candidates>();
    let keptBytes = 0;
    steps.writePrices(this.#memory, layout, priorPrices(prior));
    for (let pass = 1; pass <= passes; pass++) {
      const last = pass === passes;
      const add = this.#adder(window);
      const running: Promise<void>[] = [];
      for (const [index, range] of window.ranges.entries()) {
        checkCancel(this.#options.signal);
        const bytes = await this.#fresh.read(range.newAt, range.size);
        const { done } = await this.#pool.start(false, async ({ lane, arena }) => {
          steps.loadRange(this.#memory, arena, range, bytes);
          const saved = kept.get(range);
          if (saved !== undefined) steps.restoreCandidates(this.#memory, arena, saved);
          else await runOnLane(lane, steps.gatherSteps(layout, arena));
          if (!last && saved === undefined && keptBytes < KEEP_LIMIT) {
            const candidates = steps.saveCandidates(this.#memory, arena);
            keptBytes += candidates.segments.byteLength + candidates.tables.byteLength;
            kept.set(range, candidates);
          }
          await runOnLane(lane, steps.searchSteps(layout, arena, !last));
          if (last) kept.delete(range);
          this.#searched += range.size;
          this.#progress("search", this.#searched, passes * this.#fresh.size);
          if (!last) return;
          const compressed = this.#sink.takesBytes
            ? steps.compressSteps(this.#memory, arena, this.#settings)
            : undefined;
          const blocks = compressed === undefined ? [] : await runOnLane(lane, compressed);
          add(index, steps.viewResult(this.#memory, arena, blocks));
        });
        running.push(done);
        if (running.length > most) await running.shift();
        if (last) await this.#compress(false);
      }
      await Promise.all(running);
      if (last) await this.#compress(false);
      if (last) return;
      const sum = new Float64Array(PRICE_COUNT + LITERAL_COUNT);
      for (const { arena } of this.#lanes) steps.takeCounts(this.#memory, arena, sum);
      steps.writePrices(this.#memory, layout, learntPrices(sum, prior));
    }
  }

  /** Searches all of new; ranges go to the sink. */
  async search(): Promise<void> {
    const windowSize = this.#options.windowSize ?? WINDOW_SIZE;
    const rangeSize = rangeSizeFor(this.#settings, this.#fresh.size);
    for (const window of windowsFor(this.#old.size, this.#fresh.size, windowSize, rangeSize)) {
      await this.#search(window, await this.#index(window));
    }
  }

  /** Ends the patch after the search. */
  async finish(assembler: PatchAssembler): Promise<Uint8Array> {
    assembler.endRanges();
    await this.#compress(true);
    let done = 0;
    const total = this.#pieces.reduce((sum, { length }) => sum + length, 0);
    for (const { stream, length, blocks } of this.#pieces) {
      assembler.addBlocks(stream, await blocks);
      done += length;
      this.#progress("compress", done, total);
      checkCancel(this.#options.signal);
    }
    return assembler.compose();
  }
}

/**
 * A BSDIFF40 patch that turns `old` into `fresh`; stock bspatch 4.3 applies it. `max` is never larger than `default`: it makes both.
 * @throws OtaError CANCELLED, and what the readers throw
 */
export async function scheduleBsdiff40(
  machine: Machine,
  old: RandomReader,
  fresh: RandomReader,
  options: ScheduleOptions = {},
): Promise<Uint8Array> {
  const make = async (effort: Effort | undefined) => {
    const assembler = new PatchAssembler(fresh.size);
    const schedule = new Schedule(
      machine,
      [old, fresh],
      assembler,
      effort === undefined ? options : { ...options, effort },
    );
    await schedule.search();
    return schedule.finish(assembler);
  };
  const made = await make(options.effort);
  return options.effort === "max" ? smaller(made, await make("default")) : made;
}

/**
 * The covers alone, as the patch of {@link scheduleBsdiff40} has them, in order of new.
 * @throws OtaError CANCELLED, and what the readers throw
 */
export async function scheduleCovers(
  machine: Machine,
  old: RandomReader,
  fresh: RandomReader,
  options: ScheduleOptions = {},
): Promise<CoverList> {
  const sink = new CoverSink();
  await new Schedule(machine, [old, fresh], sink, options).search();
  return sink.covers;
}
