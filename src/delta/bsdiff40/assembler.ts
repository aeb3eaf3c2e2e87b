/** Puts a patch together from its ranges in order: control triples across the seams, and pieces of the three streams. */
import { Bzip2Joiner, type Bzip2Block } from "../bzip2/joiner.ts";
import { PIECE_RAW } from "../core/bzip2-cut.ts";
import { concatBytes } from "../../core/bytes.ts";
import { writeBsdiff40Header, writeOffset } from "./header.ts";
import type { RangeSink } from "./cover-sink.ts";
import type { RangeResult } from "./steps.ts";

/** A growing stream whose front is cut off piece by piece; its buffer is used again, as copies of megabytes add up. */
class Stream {
  #buffer = new Uint8Array(65536);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  push(bytes: Uint8Array): void {
    if (this.#end + bytes.length > this.#buffer.length) {
      const wanted = this.length + bytes.length;
      const target = wanted > this.#buffer.length ? new Uint8Array(wanted + 1048576) : this.#buffer;
      target.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = target;
      this.#end -= this.#start;
      this.#start = 0;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** The first bytes, up to a piece's limit; valid until the next call. */
  front(): Uint8Array {
    return this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + PIECE_RAW));
  }

  drop(count: number): void {
    this.#start += count;
  }
}

/** Where a piece belongs: 0 control, 1 differences, 2 extra. */
export type StreamIndex = 0 | 1 | 2;

export class PatchAssembler implements RangeSink {
  readonly takesBytes = true;
  readonly #streams = [new Stream(), new Stream(), new Stream()] as const;
  readonly #joiners = [new Bzip2Joiner(), new Bzip2Joiner(), new Bzip2Joiner()] as const;
  readonly #newSize: number;
  // The triple being made: it ends when the next cover says where to seek.
  #add = 0;
  #copy = 0;
  #oldEnd = 0;
  #newEnd = 0;
  readonly #tripleBytes = new Uint8Array(24);

  constructor(newSize: number) {
    this.#newSize = newSize;
  }

  #triple(seek: number): void {
    const out = this.#tripleBytes;
    writeOffset(out, 0, this.#add);
    writeOffset(out, 8, this.#copy);
    writeOffset(out, 16, seek);
    this.#streams[0].push(out);
  }

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
    this.#streams[1].push(result.diff);
    this.addBlocks(1, result.blocks);
    this.#streams[2].push(result.extra);
  }

  /** Ends the last triple; afterwards {@link PatchAssembler.pieces} gives what is left. */
  endRanges(): void {
    if (this.#newSize > 0) this.#triple(0);
  }

  /** A stream that holds a complete piece, with the bytes it begins with; with `all` one that holds anything. */
  ready(all: boolean): { stream: StreamIndex; front: Uint8Array } | undefined {
    for (const index of [0, 1, 2] as const) {
      const stream = this.#streams[index];
      if (stream.length >= (all ? 1 : PIECE_RAW)) return { stream: index, front: stream.front() };
    }
    return undefined;
  }

  /** Takes a piece of `length` bytes off a stream. */
  drop(stream: StreamIndex, length: number): void {
    this.#streams[stream].drop(length);
  }

  /** Adds blocks behind those of their stream that were added before. */
  addBlocks(stream: StreamIndex, blocks: readonly Bzip2Block[]): void {
    for (const block of blocks) this.#joiners[stream].add(block);
  }

  /** The whole patch of the three joined streams. */
  compose(): Uint8Array {
    const [control, diff, extra] = this.#joiners.map((j) => j.finish()) as [Uint8Array, Uint8Array, Uint8Array];
    const sizes = { controlSize: control.length, diffSize: diff.length, newSize: this.#newSize };
    return concatBytes(writeBsdiff40Header(sizes), control, diff, extra);
  }
}
