/** bzip2 compression of bytes in memory, on the caller's thread. */
import { createCore, runSteps, type Core } from "../core.ts";
import { PIECE_RAW } from "../core/bzip2-cut.ts";
import { Bzip2Joiner } from "./joiner.ts";
import { CUT_TO_FIT, PIECE_MEMORY_SIZE, pieceBlocks, pieceInput, pieceSteps, type Cutting } from "./writer.ts";

/**
 * One bzip2 stream holding `bytes`, readable by bzip2 and bspatch. Blocks are cut to fit (see {@link CUT_TO_FIT}) unless
 * `cutting` says otherwise. `core`: one with {@link PIECE_MEMORY_SIZE} bytes.
 */
export function compressBzip2(
  bytes: Uint8Array,
  cutting: Cutting = CUT_TO_FIT,
  core: Core = createCore(PIECE_MEMORY_SIZE),
): Uint8Array {
  const memory = new Uint8Array(core.buffer);
  const input = pieceInput(0);
  const joiner = new Bzip2Joiner();
  for (let at = 0; at < bytes.length;) {
    const window = bytes.subarray(at, at + PIECE_RAW);
    memory.set(window, input);
    const length = core.pieceLength(input, window.length, cutting.leaf, cutting.leaves);
    const count = runSteps(core, pieceSteps(0, length, cutting));
    for (const block of pieceBlocks(core.buffer, 0, count)) joiner.add(block);
    at += length;
  }
  return joiner.finish();
}
