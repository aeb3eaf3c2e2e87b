/**
 * Encodes one bzip2 block: first run-length stage, Burrows-Wheeler transform by {@link suffixSort} of the least rotation,
 * move to front, zero runs, up to six Huffman codes refined four times (twelve rounds were measured: 0.0 to 0.1 %).
 */
import { crcOf, CRC_TABLES_SIZE, makeCrcTables } from "./bzip2-crc.ts";
import { copy, div, fill, get16, get32, get8, matchForward, mul32, set16, set32, set8 } from "./memory.ts";
import { suffixSort } from "./suffix-sort.ts";

/** Longest code the encoder makes, bits; decoders take 20. */
const MAX_LENGTH = 17;
const GROUP = 50;
const ALPHABET = 258;

// The encoder's tables, offsets in bytes from its state.
const CRC_READY = 1024;
const RLE_LENGTH = 1028; // results of runLength
const RLE_CRC = 1032;
const BIT_COUNT = 1036;
const FREQUENCIES = 2048; // 6 x 258 x i32
const LENGTHS = 8448; // 6 x 258 bytes
const CODES = 10240; // 6 x 258 x i32
const PACKED = 16640; // 258 x 3 x i32: two lengths each
const WEIGHTS = 20480; // 516 x i32
const PARENTS = 22784; // 516 x i32
const SORTED = 25088; // 258 x i32
const LIST = 26624; // move-to-front list
const SELECTORS = 28672; // up to 18,002 bytes
const CRC_TABLES = 49152;

/** Bytes of the encoder's state before the arrays of a block. */
export const ENCODER_STATE_SIZE = CRC_TABLES + CRC_TABLES_SIZE;

/** Bytes of an encoder for blocks of up to `n` bytes: state, rotated text, suffix array, sorting work. */
export function encoderSize(n: number): number {
  const padded = (n + 7) & -4;
  return ENCODER_STATE_SIZE + 13 * padded + 4096;
}

/** To be called before an encoder is used in memory that held something else. */
export function resetEncoder(s: number): void {
  set32(s + CRC_READY, 0);
}

/** Length of the run of equal bytes that begins at `from`, at most `most`. */
export function runAt(from: number, most: number): number {
  if (most < 2 || get8(from) !== get8(from + 1)) return 1;
  return 1 + matchForward(from, from + 1, most - 1);
}

/**
 * The first run-length stage: bytes at `from` to `to` until `limit` bytes are made or `length` are taken; runs are cut
 * where it stops. Length and CRC: {@link runLengthSize}, {@link runLengthCrc}. @returns how many bytes were taken
 */
export function runLength(s: number, from: number, length: number, to: number, limit: number): number {
  if (get32(s + CRC_READY) !== 1) makeCrcTables(s + CRC_TABLES, 4);
  set32(s + CRC_READY, 1);
  let n = 0;
  let i = 0;
  // A run makes at most 5 bytes.
  while (i < length && n + 5 <= limit) {
    const byte = get8(from + i);
    const run = runAt(from + i, length - i < 255 ? length - i : 255);
    const plain = run < 4 ? run : 4;
    for (let k = 0; k < plain; k++) set8(to + n + k, byte);
    n += plain;
    if (run >= 4) set8(to + n++, run - 4);
    i += run;
  }
  set32(s + RLE_LENGTH, n);
  set32(s + RLE_CRC, crcOf(s + CRC_TABLES, from, i));
  return i;
}

/** Bytes that {@link runLength} made. */
export function runLengthSize(s: number): number {
  return get32(s + RLE_LENGTH);
}

/** The block CRC of what {@link runLength} took. */
export function runLengthCrc(s: number): number {
  return get32(s + RLE_CRC);
}

/** Bits that {@link encodeBlock} wrote. */
export function encodedBits(s: number): number {
  return get32(s + BIT_COUNT);
}

/** Where the least rotation begins. */
function leastRotation(text: number, n: number): number {
  let i = 0;
  let j = 1;
  let k = 0;
  while (i < n && j < n && k < n) {
    const a = get8(text + (i + k < n ? i + k : i + k - n));
    const b = get8(text + (j + k < n ? j + k : j + k - n));
    if (a === b) {
      k++;
      continue;
    }
    if (a > b) i += k + 1;
    else j += k + 1;
    if (i === j) j++;
    k = 0;
  }
  return i < j ? i : j;
}

