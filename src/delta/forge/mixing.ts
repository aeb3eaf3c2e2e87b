/**
 * The modelling kit: adaptive probabilities found by context, mixed by a small online-trained network.
 *
 * A slot holds a probability (22 bits) and how often it was seen (10 bits). {@link ByteMixer} codes a byte as eight decisions,
 * with slots in groups of sixteen, one group a context and half byte, found by hash and checked, so that a context seen
 * for the first time says nothing instead of something wrong.
 */
import { RATE, SQUASH, STRETCH, type BinaryCoder } from "./arithmetic.ts";

/** Slot of probability one half, never seen: 22 bits of probability, 10 of count. */
const FRESH = -0x80000000;

/** Mixed with `imul` into hashes: odd, from the golden ratio. */
const GOLDEN = 0x9e3779b1;

export function hash2(a: number, b: number): number {
  const h = Math.imul(a, GOLDEN) ^ Math.imul(b + 0x7f4a7c15, 0x85ebca6b);
  return Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
}

export function hash3(a: number, b: number, c: number): number {
  return hash2(hash2(a, b), c);
}

/** New value of slot `v` after a bit whose target probability (22 bits) is given; a slot seen `limit` times keeps that memory. */
function updated(v: number, target: number, limit: number): number {
  const n = v & 1023;
  const p = v >>> 10;
  // Shifted first so that the product fits 32 bits; a fresh slot is at one half, so the largest step does too.
  const step = Math.imul((target - p) >> 3, RATE[n] as number) >> 10;
  return ((p + step) << 10) | (n < limit ? n + 1 : n);
}

/** Contexts seen few times weigh less. 256 = full weight. */
const CONFIDENCE = Int32Array.from({ length: 1024 }, (_, n) => (n === 0 ? 0 : Math.min(256, 96 + 40 * Math.min(n, 4))));

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
    const weight = position & 127;
    const base = context * 33 + (position >> 7);
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

function clampOdds(odds: number): number {
  return odds > 2047 ? 2047 : odds < -2047 ? -2047 : odds;
}

/** Codes single decisions out of a fixed number of hashed contexts. */
export class FlagMixer {
  readonly #coder: BinaryCoder;
  readonly #bits: number;
  readonly #slots: Int32Array;
  readonly #at: Int32Array;
  readonly #values: Int32Array;
  readonly #weights: Int32Array;
  readonly #correction: Correction;
  /** Context hashes of the next decision; filled by the model. */
  readonly contexts: Int32Array;

  constructor(coder: BinaryCoder, count: number, shape: { bits: number; sets: number; corrections: number }) {
    this.#coder = coder;
    this.#bits = shape.bits;
    this.#slots = new Int32Array(count << shape.bits).fill(FRESH);
    this.#at = new Int32Array(count);
    this.#values = new Int32Array(count + 1);
    this.#weights = new Int32Array((count + 1) * shape.sets).fill(Math.trunc(65536 / 3));
    this.#correction = new Correction(shape.corrections);
    this.contexts = new Int32Array(count);
  }

  /** Codes one decision. `set` selects the neuron, `correction` the last table. */
  code(bit: number, set: number, correction: number): number {
    const slots = this.#slots;
    const values = this.#values;
    const weights = this.#weights;
    const ats = this.#at;
    const contexts = this.contexts;
    const count = contexts.length;
    const bits = this.#bits;
    const mask = (1 << bits) - 1;
    const base = set * (count + 1);
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const h = contexts[i] as number;
      const at = (i << bits) + ((h ^ (h >>> 16)) & mask);
      ats[i] = at;
      const v = slots[at] as number;
      const value = Math.imul(STRETCH[v >>> 20] as number, CONFIDENCE[v & 1023] as number) >> 8;
      values[i] = value;
      sum += Math.imul(value, weights[base + i] as number) >> 8;
    }
    values[count] = 256;
    sum += weights[base + count] as number;
    const odds = clampOdds(sum >> 8);
    const p = SQUASH[odds + 2048] as number;
    const refined = this.#correction.refine(odds, correction);
    const y = this.#coder.code(bit, clamp16((p * 16 + 8 + refined * 3) >> 2));
    this.#correction.update(y);
    const error = Math.imul((y << 12) - p, 6);
    const target = y === 1 ? 4194303 : 0;
    for (let i = 0; i < count; i++) {
      const w = base + i;
      weights[w] = (weights[w] as number) + ((Math.imul(values[i] as number, error) + 0x2000) >> 14);
      const at = ats[i] as number;
      slots[at] = updated(slots[at] as number, target, 250);
    }
    weights[base + count] = (weights[base + count] as number) + ((Math.imul(256, error) + 0x2000) >> 14);
    return y;
  }
}

/** Codes bytes out of a fixed number of hashed contexts. */
export class ByteMixer {
  readonly #coder: BinaryCoder;
  readonly #groupMask: number;
  readonly #slots: Int32Array;
  readonly #base: Int32Array;
  readonly #values: Int32Array;
  /** Neurons selected by the caller's set and the bit, and by the bits before it. */
  readonly #weights: Int32Array;
  readonly #second: Int32Array;
  readonly #correction: Correction;
  readonly #limit: number;
  readonly #expectedSlots: Int32Array;
  /** Context hashes of the next byte; filled by the model. */
  readonly contexts: Int32Array;
  /** A byte the model expects, and how sure it is (0: no idea, up to 15); one more input. */
  expected = 0;
  sureness = 0;

