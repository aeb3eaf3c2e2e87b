/** Codes strips of blocks: the task, and how it is done on the caller's thread or, from bytes alone, on any other. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { CoverList } from "../cover-list.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock, type ModelShape, type ViewSource } from "./block-coder.ts";
import type { ViewRange } from "./plan.ts";
import { viewReadsOf } from "./reads.ts";
import { ShiftMap, type ShiftMapData } from "./references.ts";
import type { ViewReader } from "./view-reader.ts";

/** What is coded, and with which covers. */
export interface StripTask {
  /** The strip in new's view. */
  readonly strip: ViewRange;
  /** Covers and map of the strip's window. */
  readonly covers: CoverList;
  readonly map: ShiftMap | undefined;
  readonly shape: ModelShape;
  readonly oldView: ViewReader;
}

export interface BlockTask extends StripTask {
  readonly newView: ViewReader;
  readonly signal?: Cancel;
}

/**
 * Begins a task. The outer promise is fulfilled when the views are not read any more for it, `done` when the strip is coded.
 */
export type BlockEncoder = (task: BlockTask) => Promise<{ readonly done: Promise<Uint8Array> }>;

/** Codes on the caller's thread, before the outer promise is fulfilled. */
export const encodeBlock: BlockEncoder = async ({ strip, covers, map, shape, oldView, newView, signal }) => {
  const coder = new BinaryCoder();
  const { viewAt, viewSize } = strip;
  await codeBlock(
    { coder, old: oldView, covers, map, shape },
    [viewAt, viewAt + viewSize],
    (at, size) => newView.read(at, size),
    () => {
      checkCancel(signal);
    },
  );
  return { done: Promise.resolve(coder.finish()) };
};

/** A stretch of old's view. */
interface Stretch {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** What a strip's coding reads of old, held in memory; beside it everything is 0. */
class HeldView implements ViewSource {
  readonly #stretches: readonly Stretch[];

  constructor(stretches: readonly Stretch[]) {
    this.#stretches = stretches;
  }

  async copy(out: Uint8Array, at: number, from: number, length: number): Promise<void> {
    out.fill(0, at, at + length);
    const stretches = this.#stretches;
    let low = 0;
    let high = stretches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { at: start, bytes } = stretches[middle] as Stretch;
      if (start + bytes.length <= from) low = middle + 1;
      else high = middle;
    }
    for (; low < stretches.length; low++) {
      const { at: start, bytes } = stretches[low] as Stretch;
      if (start >= from + length) break;
      const begin = Math.max(start, from);
      const end = Math.min(start + bytes.length, from + length);
      out.set(bytes.subarray(begin - start, end - start), at + begin - from);
    }
  }
}

/** A strip as plain data: everything another thread needs beside the bytes that are coded. */
export interface HeldStrip {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly old: readonly Stretch[];
  /** Covers of the strip and its neighbours, as triples. */
  readonly covers: Float64Array;
  readonly map: ShiftMapData | undefined;
  readonly shape: ModelShape;
}

/** A strip, and its bytes of new. */
export interface HeldTask extends HeldStrip {
  readonly fresh: Uint8Array;
}

/** Reads what a strip needs of old's view. */
export async function holdStrip({ strip, covers, map, shape, oldView }: StripTask): Promise<HeldStrip> {
  const old: Stretch[] = [];
  for (const { at, end } of viewReadsOf(covers, strip, oldView.size)) {
    old.push({ at, bytes: await oldView.read(at, end - at) });
  }
  const triples = covers.around(strip.viewAt, strip.viewAt + strip.viewSize).triples();
  return { ...strip, old, covers: triples, map: map?.data, shape };
}

/** Reads what a task needs of both views. */
export async function holdTask(task: BlockTask): Promise<HeldTask> {
  const { viewAt, viewSize } = task.strip;
  return { ...(await holdStrip(task)), fresh: await task.newView.read(viewAt, viewSize) };
}

/** Codes a held strip in one direction or the other: `bytes` are read or written. `step` is called every few KiB. */
async function codeHeld(coder: BinaryCoder, held: HeldStrip, bytes: Uint8Array, step: () => void): Promise<void> {
  const { viewAt, viewSize, old, covers, map, shape } = held;
  await codeBlock(
    {
      coder,
      old: new HeldView(old),
      covers: CoverList.of(covers),
      map: map === undefined ? undefined : ShiftMap.of(map),
      shape,
    },
    [viewAt, viewAt + viewSize],
    (at, size) => bytes.subarray(at - viewAt, at - viewAt + size),
    step,
  );
}

/** Codes a held task. */
export async function encodeHeld(task: HeldTask): Promise<Uint8Array> {
  const coder = new BinaryCoder();
  await codeHeld(coder, task, task.fresh, () => undefined);
  return coder.finish();
}

/** The bytes of new's view in a held strip. @throws OtaError FORGE_DAMAGED when `stored` ends early */
export async function decodeHeld(held: HeldStrip, stored: Uint8Array): Promise<Uint8Array> {
  const coder = new BinaryCoder(stored);
  const bytes = new Uint8Array(held.viewSize);
  await codeHeld(coder, held, bytes, () => {
    checkNotExhausted(coder, held.viewAt);
  });
  return bytes;
}

/** @throws OtaError FORGE_DAMAGED when a decoder has read beyond the end of its bytes */
export function checkNotExhausted(coder: BinaryCoder, viewAt: number): void {
  if (!coder.exhausted) return;
  throw new OtaError("FORGE_DAMAGED", { what: "a block ends early", where: `new's view ${hexOffset(viewAt)}` });
}
