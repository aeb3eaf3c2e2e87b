/**
 * Cuts a piece of a stream into bzip2 blocks that fit it. Difference streams change their character, and small blocks with
 * tables of their own follow that better than full ones: leaves are encoded first, then the union of two neighbours that are
 * both still one block, which is kept unless it is larger. Where the first leaf does not shrink at all, nothing is to be
 * won and the piece becomes one block. A single pass over a range's differences takes blocks of equal size instead, without trying.
 */
import { copy, div, get32, set32 } from "./memory.ts";
import {
  encodeBlock,
  encodedBits,
  resetEncoder,
  runAt,
  runLength,
  runLengthCrc,
  runLengthSize,
} from "./bzip2-encode.ts";

/** Most leaves in a piece. */
export const PIECE_LEAVES = 32;
/** Most bytes of a stream that one piece takes, so that a long run stays in bounded memory. */
export const PIECE_RAW = 2097152;
/** Bytes of the table {@link encodePiece} fills: 16 bytes a block. */
export const PIECE_TABLE_SIZE = 1024;

// Table: up to 32 blocks and a union x {address, bits, CRC, unused}, then leaf borders.
const BLOCKS = 0;
const BORDERS = 768;

/**
 * How many of `length` bytes at `from` make the next piece: up to `leaves` leaves of `leaf` bytes after the first run-length
 * stage, borders being those of {@link runLength}. A piece that ends with the bytes is complete only at the end of the stream.
 */
export function pieceLength(from: number, length: number, leaf: number, leaves: number): number {
  const most = length < PIECE_RAW ? length : PIECE_RAW;
  let i = 0;
  for (let k = 0; k < leaves && i < most; k++) i += leafLength(from + i, most - i, leaf);
  return i;
}

/** Most bytes of a block after the first run-length stage. */
const LARGEST = 900000;
/** Bytes that {@link leafLength} counted after the first run-length stage. */
let counted = 0;

function leafLength(from: number, length: number, leaf: number): number {
  let n = 0;
  let i = 0;
  while (i < length && n + 5 <= leaf) {
    const run = runAt(from + i, length - i < 255 ? length - i : 255);
    n += run < 4 ? run : 5;
    i += run;
  }
  counted = n;
  return i;
}

let state = 0;
let raw = 0;
let text = 0;
let table = 0;
let top = 0;
let blocks = 0;
let merging = false;

/** Begins a piece of the raw bytes at `from`. */
function begin(s: number, from: number, block: number, output: number, list: number): void {
  resetEncoder(s);
  state = s;
  raw = from;
  text = block;
  table = list;
  top = output;
  blocks = 0;
}

/**
 * Encodes up to `length` raw bytes from `from` on as one block at the top of the output: no more than make `limit` bytes after the
 * first run-length stage. @returns how many it took
 */
function encodeSome(from: number, length: number, limit: number): number {
  const taken = runLength(state, raw + from, length, text, limit);
  const crc = runLengthCrc(state);
  const size = encodeBlock(state, text, runLengthSize(state), crc, top);
  const entry = table + BLOCKS + 16 * blocks;
  set32(entry, top);
  set32(entry + 4, encodedBits(state));
  set32(entry + 8, crc);
  blocks++;
  top += (size + 3) & -4;
  return taken;
}

/** Encodes raw bytes `from` to `to` as one block. */
function encodeRange(from: number, to: number): void {
  encodeSome(from, to - from, LARGEST);
}

/** Whether the last block that was encoded, of any number, is smaller than what it was made of by more than a 64th. */
function shrinks(): boolean {
  const size = runLengthSize(state);
  return get32(table + BLOCKS + 16 * (blocks - 1) + 4) >> 3 < size - (size >> 6);
}

function border(i: number): number {
  return get32(table + BORDERS + 4 * i);
}

function cut(first: number, count: number): void {
  if (count === 1) {
    encodeRange(border(first), border(first + 1));
    return;
  }
  let half = 1;
  while (2 * half < count) half *= 2;
  const before = blocks;
  cut(first, half);
  cut(first + half, count - half);
  if (blocks - before === 2 && merging) merge(before, first, count);
}

function merge(before: number, first: number, count: number): void {
  const left = table + BLOCKS + 16 * before;
  const right = left + 16;
  encodeRange(border(first), border(first + count));
  const union = right + 16;
  blocks = before + 2;
  if (get32(union + 4) <= get32(left + 4) + get32(right + 4)) {
    const size = (get32(union + 4) + 7) >> 3;
    copy(get32(left), get32(union), size);
    set32(left + 4, get32(union + 4));
    set32(left + 8, get32(union + 8));
    blocks = before + 1;
    top = get32(left) + ((size + 3) & -4);
  } else top = get32(union);
}

/**
 * Encodes a piece of {@link pieceLength} bytes at `from`. `s`: an encoder for 900,000 bytes; `block`: 900,000 bytes;
 * `output`: three times a block's worst size; the table at `list` receives {address, bits, CRC} of each block.
 * `merge`: whether neighbours are merged; otherwise every leaf is a block. @returns the number of blocks
 */
export function encodePiece(
  s: number,
  from: number,
  length: number,
  block: number,
  output: number,
  list: number,
  leaf: number,
  merge: boolean,
): number {
  begin(s, from, block, output, list);
  merging = merge;
  let leaves = 0;
  let at = 0;
  set32(table + BORDERS, 0);
  while (at < length) {
    at += leafLength(from + at, length - at, leaf);
    leaves++;
    set32(table + BORDERS + 4 * leaves, at);
  }
  if (leaves === 0) return 0;
  encodeRange(0, border(1));
  if (leaves === 1) return 1;
  const worthwhile = shrinks();
  if (worthwhile && !merge) {
    for (let k = 1; k < leaves; k++) encodeRange(border(k), border(k + 1));
    return blocks;
  }
  blocks = 0;
  top = output;
  if (worthwhile) cut(0, leaves);
  else encodeRange(0, length);
  return blocks;
}

/**
 * Encodes `length` > 0 bytes at `from`, at most {@link PIECE_RAW}, as blocks of equal size after the first run-length stage: as many
 * as come nearest to `leaf` bytes each. What follows a block that does not shrink is cut into blocks as large as there are. Memory
 * as for {@link encodePiece}. @returns the number of blocks
 */
export function encodeEvenly(
  s: number,
  from: number,
  length: number,
  block: number,
  output: number,
  list: number,
  leaf: number,
): number {
  begin(s, from, block, output, list);
  leafLength(from, length, 2147483647);
  const nearest = div(counted + (leaf >> 1), leaf);
  const count = nearest < 1 ? 1 : nearest;
  // A run that would pass the limit goes to the next block whole.
  const share = div(counted, count) + 5;
  for (let at = 0; at < length;) {
    const most = blocks === count - 1 || (blocks > 0 && !shrinks()) ? LARGEST : share;
    at += encodeSome(at, length - at, most);
  }
  return blocks;
}

/** Bytes for the output of {@link encodePiece}. */
export const PIECE_OUTPUT_SIZE = 4194304;
/** Bytes for its `block`. */
export const PIECE_BLOCK_SIZE = 900000;
