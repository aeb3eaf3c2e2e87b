/** A file or stream with some of its ranges replaced, without copying it: what a signature inside a package is over. */
import { concatBytes } from "./bytes.ts";
import type { ByteStream, RandomReader } from "./ports.ts";
import { checkRange, StreamTaker } from "./streams.ts";

/** Bytes `[offset, offset + length)` of the original are `bytes` instead; these may be fewer or more. */
export interface Edit {
  readonly offset: number;
  readonly length: number;
  readonly bytes: Uint8Array;
}

interface Piece {
  /** Where the piece begins in the result. */
  readonly at: number;
  readonly size: number;
  /** The piece's bytes, or where they stand in the original. */
  readonly from: Uint8Array | number;
}

/** Pieces of the result. `edits` are in ascending order, apart from each other and inside the original. */
function piecesOf(size: number, edits: readonly Edit[]): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let source = 0;
  const add = (length: number, from: Uint8Array | number): void => {
    if (length > 0) pieces.push({ at, size: length, from });
    at += length;
  };
  for (const { offset, length, bytes } of edits) {
    checkRange(size, offset, length);
    if (offset < source) throw new RangeError("edits overlap or are out of order");
    add(offset - source, source);
    add(bytes.length, bytes);
    source = offset + length;
  }
  add(size - source, source);
  return pieces;
}

/** `reader` with `edits`. @throws OtaError READ_PAST_END for an edit outside it */
export function editedReader(reader: RandomReader, edits: readonly Edit[]): RandomReader {
  const pieces = piecesOf(reader.size, edits);
  const last = pieces.at(-1);
  const size = last === undefined ? 0 : last.at + last.size;
  return {
    size,
    async read(offset, length) {
      checkRange(size, offset, length);
      const parts: Uint8Array[] = [];
      for (const { at, size: pieceSize, from } of pieces) {
        const begin = Math.max(offset, at);
        const end = Math.min(offset + length, at + pieceSize);
        if (begin >= end) continue;
        parts.push(
          typeof from === "number"
            ? await reader.read(from + begin - at, end - begin)
            : from.subarray(begin - at, end - at),
        );
      }
      return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts);
    },
  };
}

/** `stream` with `edits`; one that reaches past the stream's end is left out, and the digest over the result tells. */
export async function* editedStream(stream: ByteStream, edits: readonly Edit[]): ByteStream {
  const taker = new StreamTaker(stream);
  try {
    for (const { offset, length, bytes } of edits) {
      yield* taker.pass(offset - taker.offset);
      await taker.take(length);
      if (bytes.length > 0) yield bytes;
    }
    yield* taker.pass(Number.MAX_SAFE_INTEGER);
  } finally {
    await taker.close();
  }
}
