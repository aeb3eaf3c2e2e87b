/**
 * Raw inflate in memory and in streams, over pako: what imgdiff and the container openers need beside the `Codecs` port,
 * namely where a deflate stream ends inside a larger file. Output is bounded before it is gathered.
 */
import { Inflate } from "pako";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";

/** What pako keeps of zlib's stream state; public in its sources, absent from its types. */
interface InflateState {
  readonly strm: { readonly avail_in: number };
  readonly ended: boolean;
}

/** pako gathers output in pieces of this size; also the largest overshoot past a limit. */
const PIECE = 64 * 1024;

class Overflow extends Error {}

/** An inflated stream and how many input bytes it took. */
export interface Inflated {
  readonly data: Uint8Array;
  readonly used: number;
}

class RawInflater {
  readonly #inflate: Inflate;
  readonly #parts: Uint8Array[] = [];
  size = 0;

  constructor(maxBytes: number) {
    this.#inflate = new Inflate({ raw: true, chunkSize: PIECE });
    this.#inflate.onData = (part) => {
      this.size += part.byteLength;
      if (this.size > maxBytes) throw new Overflow();
      this.#parts.push(part as Uint8Array);
    };
  }

  get #state(): InflateState {
    return this.#inflate as unknown as InflateState;
  }

  /** Whether the deflate stream has ended. */
  get ended(): boolean {
    return this.#state.ended;
  }

  /** Gives the bytes used of `input`, or undefined when it is no deflate stream. @throws Overflow */
  push(input: Uint8Array): number | undefined {
    this.#inflate.push(input, false);
    return Number(this.#inflate.err) === 0 ? input.length - this.#state.strm.avail_in : undefined;
  }

  output(): Uint8Array {
    if (this.#parts.length === 1) return this.#parts[0] as Uint8Array;
    const out = new Uint8Array(this.size);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

/**
 * The raw deflate stream that begins at `bytes[0]`; bytes behind its end are not touched.
 * @returns undefined when there is none, it is cut short, or it gives more than `maxBytes`
 */
export function inflateRawPrefix(bytes: Uint8Array, maxBytes: number): Inflated | undefined {
  const inflater = new RawInflater(maxBytes);
  try {
    const used = inflater.push(bytes);
    if (used === undefined || !inflater.ended) return undefined;
    return { data: inflater.output(), used };
  } catch (e) {
    if (e instanceof Overflow) return undefined;
    throw e;
  }
}

/**
 * The raw deflate stream whose bytes `next` gives piece by piece; it is asked with the number of bytes given so far, and gives
 * nothing more by an empty piece.
 * @returns without `data` when there is none, it is cut short, or it gives more than `maxBytes`; `size` is what came out until then
 */
export async function inflateRawFrom(
  next: (done: number) => Promise<Uint8Array>,
  maxBytes: number,
): Promise<{ readonly data?: Uint8Array; readonly size: number; readonly used: number }> {
  const inflater = new RawInflater(maxBytes);
  let done = 0;
  try {
    while (!inflater.ended) {
      const piece = await next(done);
      const used = piece.length === 0 ? undefined : inflater.push(piece);
      if (used === undefined) return { size: inflater.size, used: done };
      done += used;
    }
  } catch (e) {
    if (!(e instanceof Overflow)) throw e;
    return { size: inflater.size, used: done };
  }
  return { data: inflater.output(), size: inflater.size, used: done };
}

/**
 * Inflates a raw deflate stream that must fill `input` and give exactly `size` bytes.
 * @param where named in errors
 * @throws OtaError CODEC_DAMAGED, CODEC_BOMB
 */
export async function inflateRawExactly(input: ByteStream, size: number, where: string): Promise<Uint8Array> {
  const inflater = new RawInflater(size);
  try {
    for await (const chunk of input) {
      if (inflater.ended) {
        throw new OtaError("CODEC_DAMAGED", { what: "bytes behind the end of a deflate stream", where });
      }
      const used = inflater.push(chunk);
      if (used === undefined) throw new OtaError("CODEC_DAMAGED", { what: "deflate stream is damaged", where });
      if (inflater.ended && used < chunk.length) {
        throw new OtaError("CODEC_DAMAGED", { what: "bytes behind the end of a deflate stream", where });
      }
    }
  } catch (e) {
    if (!(e instanceof Overflow)) throw e;
    throw new OtaError("CODEC_BOMB", {
      what: "deflate stream expands beyond its declared size",
      where,
      expected: size,
    });
  }
  if (!inflater.ended) throw new OtaError("CODEC_DAMAGED", { what: "deflate stream is cut short", where });
  if (inflater.size !== size) {
    throw new OtaError("CODEC_DAMAGED", {
      what: "deflate stream expands to another size than declared",
      where,
      expected: size,
      found: inflater.size,
    });
  }
  return inflater.output();
}
