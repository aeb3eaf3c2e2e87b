/**
 * Streaming bzip2 decompression with bounded memory: at most one block (900,000 bytes, four bytes each) and its compressed
 * bits. Everything a stream declares is checked: magics, tables, block CRCs, the stream's CRC, what follows it.
 */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { createCore, type Core } from "../core.ts";
import {
  BAD_MAGIC,
  BAD_ORIGIN,
  BAD_RANDOMISED,
  BLOCK_READY,
  DECODER_STATE_SIZE,
  NEED_INPUT,
  STREAM_END,
} from "../core/bzip2-decode.ts";

/** Compressed bits of one block never take more: 18,002 selectors of 50 symbols of 20 bits, and tables. */
const INPUT_SIZE = 2_400_000;
const BLOCK_UNIT = 100_000;
/** From this many on, compressed bytes that are done with are moved out of the way: untouched memory costs nothing. */
const COMPACT_SIZE = 131_072;

/** Bytes of core memory one {@link Bzip2Reader} uses. */
export const BZIP2_READER_SIZE = INPUT_SIZE + DECODER_STATE_SIZE + 4 * 9 * BLOCK_UNIT;

/** The next compressed bytes, any number but none; undefined at the end. */
export type Pull = () => Promise<Uint8Array | undefined>;

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
  readonly #pull: Pull;
  readonly #options: Bzip2ReaderOptions;
  #length = 0;
  #bit = 0;
  #dropped = 0;
  #sourceEnded = false;
  #capacity = 0;
  #crc = 0;
  #phase: "header" | "between" | "block" | "end" = "header";
  #streams = 0;

  /** `base`: address of {@link BZIP2_READER_SIZE} bytes, divisible by 4. */
  constructor(core: Core, base: number, pull: Pull, options: Bzip2ReaderOptions = {}) {
    this.#core = core;
    this.#bytes = new Uint8Array(core.buffer);
    this.#input = base;
    this.#state = base + INPUT_SIZE;
    this.#pull = pull;
    this.#options = options;
    this.#bytes.fill(0, this.#state, this.#state + 64);
  }

  #damaged(what: string): OtaError {
    const at = this.#dropped + Math.floor(this.#bit / 8);
    const name = this.#options.name === undefined ? "" : `${this.#options.name} `;
    return new OtaError("CODEC_DAMAGED", { what: `bzip2: ${what}`, where: `${name}byte ${hexOffset(at)}` });
  }

  /** Reads on; false when the source has ended. */
  async #more(): Promise<boolean> {
    const keep = Math.floor(this.#bit / 8);
    if (keep > 0 && (keep >= this.#length || this.#length > COMPACT_SIZE)) {
      this.#bytes.copyWithin(this.#input, this.#input + keep, this.#input + this.#length);
      this.#length -= keep;
      this.#bit -= keep * 8;
      this.#dropped += keep;
    }
    if (this.#rest === undefined || this.#rest.length === 0) {
      this.#rest = this.#sourceEnded ? undefined : await this.#pull();
      if (this.#rest === undefined) {
        this.#sourceEnded = true;
        return false;
      }
    }
    const n = Math.min(this.#rest.length, INPUT_SIZE - this.#length);
    if (n === 0) throw this.#damaged("a block is larger than any block can be");
    this.#bytes.set(this.#rest.subarray(0, n), this.#input + this.#length);
    this.#rest = this.#rest.subarray(n);
    this.#length += n;
    return true;
  }
  #rest: Uint8Array | undefined;

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
    // A failed try costs what it decoded, so the input doubles between tries.
    let wanted = 0;
    for (;;) {
      if (this.#phase === "block") return true;
      if (this.#phase === "end") return false;
      if (this.#phase === "header") {
        await this.#header();
        continue;
      }
      const have = this.#length - Math.floor(this.#bit / 8);
      if (have < wanted && (await this.#more())) continue;
      const length = this.#length;
      const result = this.#core.decodeBlock(this.#state, this.#input, length, this.#bit, this.#capacity);
      if (result === BLOCK_READY) {
        this.#bit = this.#core.decodedBits(this.#state);
        const crc = this.#core.wantedCrc(this.#state);
        this.#crc = ((this.#crc << 1) | (this.#crc >>> 31)) ^ crc;
        this.#phase = "block";
      } else if (result === STREAM_END) {
        this.#bit = this.#core.decodedBits(this.#state);
        await this.#finishStream();
      } else if (result === NEED_INPUT) {
        wanted = Math.max(2 * have, have + 1);
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
    const n = this.#core.produceBlock(this.#state, to, max);
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

/** A {@link Pull} over a stream. */
export function pullFrom(stream: ByteStream): Pull {
  const iterator = stream[Symbol.asyncIterator]();
  return async () => {
    const next = await iterator.next();
    return next.done === true ? undefined : next.value;
  };
}

/** Size of the chunks that {@link decompressBzip2} gives, bytes. */
const OUT_SIZE = 65536;

/**
 * Decompresses bzip2 data, one or more streams as the bzip2 program reads them. Blocks of bzip2 0.9.0 and older
 * ("randomised") are refused.
 * @throws OtaError CODEC_DAMAGED; CODEC_BOMB when more than `maxBytes` come out
 */
export async function* decompressBzip2(stream: ByteStream, maxBytes: number): ByteStream {
  const core = createCore(BZIP2_READER_SIZE + OUT_SIZE);
  const reader = new Bzip2Reader(core, 0, pullFrom(stream), { concatenated: true });
  const bytes = new Uint8Array(core.buffer);
  let total = 0;
  while (await reader.ready()) {
    const n = reader.take(BZIP2_READER_SIZE, OUT_SIZE);
    if (n === 0) continue;
    total += n;
    if (total > maxBytes) {
      throw new OtaError("CODEC_BOMB", {
        what: "bzip2: more data than allowed",
        expected: `at most ${maxBytes} bytes`,
      });
    }
    yield bytes.slice(BZIP2_READER_SIZE, BZIP2_READER_SIZE + n);
  }
}