/** Transforms `n` bytes at `text` in place; gives the origin. `array`: 4 n bytes, `rotated`: n, `work`: 2048 + 8 n. */
function transform(text: number, n: number, rotated: number, array: number, work: number): number {
  const first = leastRotation(text, n);
  copy(rotated, text + first, n - first);
  copy(rotated + n - first, text, first);
  suffixSort(rotated, n, array, work);
  const whole = first === 0 ? 0 : n - first;
  let origin = 0;
  for (let i = 0; i < n; i++) {
    const j = get32(array + 4 * i);
    if (j === whole) origin = i;
    set8(text + i, get8(rotated + (j === 0 ? n : j) - 1));
  }
  return origin;
}

/** Move to front and zero runs: `n` bytes to 16-bit symbols; gives their number. Counts go to table 0. */
function toSymbols(s: number, text: number, n: number, symbols: number, used: number): number {
  const list = s + LIST;
  const counts = s + FREQUENCIES;
  fill(counts, 0, 4 * ALPHABET);
  let m = 0;
  let zeros = 0;
  for (let i = 0; i <= n; i++) {
    const byte = i < n ? get8(text + i) : -1;
    if (byte === get8(list)) {
      zeros++;
      continue;
    }
    while (zeros > 0) {
      const digit = (zeros & 1) ^ 1;
      set16(symbols + 2 * m++, digit);
      set32(counts + 4 * digit, get32(counts + 4 * digit) + 1);
      zeros = (zeros - 1 - digit) >> 1;
    }
    let symbol = used + 1;
    if (i < n) {
      let place = 1;
      let moved = get8(list);
      set8(list, byte);
      for (;;) {
        const here = get8(list + place);
        set8(list + place, moved);
        if (here === byte) break;
        moved = here;
        place++;
      }
      symbol = place + 1;
    }
    set16(symbols + 2 * m++, symbol);
    set32(counts + 4 * symbol, get32(counts + 4 * symbol) + 1);
  }
  return m;
}

/** Sorts `n` numbers at `from` ascending by merging, with room for as many at `spare`; gives where they are then. */
function sortKeys(from: number, spare: number, n: number): number {
  let a = from;
  let b = spare;
  for (let width = 1; width < n; width <<= 1) {
    for (let low = 0; low < n; low += 2 * width) {
      const middle = low + width < n ? low + width : n;
      const high = middle + width < n ? middle + width : n;
      let left = low;
      let right = middle;
      for (let to = low; to < high; to++) {
        const takesLeft = left < middle && (right === high || get32(a + 4 * left) < get32(a + 4 * right));
        set32(b + 4 * to, get32(a + 4 * (takesLeft ? left : right)));
        if (takesLeft) left++;
        else right++;
      }
    }
    const sorted = b;
    b = a;
    a = sorted;
  }
  return a;
}

/** Code lengths of table `table` from its frequencies; every symbol gets a code. */
function makeLengths(s: number, table: number, alphabet: number): void {
  const frequencies = s + FREQUENCIES + table * 4 * ALPHABET;
  const lengths = s + LENGTHS + table * ALPHABET;
  const weights = s + WEIGHTS;
  const parents = s + PARENTS;
  const sorted = s + SORTED;
  for (let shift = 0; ; shift++) {
    // Ascending weights; ties keep the symbols' order.
    for (let i = 0; i < alphabet; i++) {
      const f = get32(frequencies + 4 * i) >> shift;
      set32(weights + 4 * i, ((f === 0 ? 1 : f) << 9) | i);
    }
    const keys = sortKeys(weights, parents, alphabet);
    for (let i = 0; i < alphabet; i++) {
      const key = get32(keys + 4 * i);
      set32(sorted + 4 * i, key & 511);
      set32(weights + 4 * i, key >>> 9);
    }
    // Leaves 0..alphabet-1 and inner nodes behind them, both ascending: the two least are always in front of one of them.
    let leaf = 0;
    let inner = alphabet;
    let made = alphabet;
    while (made < 2 * alphabet - 1) {
      let sum = 0;
      for (let k = 0; k < 2; k++) {
        const takeLeaf = leaf < alphabet && (inner >= made || get32(weights + 4 * leaf) <= get32(weights + 4 * inner));
        const node = takeLeaf ? leaf : inner;
        if (takeLeaf) leaf++;
        else inner++;
        sum += get32(weights + 4 * node);
        set32(parents + 4 * node, made);
      }
      set32(weights + 4 * made++, sum);
    }
    // Depths from the root down; weights of inner nodes are no longer needed.
    set32(weights + 4 * (made - 1), 0);
    let deepest = 0;
    for (let i = made - 2; i >= 0; i--) {
      const depth = get32(weights + 4 * get32(parents + 4 * i)) + 1;
      set32(weights + 4 * i, depth);
      if (i < alphabet) {
        set8(lengths + get32(sorted + 4 * i), depth);
        if (depth > deepest) deepest = depth;
      }
    }
    if (deepest <= MAX_LENGTH) return;
  }
}

