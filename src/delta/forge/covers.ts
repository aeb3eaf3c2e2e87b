/** Covers: which stretches of new's view line up with which stretches of old's, and how the list is stored. */
import { OtaError } from "../../core/errors.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { NumberModel } from "./numbers.ts";
import { ShiftMap } from "./references.ts";

/** Covers in order of new, not overlapping there: `at(i)` is new position, old position, size. */
export class CoverList {
  #values = new Float64Array(3 * 64);
  count = 0;

  add(newAt: number, oldAt: number, size: number): void {
    if (3 * (this.count + 1) > this.#values.length) {
      const grown = new Float64Array(2 * this.#values.length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values.set([newAt, oldAt, size], 3 * this.count++);
  }

  newAt(i: number): number {
    return this.#values[3 * i] as number;
  }

  oldAt(i: number): number {
    return this.#values[3 * i + 1] as number;
  }

  size(i: number): number {
    return this.#values[3 * i + 2] as number;
  }

  newEnd(i: number): number {
    return this.newAt(i) + this.size(i);
  }

  /** Index of the first cover that ends behind `at`. */
  firstEndingBehind(at: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.newEnd(middle) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** More covers than a patch of gigabytes has; a list of this length takes 100 MiB. */
export const MAX_COVERS = 4 * 1024 * 1024;

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

export function encodeCovers(covers: CoverList): Uint8Array {
  const coder = new BinaryCoder();
  const numbers = new CoverCoder(coder);
  let end = 0;
  for (let i = 0; i < covers.count; i++) {
    numbers.code(covers.newAt(i) - end, covers.size(i), covers.newAt(i) - covers.oldAt(i));
    end = covers.newEnd(i);
  }
  return coder.finish();
}

/**
 * The stored covers, each checked to lie inside both views.
 * @throws OtaError FORGE_DAMAGED
 */
export function decodeCovers(stored: Uint8Array, count: number, oldViewSize: number, newViewSize: number): CoverList {
  const coder = new BinaryCoder(stored);
  const numbers = new CoverCoder(coder);
  const covers = new CoverList();
  let end = 0;
  for (let i = 0; i < count; i++) {
    const { gap, size, shift } = numbers.code(0, 0, 0);
    const newAt = end + gap;
    const oldAt = newAt - shift;
    if (!(!coder.exhausted && size > 0 && newAt + size <= newViewSize && oldAt >= 0 && oldAt + size <= oldViewSize)) {
      throw new OtaError("FORGE_DAMAGED", { what: "a cover lies outside old or new", where: `cover ${i}` });
    }
    covers.add(newAt, oldAt, size);
    end = newAt + size;
  }
  return covers;
}

/** Views up to here have a shift map; positions in it are 32-bit numbers. */
const MAX_MAPPED = 2 ** 31 - 2 ** 20;

/** Where the covers put each part of old's view; undefined for views of 2 GiB and more. */
export function shiftMapOf(covers: CoverList, oldViewSize: number, newViewSize: number): ShiftMap | undefined {
  if (oldViewSize > MAX_MAPPED || newViewSize > MAX_MAPPED) return undefined;
  const map = new ShiftMap(oldViewSize);
  // Longer covers overwrite shorter ones; equal ones keep their order, so both sides build the same map.
  const order = Uint32Array.from({ length: covers.count }, (_, i) => i);
  order.sort((a, b) => covers.size(a) - covers.size(b) || a - b);
  for (const i of order) map.add(covers.oldAt(i), covers.newAt(i), covers.size(i));
  return map;
}
