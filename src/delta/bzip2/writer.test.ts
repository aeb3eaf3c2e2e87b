import { describe, expect, it } from "vitest";
import { concatBytes } from "../../core/bytes.ts";
import type { ByteStream } from "../../core/ports.ts";
import { createCore, runSteps } from "../core.ts";
import { decompressBzip2 } from "./decompress.ts";
import { Bzip2Joiner } from "./joiner.ts";
import { evenSteps, PIECE_MEMORY_SIZE } from "./writer.ts";

async function* once(bytes: Uint8Array): ByteStream {
  yield await Promise.resolve(bytes);
}

/** Bytes that take their place behind the encoder. */
function evenly(bytes: Uint8Array, leaf: number) {
  const core = createCore(PIECE_MEMORY_SIZE + bytes.length + 128);
  new Uint8Array(core.buffer).set(bytes, PIECE_MEMORY_SIZE);
  const blocks = runSteps(core, evenSteps(core.buffer, 0, [PIECE_MEMORY_SIZE, bytes.length], leaf));
  const joiner = new Bzip2Joiner();
  for (const block of blocks) joiner.add(block);
  return { count: blocks.length, stream: joiner.finish() };
}

/** `size` bytes in runs, or of no pattern where a run is one byte. */
function made(size: number, run: number): Uint8Array {
  let state = 1;
  let byte = 0;
  return Uint8Array.from({ length: size }, (_, i) => {
    if (i % run === 0) byte = (state = Math.imul(state, 1664525) + 1013904223) >>> 24;
    return byte;
  });
}

describe("blocks of equal size", () => {
  it.each([
    ["nothing", made(0, 1), 0],
    ["a byte", made(1, 1), 1],
    ["less than a block and a half", made(14_900, 3), 1],
    ["more than that", made(15_100, 3), 2],
    ["runs, which make 5 bytes each", made(400_000, 100), 2],
    ["runs of four, which grow", made(40_000, 4), 5],
    ["one run beyond the longest", new Uint8Array(100_000), 1],
    // The first block, then all that is left.
    ["bytes that do not shrink", made(100_000, 1), 2],
    ["more than a piece", made(2_200_000, 30), 36],
  ])("are as many as come nearest, and give back %s", async (_, bytes, count) => {
    const even = evenly(bytes, 10_000);
    expect(even.count).toBe(count);
    const parts: Uint8Array[] = [];
    for await (const part of decompressBzip2(once(even.stream), bytes.length)) parts.push(part);
    expect(Buffer.compare(concatBytes(...parts), bytes)).toBe(0);
  });
});
