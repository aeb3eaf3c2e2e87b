/**
 * Decodes one bzip2 block; the stream around it is the caller's. Format: the bzip2 program's, as its blocks show it (magic
 * 0x314159265359, CRC, origin, symbol map, selectors, code lengths, symbols).
 *
 * A stream's state is {@link DECODER_STATE_SIZE} bytes at an address divisible by 4, followed by one byte for each byte of its
 * largest block. What decoding a block needs besides is *work*: {@link DECODER_WORK_SIZE} bytes, which several streams share,
 * as a block is decoded in one call. So three streams take 2.8 MB and 0.9 MB each where blocks are full; with the four bytes a
 * block byte takes elsewhere they would take 10.8.
 */
import { makeCrcTables, reversed } from "./bzip2-crc.ts";
import { copy, fill, get16, get32, get8, peek32, poke24, set16, set32, set8 } from "./memory.ts";

/** Bytes of a stream's state before its block. */
export const DECODER_STATE_SIZE = 64;
/** Bytes that decoding a block needs: tables, and for each byte of the block where the walk through it goes on. */
export const DECODER_WORK_SIZE = 75776 + 3 * 900000 + 64;

// Fields of a stream's state, offsets in bytes.
const BIT = 0; // bit position in the input behind what was decoded
const SIZE = 4; // bytes of the block, before its runs are written out
const AT = 8; // how many of them are given
const LAST = 12; // last byte given, -1 before the first
const SAME = 16; // how many times in a row it was given, 0 to 4
const REPEAT = 20; // copies of LAST still owed
const CRC = 24; // CRC of the bytes given so far, inverted, its bytes in reverse order
const WANTED = 28; // CRC the block declares
const READING = 32; // whether a block's symbols are being read: what follows is of that block
const GROUP = 36; // groups of 50 symbols that are read
const RUN = 40; // bytes of the run under way
const WEIGHT = 44; // what the run's next digit counts, halved
const ORIGIN = 48; // where the walk begins
const USED = 52; // byte values in the block
const GROUPS = 56; // groups in all

// Work.
const CRC_READY = 0; // whether the CRC tables are made
const COUNTS = 64; // 256 x i32
const ORDER = 1088; // move-to-front list, 256 bytes
const SYMBOLS = 1344; // used byte values, 256 bytes
const LENGTHS = 4608; // code lengths, 6 x 258 bytes
const LIMITS = 6400; // 6 tables x 22 x i32: first code longer than the length, left-aligned to 20 bits
const BASES = 7168; // 6 tables x 22 x i32
const PERMUTED = 8192; // 6 tables x 258 x u16
const FAST = 12288; // 6 tables x 1024 x u16: length << 9 | symbol; 0 when longer than 10 bits
const SELECTORS = 24576; // up to 18,002 bytes
const FIRSTS = 45056; // the byte value of every 64th position among the sorted bytes, up to 14,063
const CRC_TABLES = 59392; // 16 x 256 x i32, see makeCrcTables
const NEXT = 75776; // 24 bits for each byte of the block
const FAST_BITS = 10;

/** Most compressed bytes of a group: 50 symbols of 20 bits, rounded up. */
const GROUP_BYTES = 128;

/** Results of {@link decodeBlock}. */
export const BLOCK_READY = 0;
export const NEED_INPUT = 1;
export const STREAM_END = 2;
export const READ_ON = 3;
export const BAD_MAGIC = -1;
export const BAD_RANDOMISED = -2;
export const BAD_TABLES = -3;
export const BAD_SYMBOLS = -4;
export const BAD_ORIGIN = -5;

let acc = 0;
let have = 0;
let next = 0;
let end = 0;

function refill(): void {
  while (have <= 24) {
    // Zeros behind the end; the caller compares the position with the end before it believes anything.
    acc = (acc << 8) | (next < end ? get8(base + next) : 0);
    next++;
    have += 8;
  }
}

let base = 0;

/** Takes `n` bits, 1 to 24. */
function bits(n: number): number {
  refill();
  have -= n;
  return (acc >>> have) & ((1 << n) - 1);
}

function beyondEnd(): boolean {
  return (next << 3) - have > end << 3;
}

