/**
 * The modelling kit: adaptive probabilities found by context, mixed by a small online-trained network.
 *
 * A slot holds a probability (22 bits) and how often it was seen (10 bits). {@link ByteMixer} codes a byte as eight decisions,
 * with slots in groups of sixteen, one group a context and half byte, found by hash and checked, so that a context seen
 * for the first time says nothing instead of something wrong.
 */
import { RATE, SQUASH, STRETCH, type BinaryCoder } from "./arithmetic.ts";

/** Slot of probability one half, never seen. */
const FRESH = 0x80000000;

/** Mixed with `imul` into hashes: odd, from the golden ratio. */
const GOLDEN = 0x9e3779b1;

export function hash2(a: number, b: number): number {
  const h = Math.imul(a, GOLDEN) ^ Math.imul(b + 0x7f4a7c15, 0x85ebca6b);
  return Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
}

export function hash3(a: number, b: number, c: number): number {
  return hash2(hash2(a, b), c);
}

/** New value of slot `v` after bit `y`; a slot seen `limit` times keeps that memory. */
function updated(v: number, y: number, limit: number): number {
  const n = v & 1023;
  const p = v >>> 10;
  const target = y === 1 ? 4194303 : 0;
  // Shifted first so that the product fits 32 bits; a fresh slot is at one half, so the largest step does too.
  const step = Math.imul((target - p) >> 3, RATE[n] as number) >> 10;
  return (((p + step) << 10) | (n < limit ? n + 1 : n)) >>> 0;
}

/** Weights of one network: `inputs` numbers for each of `sets` selectable neurons. */
class Network {
  readonly inputs: number;
  readonly weights: Int32Array;
  #base = 0;
  /** Last output as logarithmic odds. */
  odds = 0;
  #p = 2048;

  constructor(inputs: number, sets: number, initial: number) {
    this.inputs = inputs;
    this.weights = new Int32Array(inputs * sets).fill(initial);
  }