  constructor(coder: BinaryCoder, count: number, shape: { bits: number; sets: number; limit: number }) {
    this.#coder = coder;
    this.#groupMask = (1 << (shape.bits - 4)) - 1;
    this.#slots = new Int32Array(1 << shape.bits).fill(FRESH);
    for (let i = 0; i < this.#slots.length; i += 16) this.#slots[i] = 0;
    this.#base = new Int32Array(count);
    this.#values = new Int32Array(count + 2);
    this.#weights = new Int32Array((count + 2) * shape.sets * 8).fill(Math.trunc(65536 / 4));
    this.#second = new Int32Array((count + 2) * 256).fill(Math.trunc(65536 / 4));
    this.#correction = new Correction(1024);
    this.#expectedSlots = new Int32Array(16 * 8 * 2).fill(FRESH);
    this.#limit = shape.limit;
    this.contexts = new Int32Array(count);
  }

  /** First slot of the group of a context hash: two places to look, the less used one is given up. */
  #find(h: number): number {
    const slots = this.#slots;
    const check = h | 1;
    const first = (Math.imul(h, GOLDEN) >>> 8) & this.#groupMask;
    const a = first << 4;
    if (slots[a] === check) return a;
    const b = (first ^ 1) << 4;
    if (slots[b] === check) return b;
    const out = ((slots[a + 1] as number) & 1023) <= ((slots[b + 1] as number) & 1023) ? a : b;
    slots[out] = check;
    for (let i = out + 1; i < out + 16; i++) slots[i] = FRESH;
    return out;
  }

  /** Codes one byte. `set` selects the neuron (0 to sets-1), `correction` (0 to 3) the last table. */
  code(byte: number, set: number, correction: number): number {
    const slots = this.#slots;
    const values = this.#values;
    const weights = this.#weights;
    const second = this.#second;
    const bases = this.#base;
    const contexts = this.contexts;
    const expectedSlots = this.#expectedSlots;
    const count = contexts.length;
    const inputs = count + 2;
    const limit = this.#limit;
    const expected = this.expected;
    let node = 1;
    let agrees = this.sureness > 0;
    values[count + 1] = 256;
    for (let position = 7; position >= 0; position--) {
      if (position === 7 || position === 3) {
        const salt = position === 7 ? 0 : Math.imul(node, 0x2545f491);
        for (let i = 0; i < count; i++) {
          bases[i] = this.#find(hash2((contexts[i] as number) + salt, i + (position << 8)));
        }
      }
      const inGroup = position > 3 ? node : (node & ((1 << (3 - position)) - 1)) | (1 << (3 - position));
      const wa = (set * 8 + position) * inputs;
      const wb = node * inputs;
      let sumA = 0;
      let sumB = 0;
      for (let i = 0; i < count; i++) {
        const v = slots[(bases[i] as number) + inGroup] as number;
        const value = Math.imul(STRETCH[v >>> 20] as number, CONFIDENCE[v & 1023] as number) >> 8;
        values[i] = value;
        sumA += Math.imul(value, weights[wa + i] as number) >> 8;
        sumB += Math.imul(value, second[wb + i] as number) >> 8;
      }
      let expectedAt = -1;
      let told = 0;
      if (agrees) {
        expectedAt = (this.sureness * 8 + position) * 2 + ((expected >> position) & 1);
        told = STRETCH[(expectedSlots[expectedAt] as number) >>> 20] as number;
        sumA += Math.imul(told, weights[wa + count] as number) >> 8;
        sumB += Math.imul(told, second[wb + count] as number) >> 8;
      }
      values[count] = told;
      const oddsA = clampOdds((sumA + (weights[wa + count + 1] as number)) >> 8);
      const oddsB = clampOdds((sumB + (second[wb + count + 1] as number)) >> 8);
      const odds = (oddsA + oddsB) >> 1;
      const refined = this.#correction.refine(odds, correction * 256 + node);
      const p = clamp16(((SQUASH[odds + 2048] as number) * 16 + 8 + refined) >> 1);
      const y = this.#coder.code((byte >> position) & 1, p);
      this.#correction.update(y);
      const errorA = Math.imul((y << 12) - (SQUASH[oddsA + 2048] as number), 10);
      const errorB = Math.imul((y << 12) - (SQUASH[oddsB + 2048] as number), 10);
      const target = y === 1 ? 4194303 : 0;
      for (let i = 0; i < inputs; i++) {
        const value = values[i] as number;
        weights[wa + i] = (weights[wa + i] as number) + ((Math.imul(value, errorA) + 0x2000) >> 14);
        second[wb + i] = (second[wb + i] as number) + ((Math.imul(value, errorB) + 0x2000) >> 14);
      }
      for (let i = 0; i < count; i++) {
        const at = (bases[i] as number) + inGroup;
        slots[at] = updated(slots[at] as number, target, limit);
      }
      if (expectedAt >= 0) {
        expectedSlots[expectedAt] = updated(expectedSlots[expectedAt] as number, target, 250);
        if (((expected >> position) & 1) !== y) agrees = false;
      }
      node = (node << 1) | y;
    }
    return node & 255;
  }
}