/** Makes the lookup tables of one code; false when its lengths are no code at all. */
function makeTables(s: number, table: number, alphabet: number): boolean {
  const lengths = s + LENGTHS + table * 258;
  const limits = s + LIMITS + table * 88;
  const bases = s + BASES + table * 88;
  const permuted = s + PERMUTED + table * 516;
  const fast = s + FAST + table * 2048;
  fill(fast, 0, 2048);
  let code = 0;
  let index = 0;
  for (let length = 1; length <= 20; length++) {
    set32(bases + 4 * length, index - code);
    for (let i = 0; i < alphabet; i++) {
      if (get8(lengths + i) !== length) continue;
      if (code >= 1 << length) return false;
      set16(permuted + 2 * index, i);
      if (length <= FAST_BITS) {
        const first = code << (FAST_BITS - length);
        const n = 1 << (FAST_BITS - length);
        for (let k = 0; k < n; k++) set16(fast + 2 * (first + k), (length << 9) | i);
      }
      code++;
      index++;
    }
    set32(limits + 4 * length, code << (20 - length));
    code <<= 1;
  }
  return true;
}

export function readTables(s: number, alphabet: number, groups: number): boolean {
  for (let t = 0; t < groups; t++) {
    let length = bits(5);
    for (let i = 0; i < alphabet; i++) {
      for (;;) {
        if (length < 1 || length > 20) return false;
        if (bits(1) === 0) break;
        length += bits(1) === 0 ? 1 : -1;
      }
      set8(s + LENGTHS + t * 258 + i, length);
    }
    if (!makeTables(s, t, alphabet)) return false;
  }
  return true;
}

function readSelectors(s: number, groups: number, count: number): boolean {
  let order = 0x543210;
  for (let i = 0; i < count; i++) {
    let j = 0;
    while (bits(1) !== 0) if (++j >= groups) return false;
    const value = (order >>> (4 * j)) & 15;
    const low = order & ((1 << (4 * j)) - 1);
    order = (order & (-16 << (4 * j))) | (low << 4) | value;
    // Some encoders write more selectors than 18,002; those are never used.
    if (i < 18002) set8(s + SELECTORS + i, value);
    if ((i & 1023) === 0 && beyondEnd()) return true;
  }
  return true;
}

/** Reads which byte values the block uses; gives their number. */
function readSymbolMap(s: number): number {
  const rows = bits(16);
  let used = 0;
  for (let i = 0; i < 16; i++) {
    if ((rows & (0x8000 >>> i)) === 0) continue;
    const row = bits(16);
    for (let j = 0; j < 16; j++) {
      if ((row & (0x8000 >>> j)) !== 0) set8(s + SYMBOLS + used++, 16 * i + j);
    }
  }
  return used;
}

/** Nonsense read from behind the end of the input only means that there is more to come. */
function badUnlessCut(next1: number, have1: number): number {
  return (next1 << 3) - have1 > end << 3 ? NEED_INPUT : BAD_SYMBOLS;
}

/** Reads symbols into the block of the stream `t` where it stands; gives -1000 - the block's length, READ_ON, or what is wrong. */
export function readSymbols(s: number, t: number, capacity: number, last: number): number {
  const block = t + DECODER_STATE_SIZE;
  const endSymbol = get32(t + USED) + 1;
  const selectors = get32(t + GROUPS);
  let n = get32(t + SIZE);
  let run = get32(t + RUN);
  let weight = get32(t + WEIGHT);
  // The bit reader once more in locals: this loop is half of decoding.
  let acc1 = acc;
  let have1 = have;
  let next1 = next;
  for (let group = get32(t + GROUP); group < selectors; group++) {
    const table = get8(s + SELECTORS + group);
    const fast = s + FAST + table * 2048;
    if (last === 0 && ((next1 << 3) - have1) >>> 3 > end - GROUP_BYTES) {
      set32(t + BIT, (next1 << 3) - have1);
      set32(t + GROUP, group);
      set32(t + SIZE, n);
      set32(t + RUN, run);
      set32(t + WEIGHT, weight);
      return READ_ON;
    }
    if ((next1 << 3) - have1 > end << 3) return NEED_INPUT;
    for (let k = 0; k < 50; k++) {
      while (have1 <= 24) {
        acc1 = (acc1 << 8) | (next1 < end ? get8(base + next1) : 0);
        next1++;
        have1 += 8;
      }
      let symbol = get16(fast + 2 * ((acc1 >>> (have1 - FAST_BITS)) & 1023));
      if (symbol !== 0) {
        have1 -= symbol >>> 9;
        symbol &= 511;
      } else {
        const code = (acc1 >>> (have1 - 20)) & 0xfffff;
        let length = FAST_BITS + 1;
        while (length <= 20 && code >= get32(s + LIMITS + table * 88 + 4 * length)) length++;
        if (length > 20) return badUnlessCut(next1, have1);
        have1 -= length;
        const at = (code >>> (20 - length)) + get32(s + BASES + table * 88 + 4 * length);
        symbol = get16(s + PERMUTED + table * 516 + 2 * at);
      }
      if (symbol < 2) {
        // A run's length in bijective base 2: RUNA is digit 1, RUNB digit 2.
        if (weight > 0x200000) return badUnlessCut(next1, have1);
        run += weight << symbol;
        weight <<= 1;
        continue;
      }
      if (run > 0) {
        if (run > capacity - n) return badUnlessCut(next1, have1);
        const byte = get8(s + ORDER);
        set32(s + COUNTS + 4 * byte, get32(s + COUNTS + 4 * byte) + run);
        fill(block + n, byte, run);
        n += run;
        run = 0;
        weight = 1;
      }
      if (symbol === endSymbol) {
        acc = acc1;
        have = have1;
        next = next1;
        return n > 0 ? -1000 - n : BAD_SYMBOLS;
      }
      if (n >= capacity) return badUnlessCut(next1, have1);
      const place = symbol - 1;
      const byte = get8(s + ORDER + place);
      if (place < 16) for (let i = place; i > 0; i--) set8(s + ORDER + i, get8(s + ORDER + i - 1));
      else copy(s + ORDER + 1, s + ORDER, place);
      set8(s + ORDER, byte);
      set32(s + COUNTS + 4 * byte, get32(s + COUNTS + 4 * byte) + 1);
      set8(block + n, byte);
      n++;
    }
  }
  return badUnlessCut(next1, have1);
}

