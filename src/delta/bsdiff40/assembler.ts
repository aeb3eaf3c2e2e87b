/** Puts a patch together from its ranges in order: control triples across the seams, and pieces of the three streams. */
import type { Bzip2Joiner } from "../bzip2/joiner.ts";
import { PIECE_RAW } from "../core/bzip2-cut.ts";
import { concatBytes } from "../../core/bytes.ts";
import { writeBsdiff40Header, writeOffset } from "./header.ts";
import type { RangeResult } from "./steps.ts";

/** A growing stream whose front is cut off piece by piece. */
class Stream {
  #parts: Uint8Array[] = [];
  length = 0;

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#parts.push(bytes);
    this.length += bytes.length;
  }

  /** The first bytes, up to a piece's limit. */
  front(): Uint8Array {
    const wanted = Math.min(this.length, PIECE_RAW);
    if ((this.#parts[0]?.length ?? 0) < wanted) {
      const taken: Uint8Array[] = [];
      for (let have = 0; have < wanted;) {
        const part = this.#parts.shift() as Uint8Array;
        taken.push(part);
        have += part.length;
      }
      this.#parts.unshift(concatBytes(...taken));
    }
    return (this.#parts[0] ?? new Uint8Array(0)).subarray(0, wanted);
  }

  drop(count: number): void {
    const first = this.#parts[0] as Uint8Array;
    if (count === first.length) this.#parts.shift();
    else this.#parts[0] = first.subarray(count);
    this.length -= count;
  }
}

/** Where a piece belongs: 0 control, 1 differences, 2 extra. */
export type StreamIndex = 0 | 1 | 2;

/** Length of the piece at the front of `bytes`. */
export type CutPiece = (bytes: Uint8Array) => number;

export class PatchAssembler {
  readonly #streams = [new Stream(), new Stream(), new Stream()] as const;
  readonly #newSize: number;
  // The triple being made: it ends when the next cover says where to seek.
  #add = 0;
  #copy = 0;
  #oldEnd = 0;
  #newEnd = 0;

  constructor(newSize: number) {
    this.#newSize = newSize;
  }

  #triple(seek: number): void {
    const out = new Uint8Array(24);
    writeOffset(out, 0, this.#add);
    writeOffset(out, 8, this.#copy);
    writeOffset(out, 16, seek);
    this.#triples.push(out);
  }
  #triples: Uint8Array[] = [];

  /** Adds the range at `newAt`; alignments count from `windowAt` in old and from the range's beginning in new. */
  addRange(newAt: number, size: number, windowAt: number, result: RangeResult): void {
    const { covers } = result;
    for (let k = 0; k < covers.length; k += 3) {
      const start = newAt + (covers[k] as number);
      const length = covers[k + 1] as number;
      const oldAt = windowAt + (covers[k] as number) + (covers[k + 2] as number);
      this.#copy += start - this.#newEnd;
      // A cover that goes on where the last one stopped (at a seam) is the same cover.
      if (this.#copy > 0 || oldAt !== this.#oldEnd) {
        this.#triple(oldAt - this.#oldEnd);
        this.#add = 0;
        this.#copy = 0;
      }
      this.#add += length;
      this.#oldEnd = oldAt + length;
      this.#newEnd = start + length;
    }
    this.#copy += newAt + size - this.#newEnd;
    this.#newEnd = newAt + size;
    this.#streams[0].push(concatBytes(...this.#triples));
    this.#triples = [];
    this.#streams[1].push(result.diff);
    this.#streams[2].push(result.extra);
  }

  /** Ends the last triple; afterwards {@link PatchAssembler.pieces} gives what is left. */
  endRanges(): void {
    if (this.#newSize > 0) {
      this.#triple(0);
      this.#streams[0].push(concatBytes(...this.#triples));
    }
  }

  /** The next complete piece of any stream; with `all` what is left too. */
  piece(cut: CutPiece, all: boolean): { stream: StreamIndex; bytes: Uint8Array } | undefined {
    for (const index of [0, 1, 2] as const) {
      const stream = this.#streams[index];
      if (stream.length < (all ? 1 : PIECE_RAW)) continue;
      const front = stream.front();
      const bytes = front.slice(0, cut(front));
      stream.drop(bytes.length);
      return { stream: index, bytes };
    }
    return undefined;
  }

  /** The whole patch of the three joined streams. */
  compose(joiners: readonly [Bzip2Joiner, Bzip2Joiner, Bzip2Joiner]): Uint8Array {
    const [control, diff, extra] = joiners.map((joiner) => joiner.finish()) as [Uint8Array, Uint8Array, Uint8Array];
    const sizes = { controlSize: control.length, diffSize: diff.length, newSize: this.#newSize };
    return concatBytes(writeBsdiff40Header(sizes), control, diff, extra);
  }
}
