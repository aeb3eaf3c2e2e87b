/** Codes blocks: the task, and how it is done on the caller's thread or, from bytes alone, on any other. */
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { CoverList } from "../cover-list.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock, type ModelShape, type ViewSource } from "./block-coder.ts";
import type { PlannedBlock } from "./plan.ts";
import { viewReadsOf } from "./reads.ts";
import { ShiftMap, type ShiftMapData } from "./references.ts";
import type { ViewReader } from "./view-reader.ts";

export interface BlockTask {
  readonly block: PlannedBlock;
  /** Covers and map of the block's window. */
  readonly covers: CoverList;
  readonly map: ShiftMap | undefined;
  readonly shape: ModelShape;
  readonly oldView: ViewReader;
  readonly newView: ViewReader;
  readonly signal?: Cancel;
}

/**
 * Begins a task. The outer promise is fulfilled when the views are not read any more for it, `done` when the block is coded.
 */
export type BlockEncoder = (task: BlockTask) => Promise<{ readonly done: Promise<Uint8Array> }>;

/** Codes on the caller's thread, before the outer promise is fulfilled. */
export const encodeBlock: BlockEncoder = async ({ block, covers, map, shape, oldView, newView, signal }) => {
  const coder = new BinaryCoder();
  const { viewAt, viewSize } = block;
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

/** What a block's coding reads of old, held in memory; beside it everything is 0. */
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

/** A task as plain data: everything another thread needs. */
export interface HeldTask {
  readonly viewAt: number;
  readonly fresh: Uint8Array;
  readonly old: readonly Stretch[];
  /** Covers of the block and its neighbours, as triples. */
  readonly covers: Float64Array;
  readonly map: ShiftMapData | undefined;
  readonly shape: ModelShape;
}

/** Reads what a task needs of both views. */
export async function holdTask({ block, covers, map, shape, oldView, newView }: BlockTask): Promise<HeldTask> {
  const old: Stretch[] = [];
  for (const { at, end } of viewReadsOf(covers, block, oldView.size)) {
    old.push({ at, bytes: await oldView.read(at, end - at) });
  }
  const { viewAt, viewSize } = block;
  const triples = covers.around(viewAt, viewAt + viewSize).triples();
  return { viewAt, fresh: await newView.read(viewAt, viewSize), old, covers: triples, map: map?.data, shape };
}

/** Codes a held task. */
export async function encodeHeld({ viewAt, fresh, old, covers, map, shape }: HeldTask): Promise<Uint8Array> {
  const coder = new BinaryCoder();
  await codeBlock(
    {
      coder,
      old: new HeldView(old),
      covers: CoverList.of(covers),
      map: map === undefined ? undefined : ShiftMap.of(map),
      shape,
    },
    [viewAt, viewAt + fresh.length],
    (at, size) => fresh.subarray(at - viewAt, at - viewAt + size),
    () => undefined,
  );
  return coder.finish();
}