/**
 * Reads the block or stream end at bit `bit` of `length` bytes at `input` for the stream `s`, with the work at `w`. BLOCK_READY:
 * {@link produceBlock} gives its bytes. NEED_INPUT: nothing is changed but the finished block before, call again with more input.
 * READ_ON: call again with more input behind {@link decodedBits}; until then the work is this stream's. STREAM_END: {@link wantedCrc}
 * is the stream's. `capacity`: bytes of the largest block. `last`: 1 where no more input follows. @returns one of the constants above.
 */
export function decodeBlock(
  s: number,
  w: number,
  input: number,
  length: number,
  bit: number,
  capacity: number,
  last: number,
): number {
  base = input;
  end = length;
  next = bit >>> 3;
  have = 0;
  acc = 0;
  if ((bit & 7) !== 0) bits(bit & 7);
  if (get32(s + READING) === 0) {
    const begun = beginBlock(s, w);
    if (begun !== BLOCK_READY) return begun;
  }
  const result = readSymbols(w, s, capacity, last);
  if (result === READ_ON) return READ_ON;
  if (beyondEnd()) return NEED_INPUT;
  if (result > -1000) return result;
  const n = -1000 - result;
  const origin = get32(s + ORIGIN);
  if (origin >= n) return BAD_ORIGIN;
  const block = s + DECODER_STATE_SIZE;
  invert(w, block, n);
  walk(w, block, n, origin);
  if (get32(w + CRC_READY) === 0) makeCrcTables(w + CRC_TABLES, 16);
  set32(w + CRC_READY, 1);
  set32(s + BIT, (next << 3) - have);
  set32(s + READING, 0);
  set32(s + SIZE, n);
  set32(s + AT, 0);
  set32(s + LAST, -1);
  set32(s + SAME, 0);
  set32(s + REPEAT, 0);
  set32(s + CRC, -1);
  return BLOCK_READY;
}

/** Reads what stands before a block's symbols; BLOCK_READY: they follow. */
export function beginBlock(s: number, w: number): number {
  const magicHigh = bits(24);
  const magicLow = bits(24);
  const crc = (bits(16) << 16) | bits(16);
  if (beyondEnd()) return NEED_INPUT;
  if (magicHigh === 0x177245 && magicLow === 0x385090) {
    set32(s + WANTED, crc);
    set32(s + BIT, (next << 3) - have);
    return STREAM_END;
  }
  if (magicHigh !== 0x314159 || magicLow !== 0x265359) return BAD_MAGIC;
  if (bits(1) !== 0) return BAD_RANDOMISED;
  const origin = bits(24);
  const used = readSymbolMap(w);
  const groups = bits(3);
  const selectors = bits(15);
  if (beyondEnd()) return NEED_INPUT;
  if (used === 0 || groups < 2 || groups > 6 || selectors === 0) return BAD_TABLES;
  if (!readSelectors(w, groups, selectors) || beyondEnd()) return beyondEnd() ? NEED_INPUT : BAD_TABLES;
  if (!readTables(w, used + 2, groups)) return beyondEnd() ? NEED_INPUT : BAD_TABLES;
  if (beyondEnd()) return NEED_INPUT;
  for (let i = 0; i < used; i++) set8(w + ORDER + i, get8(w + SYMBOLS + i));
  fill(w + COUNTS, 0, 1024);
  set32(s + READING, 1);
  set32(s + GROUP, 0);
  set32(s + SIZE, 0);
  set32(s + RUN, 0);
  set32(s + WEIGHT, 1);
  set32(s + ORIGIN, origin);
  set32(s + USED, used);
  set32(s + GROUPS, selectors < 18002 ? selectors : 18002);
  set32(s + WANTED, crc);
  return BLOCK_READY;
}

