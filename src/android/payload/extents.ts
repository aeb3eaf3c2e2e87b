/** Extents: lists of block ranges that an operation reads or writes one behind the other. */
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, RandomReader } from "../../core/ports.ts";
import { checkRange } from "../../core/streams.ts";
import { SPARSE_HOLE, type Extent } from "./manifest.ts";

/** Blocks of all extents together. */
export function countBlocks(extents: readonly Extent[]): number {
  return extents.reduce((sum, e) => sum + (e.numBlocks ?? 0), 0);
}

/** A place in a partition and where it stands in the extents' concatenation; `offset` undefined: a hole. */
interface Piece {
  readonly offset: number | undefined;
  readonly at: number;
  readonly length: number;
}

function piecesOf(extents: readonly Extent[], blockSize: number): Piece[] {
  const out: Piece[] = [];
  let at = 0;
  for (const { startBlock = 0, numBlocks = 0 } of extents) {
    const offset = startBlock === SPARSE_HOLE ? undefined : startBlock * blockSize;
    const length = numBlocks * blockSize;
    out.push({ offset, at, length });
    at += length;
  }
  return out;
}

/**
 * The blocks of `extents` as one file: what source operations read. Bytes behind the partition's end (the rest of its last
 * block, when its size is no multiple of the block size) and holes read as zeros.
 * @param size bytes of it, default all: minor versions up to 3 cut the last block
 */
export function extentReader(
  partition: RandomReader,
  extents: readonly Extent[],
  blockSize: number,
  size: number = countBlocks(extents) * blockSize,
): RandomReader {
  const pieces = piecesOf(extents, blockSize);
  // First piece that reaches past `at`: an operation may have thousands, and patches seek.
  const find = (at: number): number => {
    let [low, high] = [0, pieces.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const p = pieces[middle] as Piece;
      if (p.at + p.length <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return {
    size,
    async read(offset, length) {
      checkRange(size, offset, length);
      const out = new Uint8Array(length);
      let done = 0;
      for (let i = find(offset); done < length; i++) {
        const p = pieces[i] as Piece;
        const inside = offset + done - p.at;
        const n = Math.min(length - done, p.length - inside);
        if (p.offset !== undefined) {
          const from = p.offset + inside;
          const there = Math.max(0, Math.min(n, partition.size - from));
          if (there > 0) out.set(await partition.read(from, there), done);
        }
        done += n;
      }
      return out;
    },
  };
}

/** Bytes for a place of the new partition. */
export interface PlacedBytes {
  /** Byte offset in the partition. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Spreads an operation's output over its destination extents: where each chunk goes. What belongs to a hole is dropped.
 * @throws OtaError ANDROID_PAYLOAD_DATA when the output is not exactly as long as the extents
 */
export async function* placeOutput(
  output: ByteStream,
  extents: readonly Extent[],
  blockSize: number,
): AsyncGenerator<PlacedBytes> {
  const pieces = piecesOf(extents, blockSize);
  const total = pieces.reduce((sum, p) => sum + p.length, 0);
  let index = 0;
  let at = 0;
  for await (const chunk of output) {
    for (let taken = 0; taken < chunk.length;) {
      const p = pieces[index];
      if (p === undefined) throw wrongSize(total, at + chunk.length - taken);
      const inside = at - p.at;
      const n = Math.min(chunk.length - taken, p.length - inside);
      if (p.offset !== undefined) yield { offset: p.offset + inside, bytes: chunk.subarray(taken, taken + n) };
      taken += n;
      at += n;
      if (inside + n === p.length) index++;
    }
  }
  if (at !== total) throw wrongSize(total, at);
}

function wrongSize(expected: number, found: number): OtaError {
  return new OtaError("ANDROID_PAYLOAD_DATA", {
    what: "an operation's output does not fill its blocks",
    expected: `${expected} bytes`,
    found,
  });
}