/** First guess: each table codes one stretch of the alphabet cheaply. */
function firstLengths(s: number, alphabet: number, groups: number, symbolCount: number): void {
  let left = symbolCount;
  let start = 0;
  for (let part = groups; part > 0; part--) {
    const wanted = div(left, part);
    let stop = start - 1;
    let sum = 0;
    while (sum < wanted && stop < alphabet - 1) sum += get32(s + FREQUENCIES + 4 * ++stop);
    if (stop > start && part !== groups && part !== 1 && ((groups - part) & 1) === 1) {
      sum -= get32(s + FREQUENCIES + 4 * stop);
      stop--;
    }
    const lengths = s + LENGTHS + (part - 1) * ALPHABET;
    for (let i = 0; i < alphabet; i++) set8(lengths + i, i >= start && i <= stop ? 0 : 15);
    start = stop + 1;
    left -= sum;
  }
}

function packLengths(s: number, alphabet: number): void {
  for (let i = 0; i < alphabet; i++) {
    for (let k = 0; k < 3; k++) {
      const low = get8(s + LENGTHS + 2 * k * ALPHABET + i);
      const high = get8(s + LENGTHS + (2 * k + 1) * ALPHABET + i);
      set32(s + PACKED + 12 * i + 4 * k, low | (high << 16));
    }
  }
}

/** Chooses the cheapest table for each 50 symbols and, with `learn`, counts them; gives the number of groups of symbols. */
function select(s: number, symbols: number, m: number, groups: number, learn: boolean): number {
  const packed = s + PACKED;
  let count = 0;
  for (let from = 0; from < m; from += GROUP) {
    const to = from + GROUP < m ? from + GROUP : m;
    let a = 0;
    let b = 0;
    let c = 0;
    for (let i = from; i < to; i++) {
      const p = packed + 12 * get16(symbols + 2 * i);
      a += get32(p);
      b += get32(p + 4);
      c += get32(p + 8);
    }
    let best = 0;
    let cost = a & 0xffff;
    if (a >>> 16 < cost) {
      best = 1;
      cost = a >>> 16;
    }
    if (groups > 2 && (b & 0xffff) < cost) {
      best = 2;
      cost = b & 0xffff;
    }
    if (groups > 3 && b >>> 16 < cost) {
      best = 3;
      cost = b >>> 16;
    }
    if (groups > 4 && (c & 0xffff) < cost) {
      best = 4;
      cost = c & 0xffff;
    }
    if (groups > 5 && c >>> 16 < cost) best = 5;
    set8(s + SELECTORS + count++, best);
    if (learn) {
      const frequencies = s + FREQUENCIES + best * 4 * ALPHABET;
      for (let i = from; i < to; i++) {
        const f = frequencies + 4 * get16(symbols + 2 * i);
        set32(f, get32(f) + 1);
      }
    }
  }
  return count;
}

let out = 0;
let acc = 0;
let free = 32;

/** Appends the low `n` bits of `value`, 1 to 24. */
function put(n: number, value: number): void {
  free -= n;
  acc = acc | (value << free);
  while (free <= 24) {
    set8(out++, acc >>> 24);
    acc <<= 8;
    free += 8;
  }
}

function putCodes(s: number, symbols: number, m: number): void {
  let at = 0;
  for (let from = 0; from < m; from += GROUP) {
    const to = from + GROUP < m ? from + GROUP : m;
    const codes = s + CODES + get8(s + SELECTORS + at++) * 4 * ALPHABET;
    for (let i = from; i < to; i++) {
      const code = get32(codes + 4 * get16(symbols + 2 * i));
      put(code >>> 24, code & 0xffffff);
    }
  }
}

