/** bzip2 compression of bytes in memory, on one thread. Output depends on the bytes and the cutting alone. */
import { createCore, type Core } from "../core.ts";
import { encoderSize } from "../core/bzip2-encode.ts";
import { PIECE_BLOCK_SIZE, PIECE_LEAVES, PIECE_OUTPUT_SIZE, PIECE_RAW, PIECE_TABLE_SIZE } from "../core/bzip2-cut.ts";
import { Bzip2Joiner, type Bzip2Block } from "./joiner.ts";

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
export const CUT_TO_FIT: Cutting = Object.freeze({ leaf: 56_200, leaves: PIECE_LEAVES, merge: true });
/** Blocks of 180,000 bytes: most of the gain without the work. */
export const CUT_SMALL: Cutting = Object.freeze({ leaf: 180_000, leaves: 5, merge: false });

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

/** Encodes the `length` bytes at {@link pieceInput}; the blocks' bytes are copies. */
export function encodePieceAt(core: Core, base: number, length: number, cutting: Cutting): Bzip2Block[] {
  const bytes = new Uint8Array(core.buffer);
  const words = new Int32Array(core.buffer);
  const count = core.encodePiece(
    base,
    base + RAW_AT,
    length,
    base + BLOCK_AT,
    base + OUTPUT_AT,
    base + TABLE_AT,
    cutting.leaf,
    cutting.merge,
  );
  const blocks: Bzip2Block[] = [];
  for (let i = 0; i < count; i++) {
    const entry = (base + TABLE_AT) / 4 + 4 * i;
    const address = words[entry] as number;
    const bits = words[entry + 1] as number;
    blocks.push({ bytes: bytes.slice(address, address + Math.ceil(bits / 8)), bits, crc: words[entry + 2] as number });
  }
  return blocks;
}

/**
 * One bzip2 stream holding `bytes`, readable by bzip2 and bspatch. Blocks are cut to fit (see {@link CUT_TO_FIT}) unless
 * `cutting` says otherwise.
 */
export function compressBzip2(bytes: Uint8Array, cutting: Cutting = CUT_TO_FIT): Uint8Array {
  const core = createCore(PIECE_MEMORY_SIZE);
  const memory = new Uint8Array(core.buffer);
  const joiner = new Bzip2Joiner();
  for (let at = 0; at < bytes.length;) {
    const window = bytes.subarray(at, at + PIECE_RAW);
    memory.set(window, RAW_AT);
    const length = core.pieceLength(RAW_AT, window.length, cutting.leaf, cutting.leaves);
    for (const block of encodePieceAt(core, 0, length, cutting)) joiner.add(block);
    at += length;
  }
  return joiner.finish();
}
