/**
 * Binary arithmetic coder of the `otaforge` format, and the integer tables its models share.
 *
 * Encoder and decoder are one class: a model calls {@link BinaryCoder.code} with a bit and its probability and gets the bit
 * back, so there is one model for both directions and they cannot drift apart. All arithmetic is on integers: the same bits
 * on every machine and engine.
 */

/** Probability of a one as a 12-bit number of a logarithmic odds from -2047 to 2047 (8 fractional bits). */
export function squash(d: number): number {
  if (d > 2047) return 4095;
  if (d < -2047) return 1;
  const w = d & 127;
  const i = (d >> 7) + 16;
  return ((SQUASH_POINTS[i] as number) * (128 - w) + (SQUASH_POINTS[i + 1] as number) * w + 64) >> 7;
}

/** 4096 / (1 + exp(-x)) at x = -8 to 8 in steps of a half. */
const SQUASH_POINTS = [
  1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785, 3901, 3975,
  4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094,
];

/** Inverse of {@link squash} for each 12-bit probability. */
export const STRETCH = makeStretch();

/** {@link squash} of each odds from -2048 to 2047, at index odds + 2048. */
export const SQUASH = Int16Array.from({ length: 4096 }, (_, i) => squash(i - 2048));

function makeStretch(): Int16Array {
  const table = new Int16Array(4096);
  let p = 0;
  for (let d = -2047; d <= 2047; d++) {
    const v = squash(d);
    for (; p <= v; p++) table[p] = d;
  }
  table.fill(2047, p);
  return table;
}

/** 8192 / (n + 1.6), the step of an adaptive probability seen n times. */
export const RATE = Int32Array.from({ length: 1024 }, (_, n) => Math.trunc(81920 / (10 * n + 16)));

/** Zero bytes an encoder leaves out at the end, at most. */
const MAX_DROPPED = 32;

/** Where bits come from or go to. */
export class BinaryCoder {
  readonly decoding: boolean;
  #low = 0;
  #high = 0xffffffff;
  #code = 0;
  #bytes: Uint8Array;
  #at = 0;

  /** Decodes `input`, or encodes when there is none. Beyond its end a stream is zeros; whoever decodes checks the result. */
  constructor(input?: Uint8Array) {
    this.decoding = input !== undefined;
    this.#bytes = input ?? new Uint8Array(1 << 16);
    if (input !== undefined) for (let i = 0; i < 4; i++) this.#code = ((this.#code << 8) | this.#next()) >>> 0;
  }

  #next(): number {
    const at = this.#at++;
    return at < this.#bytes.length ? (this.#bytes[at] as number) : 0;
  }

  /** Whether a decoder has read so far beyond its input that the stream must be damaged. */
  get exhausted(): boolean {
    return this.#at > this.#bytes.length + MAX_DROPPED + 4;
  }

  #put(byte: number): void {
    if (this.#at === this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#at);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[this.#at++] = byte;
  }

  /** Codes one bit whose probability of being 1 is `p16` / 65536, 1 to 65535. `bit` is ignored when decoding. */
  code(bit: number, p16: number): number {
    const range = (this.#high - this.#low) >>> 0;
    const middle = (this.#low + Math.imul(range >>> 16, p16) + (Math.imul(range & 0xffff, p16) >>> 16)) >>> 0;
    const y = this.decoding ? (this.#code <= middle ? 1 : 0) : bit;
    if (y === 1) this.#high = middle;
    else this.#low = (middle + 1) >>> 0;
    while (((this.#low ^ this.#high) & 0xff000000) === 0) {
      if (this.decoding) this.#code = ((this.#code << 8) | this.#next()) >>> 0;
      else this.#put(this.#high >>> 24);
      this.#low = (this.#low << 8) >>> 0;
      this.#high = ((this.#high << 8) | 255) >>> 0;
    }
    return y;
  }

  /** Ends an encoded stream and gives it. */
  finish(): Uint8Array {
    // The shortest bytes that name a point inside the last interval; the decoder reads zeros behind them.
    for (let bytes = 1; bytes <= 4; bytes++) {
      const unit = 2 ** (32 - 8 * bytes);
      const point = Math.ceil(this.#low / unit) * unit;
      if (point > this.#high) continue;
      for (let i = 0; i < bytes; i++) this.#put((point / 2 ** (24 - 8 * i)) & 255);
      break;
    }
    // Zeros at the end need not be stored; only a few are left out, so that reading far beyond the end is a sign of damage.
    let end = this.#at;
    while (end > 0 && this.#at - end < MAX_DROPPED && this.#bytes[end - 1] === 0) end--;
    return this.#bytes.slice(0, end);
  }
}
