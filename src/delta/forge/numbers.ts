/** Adaptive coding of whole numbers: the size class by a tree of decisions, then the bits below, the first of them adaptive. */
import type { BinaryCoder } from "./arithmetic.ts";

/** Size classes: 0 for 0, k for numbers of k bits, up to 53. */
const CLASS_BITS = 6;
/** Bits below the leading one that are learned. */
const LEARNED_BITS = 3;

export class NumberModel {
  readonly #coder: BinaryCoder;
  readonly #classes: Uint16Array;
  readonly #bits: Uint16Array;
  /** Size class of the last number. */
  lastClass = 0;

  constructor(coder: BinaryCoder, contexts: number) {
    this.#coder = coder;
    this.#classes = new Uint16Array(contexts << CLASS_BITS).fill(0x8000);
    this.#bits = new Uint16Array((contexts << CLASS_BITS) << LEARNED_BITS).fill(0x8000);
  }

  #adaptive(table: Uint16Array, at: number, bit: number): number {
    const p = table[at] as number;
    const y = this.#coder.code(bit, Math.max(32, Math.min(65503, p)));
    table[at] = y === 1 ? p + ((65535 - p) >> 4) : p - (p >> 4);
    return y;
  }

  /** Codes a number from 0 to 2^53-1; `value` is ignored when decoding. */
  code(value: number, context: number): number {
    let size = 0;
    if (!this.#coder.decoding) while (size < 53 && value >= 2 ** size) size++;
    let node = 1;
    for (let i = CLASS_BITS - 1; i >= 0; i--) {
      node = (node << 1) | this.#adaptive(this.#classes, (context << CLASS_BITS) + node, (size >> i) & 1);
    }
    // A damaged stream may give classes above 53; the caller refuses what is out of range.
    size = Math.min(53, node & 63);
    this.lastClass = size;
    if (size <= 1) return size;
    let out = 1;
    let prefix = 1;
    for (let i = size - 2; i >= 0; i--) {
      const bit = Math.floor(value / 2 ** i) % 2;
      let y: number;
      if (size - 2 - i < LEARNED_BITS) {
        const at = (((context << CLASS_BITS) + size) << LEARNED_BITS) + prefix;
        y = this.#adaptive(this.#bits, at, bit);
        prefix = (prefix << 1) | y;
      } else y = this.#coder.code(bit, 0x8000);
      out = out * 2 + y;
    }
    return out;
  }

  /** As {@link code}, for numbers below zero too. */
  codeSigned(value: number, context: number): number {
    const folded = this.code(value < 0 ? -2 * value - 1 : 2 * value, context);
    return folded % 2 === 1 ? -(folded + 1) / 2 : folded / 2;
  }
}
