/** Small helpers over readers and byte streams. */
import { OtaError } from "./errors.ts";
import { hexOffset } from "./bytes.ts";
import type { ByteStream, Cancel, RandomReader } from "./ports.ts";

/** Size of one read when a range is streamed, bytes: large enough that a call's cost vanishes, small enough for any board. */
export const STREAM_CHUNK = 256 * 1024;

/** A reader over bytes in memory. Reads are views of `bytes`, not copies. */
export function memoryReader(bytes: Uint8Array): RandomReader {
  return {
    size: bytes.length,
    async read(offset, length) {
      checkRange(bytes.length, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** @throws OtaError READ_PAST_END unless `[offset, offset+length)` lies in `[0, size)`. */
export function checkRange(size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    throw new OtaError("READ_PAST_END", {
      what: "read reaches past the end",
      where: `offset ${hexOffset(offset)}`,
      expected: `at most ${Math.max(0, size - offset)} bytes`,
      found: length,
    });
  }
}

/** @throws OtaError CANCELLED once the caller has given up. */
export function checkCancel(cancel: Cancel | undefined): void {
  if (cancel?.aborted === true) throw new OtaError("CANCELLED", "stopped by the caller");
}

/** The part of an `AbortSignal` that tells when it is aborted. */
interface Telling {
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/**
 * What `work` gives; CANCELLED as soon as the caller gives up, where its signal tells that. For work that goes on elsewhere for
 * long: it is left alone, and its failure is nobody's any more.
 */
export async function unlessCancelled<T>(work: Promise<T>, cancel: Cancel | undefined): Promise<T> {
  if (cancel === undefined || !("addEventListener" in cancel)) return work;
  const signal = cancel as Cancel & Telling;
  let stop = (): void => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => {
      reject(new OtaError("CANCELLED", "stopped by the caller"));
    };
  });
  signal.addEventListener("abort", stop);
  try {
    if (signal.aborted) stop();
    return await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Bytes at `offset`, in `buffer` where the reader can use it: what is given out may be overwritten by the next call. */
export async function readReusing(
  reader: RandomReader,
  offset: number,
  length: number,
  buffer: Uint8Array,
): Promise<Uint8Array> {
  if (reader.readInto === undefined || length > buffer.length) return reader.read(offset, length);
  const target = buffer.subarray(0, length);
  await reader.readInto(offset, target);
  return target;
}

/** A range of a reader as a stream of chunks of at most `chunk` bytes. */
export async function* streamRange(
  reader: RandomReader,
  offset = 0,
  length = reader.size - offset,
  chunk = STREAM_CHUNK,
): ByteStream {
  checkRange(reader.size, offset, length);
  for (let done = 0; done < length;) {
    const n = Math.min(chunk, length - done);
    yield await reader.read(offset + done, n);
    done += n;
  }
}

/** A part of a reader as a reader of its own. */
export function sliceReader(reader: RandomReader, offset: number, size: number): RandomReader {
  checkRange(reader.size, offset, size);
  return {
    size,
    async read(at, length) {
      checkRange(size, at, length);
      return reader.read(offset + at, length);
    },
  };
}

/**
 * Takes exact amounts from a stream whose chunks have any size; the one place where package parsers meet streams.
 * Holds at most one chunk and what `take` was asked for.
 */
export class StreamTaker {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #offset = 0;

  constructor(source: ByteStream) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  async #more(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return false;
      this.#rest = next.value;
    }
    return true;
  }

  /** Exactly `length` bytes, or fewer only at the end of the stream. The caller bounds `length`. */
  async take(length: number): Promise<Uint8Array> {
    if (this.#rest.length >= length && length > 0) {
      const out = this.#rest.subarray(0, length);
      this.#rest = this.#rest.subarray(length);
      this.#offset += length;
      return out;
    }
    const parts: Uint8Array[] = [];
    let have = 0;
    while (have < length && (await this.#more())) {
      const part = this.#rest.subarray(0, length - have);
      this.#rest = this.#rest.subarray(part.length);
      parts.push(part);
      have += part.length;
    }
    const out = new Uint8Array(have);
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    this.#offset += have;
    return out;
  }

  /** The next `length` bytes as they come, without gathering them; ends early only at the end of the stream. */
  async *pass(length: number): ByteStream {
    for (let left = length; left > 0;) {
      if (!(await this.#more())) return;
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      this.#offset += part.length;
      left -= part.length;
      yield part;
    }
  }

  /** Whether the stream has ended. */
  async atEnd(): Promise<boolean> {
    return !(await this.#more());
  }

  /** Tells the source that nothing more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
