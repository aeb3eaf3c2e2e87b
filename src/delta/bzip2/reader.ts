/**
 * Streaming bzip2 decompression with bounded memory: at most one block (900,000 bytes) and its compressed bits, and three bytes
 * for each of a block that readers share. Everything a stream declares is checked: magics, tables, block CRCs, the stream's CRC, what follows it.
 */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, RandomReader } from "../../core/ports.ts";
import type { Core } from "../core-calls.ts";
import {
  BAD_MAGIC,
  BAD_ORIGIN,
  BAD_RANDOMISED,
  BLOCK_READY,
  DECODER_STATE_SIZE,
  DECODER_WORK_SIZE,
  NEED_INPUT,
  READ_ON,
  STREAM_END,
} from "../core/bzip2-decode.ts";

/**
 * Compressed bytes that are there at once. Some 30 KiB are what stands before a block's symbols, but code lengths can be written as
 * long as one likes; untouched memory costs nothing.
 */
const INPUT_SIZE = 2_400_000;
const BLOCK_UNIT = 100_000;

/** Compressed bytes asked for at a time: with 64 KiB, three readers touch 0.2 MiB more and are no faster. */
const READ_SIZE = 16_384;

/** Bytes of core memory one {@link Bzip2Reader} uses. */
export const BZIP2_READER_SIZE = INPUT_SIZE + DECODER_STATE_SIZE + 9 * BLOCK_UNIT;
/** Bytes of core memory that any number of readers on one thread use together. */
export const BZIP2_WORK_SIZE = DECODER_WORK_SIZE;

/** Writes the next compressed bytes to the front of `target`; gives their number, 0 at the end. */
export type Source = (target: Uint8Array) => Promise<number>;

export interface Bzip2ReaderOptions {
  /** Names the stream in errors. */
  readonly name?: string;
  /** Several streams one after the other are one, as the bzip2 program reads them. Default: exactly one stream. */
  readonly concatenated?: boolean;
  /** What follows the stream is left alone instead of refused. */
  readonly ignoreTrailing?: boolean;
}

/** A decompressor over a part of a core's memory. */
export class Bzip2Reader {
  readonly #core: Core;
  readonly #bytes: Uint8Array;
  readonly #input: number;
  readonly #state: number;
  readonly #work: number;
  readonly #source: Source;
  readonly #options: Bzip2ReaderOptions;
  #length = 0;
  #bit = 0;
  #dropped = 0;
  #sourceEnded = false;
  #capacity = 0;
  #crc = 0;
  #phase: "header" | "between" | "block" | "end" = "header";
  #streams = 0;

  /** `base` and `work`: addresses of {@link BZIP2_READER_SIZE} and {@link BZIP2_WORK_SIZE} bytes, divisible by 4. */
  constructor(core: Core, base: number, work: number, source: Source, options: Bzip2ReaderOptions = {}) {
    this.#core = core;
    this.#bytes = new Uint8Array(core.buffer);
    this.#input = base;
    this.#state = base + INPUT_SIZE;
    this.#work = work;
    this.#source = source;
    this.#options = options;
    this.#bytes.fill(0, this.#state, this.#state + DECODER_STATE_SIZE);
    this.#bytes.fill(0, work, work + 64);
  }

