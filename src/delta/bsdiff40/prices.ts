/**
 * The price tables of cover selection: 1/256 bit for each difference byte in its context and each extra byte behind its
 * predecessor. Integers throughout, so that every machine makes the same tables.
 *
 * Difference contexts 0 to 15: 1 to 15 and more zeros since the last change; 16 + 256 (r - 1) + d: r = 1, 2, 3 and more changes
 * in a row, the last of them d.
 */
import { CONTEXTS } from "../core/work.ts";

export const PRICE_COUNT = CONTEXTS * 256;
export const LITERAL_COUNT = 65536;

const FRACTION = 4096;
/** 256 log2(1 + i / 4096), by repeated squaring: exact operations only. */
const LOG_TABLE = Uint16Array.from({ length: FRACTION }, (_, i) => {
  let x = 1 + i / FRACTION;
  let result = 0;
  for (let bit = 512; bit >= 1; bit /= 2) {
    x *= x;
    if (x >= 2) {
      x /= 2;
      result += bit;
    }
  }
  return Math.round(result / 4);
});

/** 256 log2(x) of an integer from 1 to 2^53. */
export function log2(x: number): number {
  let value = x;
  let exponent = 0;
  while (value >= 0x80000000) {
    value = Math.floor(value / 0x10000);
    exponent += 16;
  }
  const top = 31 - Math.clz32(value);
  const mantissa = top >= 12 ? value >>> (top - 12) : value << (12 - top);
  return 256 * (exponent + top) + (LOG_TABLE[mantissa - FRACTION] as number);
}

/** What is expected before anything is known about a pair of files; probabilities in 1/65,536. */
export interface Prior {
  /** Of a zero in contexts 0 to 15. */
  readonly zeroAfterZeros: readonly number[];
  /** Of a zero after 1, 2, 3 changes, by the last change: 0xff, 0x01 or 0xfe, any other. */
  readonly zeroAfterChanges: readonly (readonly [number, number, number])[];
  /** How changes are distributed, entry 0 unused; any sum. */
  readonly changes: readonly number[];
  /** Price of an extra byte, 1/256 bit. */
  readonly literal: number;
  /** First-pass prices of any change after 16 zeros or more, after fewer, after changes, 1/256 bit; default: modelled. */
  readonly flatChanges?: readonly [number, number, number];
}

function changeClass(value: number): 0 | 1 | 2 {
  return value === 0xff ? 0 : value === 0x01 || value === 0xfe ? 1 : 2;
}

/** Probability of a zero in a context. */
function zeroOf(prior: Prior, context: number): number {
  if (context < 16) return prior.zeroAfterZeros[context] as number;
  const row = (context - 16) >> 8;
  return (prior.zeroAfterChanges[row] as readonly number[])[changeClass((context - 16) & 255)] as number;
}

function price(part: number, whole: number): number {
  return Math.min(65535, Math.max(1, log2(whole) - log2(Math.max(1, part))));
}

const priorTables = new WeakMap<Prior, PriceTables>();

export interface PriceTables {
  readonly differences: Uint16Array;
  readonly literals: Uint16Array;
}

/** Prices of the first pass, made once for each prior. */
export function priorPrices(prior: Prior): PriceTables {
  const tables = priorTables.get(prior) ?? makePriorPrices(prior);
  priorTables.set(prior, tables);
  return tables;
}

function makePriorPrices(prior: Prior): PriceTables {
  const differences = new Uint16Array(PRICE_COUNT);
  let sum = 0;
  for (let d = 1; d < 256; d++) sum += prior.changes[d] as number;
  // Few contexts differ in what is expected of them.
  const rows = new Map<string, number>();
  for (let context = 0; context < CONTEXTS; context++) {
    const at = 256 * context;
    const zero = zeroOf(prior, context);
    const flat = prior.flatChanges?.[context < 15 ? 1 : context === 15 ? 0 : 2];
    const same = rows.get(`${zero} ${flat}`);
    if (same !== undefined) {
      differences.copyWithin(at, same, same + 256);
      continue;
    }
    rows.set(`${zero} ${flat}`, at);
    differences[at] = price(zero, 65536);
    for (let d = 1; d < 256; d++) {
      differences[at + d] = flat ?? price(65536 - zero, 65536) + price(prior.changes[d] as number, sum);
    }
  }
  return { differences, literals: new Uint16Array(LITERAL_COUNT).fill(prior.literal) };
}

/** Weight of what is expected against what was counted. */
const WEIGHT = 512;
const LITERAL_WEIGHT = 64;

/** Prices learnt from the statistics of a path: counts of differences by context, then of extra bytes by predecessor. */
export function learntPrices(counts: Float64Array, prior: Prior): PriceTables {
  return { differences: learntDifferences(counts, prior), literals: learntLiterals(counts.subarray(PRICE_COUNT)) };
}

function learntDifferences(counts: Float64Array, prior: Prior): Uint16Array {
  const out = new Uint16Array(PRICE_COUNT);
  // How changes are distributed in the whole file; one more of each, so that none is impossible.
  const pooled = new Float64Array(256).fill(1);
  for (let context = 0; context < CONTEXTS; context++) {
    for (let d = 1; d < 256; d++) pooled[d] = (pooled[d] as number) + (counts[256 * context + d] as number);
  }
  let pool = 0;
  for (let d = 1; d < 256; d++) pool += pooled[d] as number;
  // Most contexts are never met; those of one expectation have the same prices.
  const unmet = new Map<number, Uint16Array>();
  for (let context = 0; context < CONTEXTS; context++) {
    const zero = zeroOf(prior, context);
    const row = counts.subarray(256 * context, 256 * context + 256);
    let total = 0;
    for (let d = 0; d < 256; d++) total += row[d] as number;
    const known = total === 0 ? unmet.get(zero) : undefined;
    const priced = known ?? learntRow(row, total, zero, pooled, pool);
    if (total === 0 && known === undefined) unmet.set(zero, priced);
    out.set(priced, 256 * context);
  }
  return out;
}

function learntRow(counts: Float64Array, total: number, zero: number, pooled: Float64Array, pool: number): Uint16Array {
  const out = new Uint16Array(256);
  const whole = 65536 * (total + WEIGHT);
  for (let d = 0; d < 256; d++) {
    const expected = d === 0 ? zero : Math.floor(((65536 - zero) * (pooled[d] as number)) / pool);
    out[d] = price(65536 * (counts[d] as number) + WEIGHT * Math.max(1, expected), whole);
  }
  return out;
}

function learntLiterals(counts: Float64Array): Uint16Array {
  const out = new Uint16Array(LITERAL_COUNT);
  let unmet = -1;
  const single = new Float64Array(256).fill(1);
  for (let i = 0; i < LITERAL_COUNT; i++) single[i & 255] = (single[i & 255] as number) + (counts[i] as number);
  let pool = 0;
  for (let b = 0; b < 256; b++) pool += single[b] as number;
  for (let last = 0; last < 256; last++) {
    const row = 256 * last;
    let total = 0;
    for (let b = 0; b < 256; b++) total += counts[row + b] as number;
    if (total === 0 && unmet >= 0) {
      out.copyWithin(row, unmet, unmet + 256);
      continue;
    }
    if (total === 0) unmet = row;
    const whole = 65536 * (total + LITERAL_WEIGHT);
    for (let b = 0; b < 256; b++) {
      const expected = Math.max(1, Math.floor((65536 * (single[b] as number)) / pool));
      out[row + b] = price(65536 * (counts[row + b] as number) + LITERAL_WEIGHT * expected, whole);
    }
  }
  return out;
}