/** Writes for each of the sorted bytes where the byte behind it in the text stands among them; the counts become ends. */
export function invert(w: number, block: number, n: number): void {
  let sum = 0;
  for (let i = 0; i < 256; i++) {
    const count = get32(w + COUNTS + 4 * i);
    set32(w + COUNTS + 4 * i, sum);
    sum += count;
  }
  for (let i = 0; i < n; i++) {
    const count = w + COUNTS + 4 * get8(block + i);
    const to = get32(count);
    set32(count, to + 1);
    poke24(w + NEXT + 3 * to, i);
  }
}

/**
 * Puts the text in the place of its last column, from the sorted position `origin` on. A sorted position tells its byte: that of
 * every 64th is kept, and those between are found from there.
 */
export function walk(w: number, block: number, n: number, origin: number): void {
  let byte = 0;
  for (let i = 0; i < n; i += 64) {
    while (i >= get32(w + COUNTS + 4 * byte)) byte++;
    set8(w + FIRSTS + (i >>> 6), byte);
  }
  let at = origin;
  for (let i = 0; i < n; i++) {
    byte = get8(w + FIRSTS + (at >>> 6));
    while (at >= get32(w + COUNTS + 4 * byte)) byte++;
    set8(block + i, byte);
    at = peek32(w + NEXT + 3 * at) & 0xffffff;
  }
}

/**
 * Writes up to `max` bytes of the current block of the stream `s` to `out`; `w` as for {@link decodeBlock}. @returns how many;
 * fewer than `max` only at the block's end.
 */
export function produceBlock(s: number, w: number, out: number, max: number): number {
  const block = s + DECODER_STATE_SIZE;
  const size = get32(s + SIZE);
  const t = w + CRC_TABLES;
  let at = get32(s + AT);
  let last = get32(s + LAST);
  let same = get32(s + SAME);
  let repeat = get32(s + REPEAT);
  let crc = get32(s + CRC);
  let n = 0;
  while (n < max) {
    if (repeat > 0) {
      const k = repeat < max - n ? repeat : max - n;
      fill(out + n, last, k);
      // 91 % of a program's difference bytes are runs of zeros: sixteen at a time, four of anything else.
      let i = 0;
      if (last === 0) {
        const z = t + 12 * 1024;
        for (; i + 16 <= k; i += 16) {
          crc =
            get32(z + 3072 + 4 * (crc & 255)) ^
            get32(z + 2048 + 4 * ((crc >>> 8) & 255)) ^
            get32(z + 1024 + 4 * ((crc >>> 16) & 255)) ^
            get32(z + 4 * (crc >>> 24));
        }
      }
      for (; i + 4 <= k; i += 4) {
        crc =
          get32(t + 3072 + 4 * ((crc & 255) ^ last)) ^
          get32(t + 2048 + 4 * (((crc >>> 8) & 255) ^ last)) ^
          get32(t + 1024 + 4 * (((crc >>> 16) & 255) ^ last)) ^
          get32(t + 4 * ((crc >>> 24) ^ last));
      }
      for (; i < k; i++) crc = (crc >>> 8) ^ get32(t + 4 * ((crc & 255) ^ last));
      repeat -= k;
      n += k;
      continue;
    }
    if (at === size) break;
    const byte = get8(block + at);
    at++;
    if (same === 4) {
      repeat = byte;
      same = 0;
      last = last < 0 ? 0 : last;
      continue;
    }
    same = byte === last ? same + 1 : 1;
    last = byte;
    set8(out + n, byte);
    crc = (crc >>> 8) ^ get32(t + 4 * ((crc & 255) ^ byte));
    n++;
  }
  set32(s + AT, at);
  set32(s + LAST, last);
  set32(s + SAME, same);
  set32(s + REPEAT, repeat);
  set32(s + CRC, crc);
  return n;
}

/** Bit position behind what {@link decodeBlock} read last. */
export function decodedBits(s: number): number {
  return get32(s + BIT);
}

/** Whether the finished block's bytes have the CRC it declares. */
export function blockCrcOk(s: number): boolean {
  return reversed(get32(s + CRC) ^ -1) === get32(s + WANTED);
}

/** The CRC declared by the block or stream end read last. */
export function wantedCrc(s: number): number {
  return get32(s + WANTED);
}
