/** bzip2 compression in pieces, as steps for one lane. Output depends on the bytes and the cutting alone. */
import type { Steps } from "../core-calls.ts";
import { encoderSize } from "../core/bzip2-encode.ts";
import { PIECE_BLOCK_SIZE, PIECE_OUTPUT_SIZE, PIECE_RAW, PIECE_TABLE_SIZE } from "../core/bzip2-cut.ts";
import type { Bzip2Block } from "./joiner.ts";

/** How a stream is cut into blocks. */
export interface Cutting {
  /** Bytes of a leaf after the first run-length stage. */
  readonly leaf: number;
  /** Most leaves in a piece; `leaf` times this is at most 899,981. */
  readonly leaves: number;
  /** Whether neighbouring leaves are tried as one block. */
  readonly merge: boolean;
}

/** Leaves of 56,200 bytes merged where that is not larger: twice the work of plain blocks, 2 to 6 % smaller differences. */
export const CUT_TO_FIT: Cutting = Object.freeze({ leaf: 56_200, leaves: 16, merge: true });
/** Leaves of half that: another 0.6 % for half as much work again. */
export const CUT_FINE: Cutting = Object.freeze({ leaf: 28_100, leaves: 32, merge: true });
/** Blocks of 112,000 bytes: most of the gain without the work. Two of them are a piece, so that threads end together. */
export const CUT_SMALL: Cutting = Object.freeze({ leaf: 112_000, leaves: 2, merge: false });

const BLOCK_AT = encoderSize(PIECE_BLOCK_SIZE);
const OUTPUT_AT = BLOCK_AT + PIECE_BLOCK_SIZE;
const TABLE_AT = OUTPUT_AT + PIECE_OUTPUT_SIZE;
const RAW_AT = TABLE_AT + PIECE_TABLE_SIZE;

/** Core memory of one piece encoder: working arrays, output and the piece's bytes. */
export const PIECE_MEMORY_SIZE = RAW_AT + PIECE_RAW;

/** Where a piece encoder at `base` expects the piece's bytes. */
export function pieceInput(base: number): number {
  return base + RAW_AT;
}

/** Encodes the `length` bytes at {@link pieceInput} of a piece encoder; gives the number of blocks. */
export function* pieceSteps(base: number, length: number, cutting: Cutting): Steps<number> {
  const merge = cutting.merge ? 1 : 0;
  return yield [
    "encodePiece",
    base,
    base + RAW_AT,
    length,
    base + BLOCK_AT,
    base + OUTPUT_AT,
    base + TABLE_AT,
    cutting.leaf,
    merge,
  ];
}

/**
 * Encodes the `length` bytes at `from`, which is outside the piece encoder at `base`, in blocks of equal size near `leaf` bytes; gives
 * copies of them.
 */
export function* evenSteps(
  memory: ArrayBufferLike,
  base: number,
  [from, length]: readonly [number, number],
  leaf: number,
): Steps<Bzip2Block[]> {
  const blocks: Bzip2Block[] = [];
  for (let at = 0; at < length;) {
    // Parts of equal size, too.
    const size = Math.ceil((length - at) / Math.ceil((length - at) / PIECE_RAW));
    const places = [base + BLOCK_AT, base + OUTPUT_AT, base + TABLE_AT] as const;
    const count = yield ["encodeEvenly", base, from + at, size, ...places, leaf];
    blocks.push(...pieceBlocks(memory, base, count));
    at += size;
  }
  return blocks;
}

/** Copies of the blocks that {@link pieceSteps} made. */
export function pieceBlocks(memory: ArrayBufferLike, base: number, count: number): Bzip2Block[] {
  const blocks: Bzip2Block[] = [];
  const table = new Int32Array(memory, base + TABLE_AT, 4 * count);
  for (let i = 0; i < count; i++) {
    // Addresses beyond 2 GiB are negative as signed words.
    const address = (table[4 * i] as number) >>> 0;
    const bits = table[4 * i + 1] as number;
    const bytes = new Uint8Array(memory, address, Math.ceil(bits / 8)).slice();
    blocks.push({ bytes, bits, crc: table[4 * i + 2] as number });
  }
  return blocks;
}