  #damaged(what: string): OtaError {
    const at = this.#dropped + Math.floor(this.#bit / 8);
    const name = this.#options.name === undefined ? "" : `${this.#options.name} `;
    return new OtaError("CODEC_DAMAGED", { what: `bzip2: ${what}`, where: `${name}byte ${hexOffset(at)}` });
  }

  /** Reads on; false when the source has ended. */
  async #more(): Promise<boolean> {
    const keep = Math.floor(this.#bit / 8);
    if (keep > 0) {
      this.#bytes.copyWithin(this.#input, this.#input + keep, this.#input + this.#length);
      this.#length -= keep;
      this.#bit -= keep * 8;
      this.#dropped += keep;
    }
    if (this.#sourceEnded) return false;
    const room = Math.min(READ_SIZE, INPUT_SIZE - this.#length);
    if (room === 0) throw this.#damaged("a block's tables are larger than any can be");
    const end = this.#input + this.#length;
    const n = await this.#source(this.#bytes.subarray(end, end + room));
    this.#length += n;
    this.#sourceEnded = n === 0;
    return n > 0;
  }

  async #header(): Promise<void> {
    while (this.#length - this.#bit / 8 < 4) {
      if (await this.#more()) continue;
      throw this.#damaged(this.#length === this.#bit / 8 && this.#streams > 0 ? "garbage" : "cut short in its header");
    }
    const at = this.#input + this.#bit / 8;
    const level = (this.#bytes[at + 3] as number) - 48;
    if (this.#bytes[at] !== 66 || this.#bytes[at + 1] !== 90 || this.#bytes[at + 2] !== 104 || level < 1 || level > 9) {
      throw this.#damaged(this.#streams > 0 ? "garbage behind the stream" : "no BZh1 to BZh9 header");
    }
    this.#bit += 32;
    this.#capacity = level * BLOCK_UNIT;
    this.#crc = 0;
    this.#phase = "between";
  }

  async #finishStream(): Promise<void> {
    if (this.#core.wantedCrc(this.#state) !== this.#crc) throw this.#damaged("the stream's checksum is wrong");
    this.#bit = Math.ceil(this.#bit / 8) * 8;
    this.#streams++;
    if (this.#options.ignoreTrailing === true) {
      this.#phase = "end";
      return;
    }
    const more = this.#length > this.#bit / 8 || (await this.#more());
    if (!more) this.#phase = "end";
    else if (this.#options.concatenated === true) this.#phase = "header";
    else throw this.#damaged("bytes follow the end of the stream");
  }

  /** Decodes up to the next block; false at the end of the data. @throws OtaError CODEC_DAMAGED */
  async ready(): Promise<boolean> {
    for (;;) {
      if (this.#phase === "block") return true;
      if (this.#phase === "end") return false;
      if (this.#phase === "header") {
        await this.#header();
        continue;
      }
      const last = this.#sourceEnded ? 1 : 0;
      const [core, s, w] = [this.#core, this.#state, this.#work];
      const result = core.decodeBlock(s, w, this.#input, this.#length, this.#bit, this.#capacity, last);
      if (result === BLOCK_READY) {
        this.#bit = core.decodedBits(this.#state);
        const crc = this.#core.wantedCrc(this.#state);
        this.#crc = ((this.#crc << 1) | (this.#crc >>> 31)) ^ crc;
        this.#phase = "block";
      } else if (result === STREAM_END) {
        this.#bit = this.#core.decodedBits(this.#state);
        await this.#finishStream();
      } else if (result === READ_ON) {
        this.#bit = core.decodedBits(this.#state);
        await this.#more();
      } else if (result === NEED_INPUT) {
        if (!(await this.#more())) throw this.#damaged("cut short");
      } else {
        throw this.#damaged(reason(result));
      }
    }
  }

  /**
   * Writes up to `max` decompressed bytes to address `to`; 0 when {@link ready} has to be awaited first.
   * @throws OtaError CODEC_DAMAGED when a block's checksum is wrong
   */
  take(to: number, max: number): number {
    if (this.#phase !== "block") return 0;
    const n = this.#core.produceBlock(this.#state, this.#work, to, max);
    if (n < max) {
      if (!this.#core.blockCrcOk(this.#state)) throw this.#damaged("a block's checksum is wrong");
      this.#phase = "between";
    }
    return n;
  }
}

function reason(result: number): string {
  if (result === BAD_MAGIC) return "neither a block nor the end of the stream";
  if (result === BAD_RANDOMISED) return "a randomised block (bzip2 before 0.9.5) is not supported";
  if (result === BAD_ORIGIN) return "a block's origin lies outside it";
  return "a block's code is damaged";
}

/** A {@link Source} over a stream. */
export function sourceFrom(stream: ByteStream): Source {
  const iterator = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return async (target) => {
    if (rest.length === 0) {
      const next = await iterator.next();
      if (next.done === true) return 0;
      rest = next.value;
    }
    const n = Math.min(rest.length, target.length);
    target.set(rest.subarray(0, n));
    rest = rest.subarray(n);
    return n;
  };
}

/** A {@link Source} over a part of a reader, read into place where the reader can. */
export function sourceOf(reader: RandomReader, offset: number, size: number): Source {
  let done = 0;
  return async (target) => {
    const n = Math.min(target.length, size - done);
    if (n === 0) return 0;
    const part = target.subarray(0, n);
    if (reader.readInto === undefined) part.set(await reader.read(offset + done, n));
    else await reader.readInto(offset + done, part);
    done += n;
    return n;
  };
}