function putTables(s: number, alphabet: number, groups: number): void {
  for (let t = 0; t < groups; t++) {
    const lengths = s + LENGTHS + t * ALPHABET;
    let length = get8(lengths);
    put(5, length);
    for (let i = 0; i < alphabet; i++) {
      const wanted = get8(lengths + i);
      for (; length < wanted; length++) put(2, 2);
      for (; length > wanted; length--) put(2, 3);
      put(1, 0);
    }
    let code = 0;
    for (let n = 1; n <= MAX_LENGTH; n++) {
      for (let i = 0; i < alphabet; i++) {
        if (get8(lengths + i) === n) set32(s + CODES + t * 4 * ALPHABET + 4 * i, (n << 24) | code++);
      }
      code <<= 1;
    }
  }
}

function putSelectors(s: number, count: number): void {
  let order = 0x543210;
  for (let i = 0; i < count; i++) {
    const wanted = get8(s + SELECTORS + i);
    let j = 0;
    while (((order >>> (4 * j)) & 15) !== wanted) {
      put(1, 1);
      j++;
    }
    put(1, 0);
    const low = order & ((1 << (4 * j)) - 1);
    order = (order & (-16 << (4 * j))) | (low << 4) | wanted;
  }
}

/** Fills the move-to-front list with the used byte values, writes the map and gives their number. */
function putSymbolMap(s: number, text: number, n: number): number {
  const seen = s + LIST + 256;
  fill(seen, 0, 256);
  for (let i = 0; i < n; i++) set8(seen + get8(text + i), 1);
  let used = 0;
  let rows = 0;
  for (let i = 0; i < 256; i++) {
    if (get8(seen + i) === 0) continue;
    set8(s + LIST + used++, i);
    rows |= 0x8000 >>> (i >> 4);
  }
  put(16, rows);
  for (let row = 0; row < 16; row++) {
    if ((rows & (0x8000 >>> row)) === 0) continue;
    for (let i = 0; i < 16; i++) put(1, get8(seen + 16 * row + i));
  }
  return used;
}

/**
 * Encodes `n` > 0 bytes made by {@link runLength} at `text` (destroyed) with the CRC `crc` to `to`, from the block magic on,
 * the last byte filled up with zero bits. `s`: {@link encoderSize} bytes. Writes at most 1.25 n + 16,384 bytes.
 * @returns the number of bytes written; {@link encodedBits} says how many bits of them count
 */
export function encodeBlock(s: number, text: number, n: number, crc: number, to: number): number {
  const padded = (n + 7) & -4;
  const array = s + ENCODER_STATE_SIZE;
  const work = array + 4 * padded;
  const rotated = work + 8 * padded + 2048;
  out = to;
  acc = 0;
  free = 32;
  put(24, 0x314159);
  put(24, 0x265359);
  put(16, crc >>> 16);
  put(16, crc & 0xffff);
  put(1, 0);
  const origin = transform(text, n, rotated, array, work);
  put(24, origin);
  const used = putSymbolMap(s, text, n);
  const alphabet = used + 2;
  const symbols = work;
  const m = toSymbols(s, text, n, symbols, used);
  const groups = m < 200 ? 2 : m < 600 ? 3 : m < 1200 ? 4 : m < 2400 ? 5 : 6;
  firstLengths(s, alphabet, groups, m);
  let count = 0;
  for (let round = 0; round < 4; round++) {
    fill(s + FREQUENCIES, 0, groups * 4 * ALPHABET);
    packLengths(s, alphabet);
    count = select(s, symbols, m, groups, true);
    for (let t = 0; t < groups; t++) makeLengths(s, t, alphabet);
  }
  put(3, groups);
  put(15, count);
  putSelectors(s, count);
  putTables(s, alphabet, groups);
  putCodes(s, symbols, m);
  const bits = mul32(out - to, 8) + 32 - free;
  while (free < 32) {
    set8(out++, acc >>> 24);
    acc <<= 8;
    free += 8;
  }
  set32(s + BIT_COUNT, bits);
  return out - to;
}
