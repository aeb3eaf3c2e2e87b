/**
 * Memory of the core, as plain TypeScript sees it.
 *
 * The files of `core/` are one source for two targets. As TypeScript they run over this module: a typed array that
 * {@link attach} makes current. As AssemblyScript, `tools/build-core.js` reads `number` as `i32` and puts
 * `assembly/memory.ts` in this module's place, which turns each call into one machine instruction. What follows from it for the core:
 *
 * - every number is a 32-bit integer; sums that may leave that range, and `/`, are forbidden, products go through {@link mul32};
 * - addresses are only added to and handed to the functions here (beyond 2 GiB they are negative in WebAssembly), never compared;
 * - state lives in memory, so that the caller owns it and any instance can go on with it.
 */

let U8: Uint8Array = new Uint8Array(0);
let U16: Uint16Array = new Uint16Array(0);
let I32: Int32Array = new Int32Array(0);

/** Makes `buffer` the memory all following core calls work on. Its length is a multiple of 4. */
export function attach(buffer: ArrayBufferLike): void {
  if (U8.buffer === buffer) return;
  U8 = new Uint8Array(buffer);
  U16 = new Uint16Array(buffer);
  I32 = new Int32Array(buffer);
}

export function get8(p: number): number {
  return U8[p] as number;
}

export function set8(p: number, v: number): void {
  U8[p] = v;
}

/** 16 bits without sign at an even address. */
export function get16(p: number): number {
  return U16[p >>> 1] as number;
}

export function set16(p: number, v: number): void {
  U16[p >>> 1] = v;
}

/** 32 bits, signed, at an address divisible by 4. */
export function get32(p: number): number {
  return I32[p >>> 2] as number;
}

export function set32(p: number, v: number): void {
  I32[p >>> 2] = v;
}

/** The lower 24 bits, little-endian, at any address. */
export function poke24(p: number, v: number): void {
  U8[p] = v;
  U8[p + 1] = v >>> 8;
  U8[p + 2] = v >>> 16;
}

/** 32 bits, signed, little-endian, at any address. */
export function peek32(p: number): number {
  return (
    (U8[p] as number) | ((U8[p + 1] as number) << 8) | ((U8[p + 2] as number) << 16) | ((U8[p + 3] as number) << 24)
  );
}

export function fill(p: number, value: number, length: number): void {
  U8.fill(value, p, p + length);
}

/** Copies as if through a buffer: the ranges may overlap. */
export function copy(to: number, from: number, length: number): void {
  U8.copyWithin(to, from, from + length);
}

/** Adds `length` bytes at `from` to those at `to`, each modulo 256. */
export function addBytes(to: number, from: number, length: number): void {
  for (let i = 0; i < length; i++) U8[to + i] = (U8[to + i] as number) + (U8[from + i] as number);
}

/** Writes the `length` bytes at `a` minus those at `b` to `to`, each modulo 256. */
export function subtractBytes(to: number, a: number, b: number, length: number): void {
  for (let i = 0; i < length; i++) U8[to + i] = (U8[a + i] as number) - (U8[b + i] as number);
}

/** Product modulo 2^32. */
export function mul32(a: number, b: number): number {
  return Math.imul(a, b);
}

/** Quotient without its fraction. */
export function div(a: number, b: number): number {
  return Math.trunc(a / b);
}

/** Leading zero bits. */
export function clz(v: number): number {
  return Math.clz32(v);
}

/** Number of equal bytes at `a` and `b`, at most `max`. */
export function matchForward(a: number, b: number, max: number): number {
  let n = 0;
  while (n < max && U8[a + n] === U8[b + n]) n++;
  return n;
}

/** Number of equal bytes in front of `a` and `b`, at most `max`. */
export function matchBackward(a: number, b: number, max: number): number {
  let n = 0;
  while (n < max && U8[a - n - 1] === U8[b - n - 1]) n++;
  return n;
}

/**
 * How many bytes in front of `a` and `b`, at most `max` of up to 64, are the best end of a match that is allowed mismatches: +1 an
 * equal byte, -1 any other, until the sum is `drop` below its best. 64 bytes in front of both are readable.
 */