  mix(values: Int32Array, set: number): number {
    const base = (this.#base = set * this.inputs);
    let sum = 0;
    for (let i = 0; i < this.inputs; i++) sum += Math.imul(values[i] as number, this.weights[base + i] as number) >> 8;
    sum >>= 8;
    if (sum > 2047) sum = 2047;
    else if (sum < -2047) sum = -2047;
    this.odds = sum;
    this.#p = SQUASH[sum + 2048] as number;
    return sum;
  }

  train(values: Int32Array, y: number, rate: number): void {
    const error = Math.imul((y << 12) - this.#p, rate);
    const base = this.#base;
    for (let i = 0; i < this.inputs; i++) {
      const w = this.weights[base + i] as number;
      this.weights[base + i] = w + ((Math.imul(values[i] as number, error) + 0x2000) >> 14);
    }
  }
}

/** 16-bit probability for the coder out of logarithmic odds. */
function final16(odds: number): number {
  const p = SQUASH[odds + 2048] as number;
  return p * 16 + 8;
}

/** Contexts seen at most this often weigh by how often they were seen. 256 = full weight. */
const CONFIDENCE = Int32Array.from({ length: 256 }, (_, n) => (n === 0 ? 0 : Math.min(256, 96 + 40 * Math.min(n, 4))));

/** Adaptive correction of a final probability by a small context: interpolated over 33 odds. */
class Correction {
  readonly #table: Uint16Array;
  #at = 0;

  constructor(contexts: number) {
    this.#table = new Uint16Array(contexts * 33);
    for (let i = 0; i < this.#table.length; i++) {
      const odds = Math.max(-2047, Math.min(2047, ((i % 33) - 16) * 128));
      this.#table[i] = (SQUASH[odds + 2048] as number) * 16;
    }
  }

  refine(odds: number, context: number): number {
    const position = odds + 2048;
    const low = position >> 7;
    const weight = position & 127;
    const base = context * 33 + low;
    this.#at = weight >= 64 ? base + 1 : base;
    return ((this.#table[base] as number) * (128 - weight) + (this.#table[base + 1] as number) * weight) >> 7;
  }

  update(y: number): void {
    const v = this.#table[this.#at] as number;
    this.#table[this.#at] = v + (((y === 1 ? 65535 : 0) - v) >> 6);
  }
}

function clamp16(p: number): number {
  return p < 24 ? 24 : p > 65512 ? 65512 : p;
}

/** Codes single decisions out of a fixed number of hashed contexts. */
export class FlagMixer {
  readonly #coder: BinaryCoder;
  readonly #count: number;
  readonly #mask: number;
  readonly #slots: Uint32Array;
  readonly #at: Int32Array;
  readonly #values: Int32Array;
  readonly #network: Network;
  readonly #correction: Correction;
  /** Context hashes of the next decision; filled by the model. */
  readonly contexts: Int32Array;

  constructor(coder: BinaryCoder, count: number, shape: { bits: number; sets: number; corrections: number }) {
    this.#coder = coder;
    this.#count = count;
    this.#mask = (1 << shape.bits) - 1;
    this.#slots = new Uint32Array(count << shape.bits).fill(FRESH);
    this.#at = new Int32Array(count);
    this.#values = new Int32Array(count + 1);
    this.#network = new Network(count + 1, shape.sets, Math.trunc(65536 / 3));
    this.#correction = new Correction(shape.corrections);
    this.contexts = new Int32Array(count);
  }

  code(bit: number, set: number, correction: number): number {
    const slots = this.#slots;
    const values = this.#values;
    const count = this.#count;
    for (let i = 0; i < count; i++) {
      const h = this.contexts[i] as number;
      const at = i * (this.#mask + 1) + ((h ^ (h >>> 16)) & this.#mask);
      this.#at[i] = at;
      const v = slots[at] as number;
      values[i] = Math.imul(STRETCH[v >>> 20] as number, CONFIDENCE[Math.min(v & 1023, 255)] as number) >> 8;
    }
    values[count] = 256;
    const odds = this.#network.mix(values, set);
    const refined = this.#correction.refine(odds, correction);
    const p = clamp16((final16(odds) + refined * 3) >> 2);
    const y = this.#coder.code(bit, p);
    this.#network.train(values, y, 6);
    this.#correction.update(y);
    for (let i = 0; i < count; i++) {
      const at = this.#at[i] as number;
      slots[at] = updated(slots[at] as number, y, 250);
    }
    return y;
  }
}

/** Codes bytes out of a fixed number of hashed contexts. */
export class ByteMixer {
  readonly #coder: BinaryCoder;
  readonly #count: number;
  readonly #groupMask: number;
  readonly #slots: Uint32Array;
  readonly #base: Int32Array;
  readonly #values: Int32Array;
  readonly #network: Network;
  readonly #second: Network;
  readonly #correction: Correction;
  readonly #limit: number;
  /** Context hashes of the next byte; filled by the model. */
  readonly contexts: Int32Array;
  /** A byte the model expects, and how sure it is (0: no idea, up to 15); a ninth kind of input. */
  expected = 0;
  sureness = 0;
  readonly #expectedSlots: Uint32Array;

  constructor(coder: BinaryCoder, count: number, shape: { bits: number; sets: number; limit: number }) {
    this.#coder = coder;
    this.#count = count;
    this.#groupMask = (1 << (shape.bits - 4)) - 1;
    this.#slots = new Uint32Array(1 << shape.bits).fill(FRESH);
    for (let i = 0; i < this.#slots.length; i += 16) this.#slots[i] = 0;
    this.#base = new Int32Array(count);
    this.#values = new Int32Array(count + 2);
    this.#network = new Network(count + 2, shape.sets * 8, Math.trunc(65536 / 4));
    this.#second = new Network(count + 2, 256, Math.trunc(65536 / 4));
    this.#correction = new Correction(1024);
    this.#expectedSlots = new Uint32Array(16 * 8 * 2).fill(FRESH);
    this.#limit = shape.limit;
    this.contexts = new Int32Array(count);
  }

  /** First slot of the group of a context hash: two places to look, the less used one is given up. */
  #find(h: number): number {
    const slots = this.#slots;
    const check = (h >>> 0) | 1;
    const first = (Math.imul(h, GOLDEN) >>> 8) & this.#groupMask;
    const a = first << 4;
    if (slots[a] === check) return a;
    const b = (first ^ 1) << 4;
    if (slots[b] === check) return b;
    const out = ((slots[a + 1] as number) & 1023) <= ((slots[b + 1] as number) & 1023) ? a : b;
    slots.fill(FRESH, out + 1, out + 16);
    slots[out] = check;
    return out;
  }

  /** Codes one byte. `set` selects the network (0 to sets-1), `correction` (0 to 3) the last table. */
  code(byte: number, set: number, correction: number): number {
    const slots = this.#slots;
    const values = this.#values;
    const count = this.#count;
    const limit = this.#limit;
    let node = 1;
    let agrees = this.sureness > 0;
    for (let position = 7; position >= 0; position--) {
      if (position === 7 || position === 3) {
        const salt = position === 7 ? 0 : Math.imul(node, 0x2545f491);
        for (let i = 0; i < count; i++) {
          this.#base[i] = this.#find(hash2((this.contexts[i] as number) + salt, i + (position << 8)));
        }
      }
      const inGroup = position > 3 ? node : (node & ((1 << (3 - position)) - 1)) | (1 << (3 - position));
      for (let i = 0; i < count; i++) {
        const v = slots[(this.#base[i] as number) + inGroup] as number;
        const n = v & 1023;
        values[i] = Math.imul(STRETCH[v >>> 20] as number, CONFIDENCE[n > 255 ? 255 : n] as number) >> 8;
      }
      let expectedAt = -1;
      if (agrees) {
        const bit = (this.expected >> position) & 1;
        expectedAt = (this.sureness * 8 + position) * 2 + bit;
        const odds = STRETCH[(this.#expectedSlots[expectedAt] as number) >>> 20] as number;
        values[count] = odds;
      } else values[count] = 0;
      values[count + 1] = 256;
      const odds = (this.#network.mix(values, set * 8 + position) + this.#second.mix(values, node)) >> 1;
      const refined = this.#correction.refine(odds, correction * 256 + node);
      const p = clamp16((final16(odds) + refined) >> 1);
      const y = this.#coder.code((byte >> position) & 1, p);
      this.#network.train(values, y, 10);
      this.#second.train(values, y, 10);
      this.#correction.update(y);
      for (let i = 0; i < count; i++) {
        const at = (this.#base[i] as number) + inGroup;
        slots[at] = updated(slots[at] as number, y, limit);
      }
      if (expectedAt >= 0) {
        this.#expectedSlots[expectedAt] = updated(this.#expectedSlots[expectedAt] as number, y, 250);
        if (((this.expected >> position) & 1) !== y) agrees = false;
      }
      node = (node << 1) | y;
    }
    return node & 255;
  }
}
