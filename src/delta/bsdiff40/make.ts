/** Makes BSDIFF40 patches on the caller's thread, over any core. The threaded engine does the same work in lanes. */
import type { Cancel, ProgressEvent } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { OtaError } from "../../core/errors.ts";
import { pieceBlocks, pieceInput, pieceSteps } from "../bzip2/writer.ts";
import { createCore, runSteps, type Core } from "../core.ts";
import type { CoverList } from "../cover-list.ts";
import { PatchAssembler } from "./assembler.ts";
import { CoverSink, type RangeSink } from "./cover-sink.ts";
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

export interface MakeOptions {
  /** Default: `default`. */
  readonly effort?: Effort;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
  /** Makes the core to work on, of at least so many bytes; default: the TypeScript core. */
  readonly createCore?: (size: number) => Core;
}

/** What a search leaves behind: the core it ran on, with the bytes of both files' places free for other use. */
interface Searched {
  readonly core: Core;
  readonly layout: JobLayout;
  readonly arena: ArenaLayout;
  readonly settings: Settings;
}

/** Chooses covers of both files, range by range. @throws OtaError DELTA_TOO_LARGE, CANCELLED */
function search(old: Uint8Array, fresh: Uint8Array, sink: RangeSink, options: MakeOptions): Searched {
  if (old.length > WINDOW_SIZE) {
    throw new OtaError("DELTA_TOO_LARGE", {
      what: "the old file is too large for a single window",
      expected: `at most ${WINDOW_SIZE} bytes`,
      found: old.length,
    });
  }
  const settings = SETTINGS[options.effort ?? "default"];
  const layout = jobLayout(old.length, settings);
  const arena = arenaLayout(layout.firstArena);
  const core = (options.createCore ?? createCore)(arena.end);
  const memory = core.buffer;
  new Uint8Array(memory, layout.old, old.length).set(old);
  writeJob(memory, layout, settings);
  writeArena(memory, arena);

  const whole = { index: 0, count: 1 };
  const counts = runSteps(core, steps.countSteps(layout, stepFor(settings, old.length), whole));
  const sizes = steps.sizeIndexes(memory, layout, ...counts);
  runSteps(core, steps.countBucketSteps(layout, arena, sizes[0], whole));
  runSteps(core, steps.fillSteps(layout, arena, sizes, whole, 0));

  const ranges: steps.Range[] = [];
  const rangeSize = rangeSizeFor(settings, fresh.length);
  for (let at = 0; at < fresh.length; at += rangeSize) {
    ranges.push({ newAt: at, size: Math.min(rangeSize, fresh.length - at), expected: at });
  }
  const kept: steps.Candidates[] = [];
  steps.writePrices(memory, layout, priorPrices(settings.prior));
  for (let pass = 1; pass <= settings.passes; pass++) {
    const last = pass === settings.passes;
    ranges.forEach((range, index) => {
      checkCancel(options.signal);
      steps.loadRange(memory, arena, range, fresh.subarray(range.newAt, range.newAt + range.size));
      if (pass === 1) runSteps(core, steps.gatherSteps(layout, arena));
      else steps.restoreCandidates(memory, arena, kept[index] as steps.Candidates);
      if (pass === 1 && !last) kept.push(steps.saveCandidates(memory, arena));
      runSteps(core, steps.searchSteps(layout, arena, !last));
      if (last) {
        const blocks = sink.takesBytes ? runSteps(core, steps.compressSteps(memory, arena, settings)) : [];
        sink.addRange(range.newAt, range.size, 0, steps.viewResult(memory, arena, blocks));
      }
      options.progress?.({ phase: `search ${pass}`, doneBytes: range.newAt + range.size, totalBytes: fresh.length });
    });
    if (last) break;
    const sum = new Float64Array(PRICE_COUNT + LITERAL_COUNT);
    steps.takeCounts(memory, arena, sum);
    steps.writePrices(memory, layout, learntPrices(sum, settings.prior));
  }
  return { core, layout, arena, settings };
}

/**
 * A BSDIFF40 patch that turns `old` into `fresh`; stock bspatch 4.3 applies it. The bytes depend on the inputs and the
 * effort alone. `max` is never larger than `default`: it makes both.
 * @throws OtaError DELTA_TOO_LARGE (old beyond 1 GiB: the engine takes those), CANCELLED
 */
export function makeBsdiff40(old: Uint8Array, fresh: Uint8Array, options: MakeOptions = {}): Uint8Array {
  const made = makeOnce(old, fresh, options);
  return options.effort === "max" ? smaller(made, makeOnce(old, fresh, { ...options, effort: "default" })) : made;
}

function makeOnce(old: Uint8Array, fresh: Uint8Array, options: MakeOptions): Uint8Array {
  const assembler = new PatchAssembler(fresh.length);
  const { core, layout, arena, settings } = search(old, fresh, assembler, options);
  const memory = core.buffer;
  assembler.endRanges();

  const bytes = new Uint8Array(memory);
  const { cutting } = settings;
  for (;;) {
    checkCancel(options.signal);
    const piece = assembler.ready(true);
    if (piece === undefined) break;
    const { stream, front } = piece;
    bytes.set(front, layout.scan);
    const length = core.pieceLength(layout.scan, front.length, cutting.leaf, cutting.leaves);
    bytes.copyWithin(pieceInput(arena.piece), layout.scan, layout.scan + length);
    assembler.drop(stream, length);
    const count = runSteps(core, pieceSteps(arena.piece, length, cutting));
    assembler.addBlocks(stream, pieceBlocks(memory, arena.piece, count));
  }
  return assembler.compose();
}

/**
 * The covers alone, as the patch of {@link makeBsdiff40} has them: in order of new, which they need not cover.
 * @throws OtaError DELTA_TOO_LARGE, CANCELLED
 */
export function findCovers(old: Uint8Array, fresh: Uint8Array, options: MakeOptions = {}): CoverList {
  const sink = new CoverSink();
  search(old, fresh, sink, options);
  return sink.covers;
}