export function matchLoosely(a: number, b: number, max: number, drop: number): number {
  let score = 0;
  let best = 0;
  let length = 0;
  for (let k = 1; k <= max; k++) {
    if (U8[a - k] === U8[b - k]) {
      score++;
      if (score > best) {
        best = score;
        length = k;
      }
    } else if (--score < best - drop) break;
  }
  return length;
}

/** Whether the 8 bytes at `a` and `b` are the same. */
export function equal8(a: number, b: number): boolean {
  for (let i = 0; i < 8; i++) if (U8[a + i] !== U8[b + i]) return false;
  return true;
}

/** Number of differing bytes in `length` bytes at `a` and `b`. */
export function mismatches(a: number, b: number, length: number): number {
  let n = 0;
  for (let i = 0; i < length; i++) if (U8[a + i] !== U8[b + i]) n++;
  return n;
}

/** A hash of the 8 bytes at `p`; its high half chooses a bucket by {@link slotOf}, its low bits tell seeds of a bucket apart. */
export function seedHash(p: number): number {
  let h = Math.imul(peek32(p), -0x61c88647) ^ Math.imul(peek32(p + 4), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 14);
}

/** Pretends to need a value: reads that only fetch memory into the caches would be left out otherwise. */
export function touch(_value: number): void {}

/** A table word's successor difference `stride` bytes on, low and high half, and whether it is small: see {@link tableKey}. */
let lowDifference = 0;
let highDifference = 0;

function difference(p: number, stride: number): void {
  const a = peek32(p) >>> 0;
  const b = peek32(p + stride) >>> 0;
  const low = b - a;
  lowDifference = low & -1;
  highDifference = (peek32(p + stride + 4) - peek32(p + 4) - (low < 0 ? 1 : 0)) & -1;
}

/**
 * Key of the four 64-bit words at `p` and 1, 2, 3 strides behind it: a hash of their three successive differences. 0 where
 * they are no table to be told by it: a difference of 0, all equal, a first word of 2^56 or more, a first difference of 2^32
 * or more.
 */
export function tableKey(p: number, stride: number): number {
  if (U8[p + 7] !== 0) return 0;
  difference(p, stride);
  const low1 = lowDifference;
  const high1 = highDifference;
  if (high1 !== 0 && !(high1 === -1 && low1 !== 0)) return 0;
  if (low1 === 0 && high1 === 0) return 0;
  difference(p + stride, stride);
  const low2 = lowDifference;
  const high2 = highDifference;
  if (low2 === 0 && high2 === 0) return 0;
  difference(p + 2 * stride, stride);
  const low3 = lowDifference;
  const high3 = highDifference;
  if (low3 === 0 && high3 === 0) return 0;
  if (low1 === low2 && high1 === high2 && low2 === low3 && high2 === high3) return 0;
  let h = Math.imul(low1, -0x61c88647) ^ Math.imul(high1 ^ 0x5bd1e995, 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15) ^ low2, 0x2c1b3c6d) ^ Math.imul(high2, 0x297a2d39);
  h = Math.imul(h ^ (h >>> 13) ^ low3, 0x7feb352d) ^ Math.imul(high3, -0x61c88647);
  h ^= h >>> 16;
  return h === 0 ? 1 : h;
}

/** Which of `slots` slots or buckets a hash belongs to: the high half of their product. */
export function slotOf(key: number, slots: number): number {
  // The product has up to 59 bits: in two halves it stays exact.
  return Math.floor(((key >>> 16) * slots + Math.floor(((key & 0xffff) * slots) / 65536)) / 65536);
}

/**
 * Whether the 8 byte differences between the bytes up to `a` and those up to `b` (both included) equal the ones `back` bytes
 * earlier.
 */
export function repeats(a: number, b: number, back: number): boolean {
  for (let k = 0; k < 8; k++) {
    const now = (U8[a - k] as number) - (U8[b - k] as number);
    const then = (U8[a - back - k] as number) - (U8[b - back - k] as number);
    if (((now - then) & 255) !== 0) return false;
  }
  return true;
}
