/** How the covers of a window are stored, and the map of old that follows from them. */
import { OtaError } from "../../core/errors.ts";
import { CoverList } from "../cover-list.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { NumberModel } from "./numbers.ts";
import { ShiftMap } from "./references.ts";

/** More covers than a window of new has; a list of this length takes 24 MiB. */
export const MAX_COVERS = 1024 * 1024;

/** Shifts remembered. */
const RECENT = 16;

/** What both directions share: numbers with their contexts. */
class CoverCoder {
  readonly #numbers: NumberModel;
  readonly #recent: number[] = [0];
  #gapClass = 0;
  #sizeClass = 0;
  #shift = 0;

  constructor(coder: BinaryCoder) {
    this.#numbers = new NumberModel(coder, 512);
  }

  code(gap: number, size: number, shift: number): { gap: number; size: number; shift: number } {
    const numbers = this.#numbers;
    const outGap = numbers.code(gap, Math.min(31, this.#sizeClass));
    this.#gapClass = Math.min(15, numbers.lastClass);
    const known = this.#recent.indexOf(shift);
    const index = numbers.code(known < 0 ? 0 : known + 1, 64 + this.#gapClass);
    let outShift: number;
    if (index === 0) outShift = this.#shift + numbers.codeSigned(shift - this.#shift, 96 + this.#gapClass);
    else outShift = this.#recent[index - 1] ?? Number.NaN;
    const where = index === 0 ? -1 : index - 1;
    if (where >= 0) this.#recent.splice(where, 1);
    this.#recent.unshift(outShift);
    if (this.#recent.length > RECENT) this.#recent.pop();
    this.#shift = outShift;
    const outSize = numbers.code(size, 128 + this.#gapClass * 4 + Math.min(3, index));
    this.#sizeClass = numbers.lastClass;
    return { gap: outGap, size: outSize, shift: outShift };
  }
}

/** Stores the covers of a window that begins at `windowAt` of new's view. */
export function encodeCovers(covers: CoverList, windowAt: number): Uint8Array {
  const coder = new BinaryCoder();
  const numbers = new CoverCoder(coder);
  let end = windowAt;
  for (let i = 0; i < covers.count; i++) {
    numbers.code(covers.newAt(i) - end, covers.size(i), covers.newAt(i) - covers.oldAt(i));
    end = covers.newEnd(i);
  }
  return coder.finish();
}

/** Where a window lies in new's view, how many covers it has, and how large old's view is. */
export interface CoverBounds {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly coverCount: number;
  readonly oldViewSize: number;
}

/**
 * The stored covers of a window, each checked to lie inside the window and old's view.
 * @throws OtaError FORGE_DAMAGED
 */
export function decodeCovers(stored: Uint8Array, bounds: CoverBounds): CoverList {
  const coder = new BinaryCoder(stored);
  const numbers = new CoverCoder(coder);
  const covers = new CoverList();
  const windowEnd = bounds.viewAt + bounds.viewSize;
  let end = bounds.viewAt;
  for (let i = 0; i < bounds.coverCount; i++) {
    const { gap, size, shift } = numbers.code(0, 0, 0);
    const newAt = end + gap;
    const oldAt = newAt - shift;
    const inside = size > 0 && newAt + size <= windowEnd && oldAt >= 0 && oldAt + size <= bounds.oldViewSize;
    if (coder.exhausted || !inside) {
      throw new OtaError("FORGE_DAMAGED", { what: "a cover lies outside old or its window", where: `cover ${i}` });
    }
    covers.add(newAt, oldAt, size);
    end = newAt + size;
  }
  return covers;
}

/** The stretch of old's view whose references a window follows. */
export interface MappedRange {
  readonly mapAt: number;
  readonly mapSize: number;
}

/** Largest mapped stretch: positions in it are 32-bit numbers. */
export const MAX_MAPPED = 1024 * 1024 * 1024;

/** The stretch a window should map: all of old where that is small enough, else around what most of its covers read. */
export function mappedRangeFor(covers: CoverList, oldViewSize: number): MappedRange {
  if (oldViewSize <= MAX_MAPPED) return { mapAt: 0, mapSize: oldViewSize };
  const order = Array.from({ length: covers.count }, (_, i) => i).sort((a, b) => covers.oldAt(a) - covers.oldAt(b));
  const total = order.reduce((sum, i) => sum + covers.size(i), 0);
  let seen = 0;
  const middle = order.find((i) => (seen += covers.size(i)) * 2 >= total);
  const wanted = (middle === undefined ? 0 : covers.oldAt(middle)) - MAX_MAPPED / 2;
  return { mapAt: Math.max(0, Math.min(oldViewSize - MAX_MAPPED, wanted)), mapSize: MAX_MAPPED };
}

/** Where the covers of a window put each part of the mapped stretch; undefined when references are not followed. */
export function shiftMapOf(covers: CoverList, range: MappedRange, grainBits: number): ShiftMap | undefined {
  if (grainBits === 0) return undefined;
  const map = new ShiftMap(range, grainBits);
  // Longer covers overwrite shorter ones; equal ones keep their order, so both sides build the same map.
  const order = Uint32Array.from({ length: covers.count }, (_, i) => i);
  order.sort((a, b) => covers.size(a) - covers.size(b) || a - b);
  for (const i of order) map.add(covers.oldAt(i), covers.newAt(i), covers.size(i));
  return map;
}
