/**
 * Decompression over node:zlib that knows exactly where the compressed data ends: needed for several gzip members, for trailing
 * garbage (which node:zlib ignores) and for limits. Small inputs are inflated in one synchronous call, because a rehearsal
 * does it thousands of times and the asynchronous path costs a thread switch a chunk.
 */
import { inflateRawSync } from "node:zlib";
import type { BrotliDecompress, InflateRaw } from "node:zlib";
import { OtaError, concatBytes, formatBytes } from "../core/index.ts";
import type { ByteStream } from "../core/index.ts";
import { systemCode } from "./system-errors.ts";

/** Input up to this size is gathered and inflated at once, bytes. */
export const SMALL_INPUT = 1 << 20;
/** Output up to this size is made at once, bytes. */
export const SMALL_OUTPUT = 8 << 20;

export function damaged(what: string, cause?: unknown): OtaError {
  return new OtaError("CODEC_DAMAGED", { what }, cause);
}

export function bomb(maxBytes: number): OtaError {
  return new OtaError("CODEC_BOMB", {
    what: "compressed data expands beyond its limit",
    expected: `at most ${maxBytes} bytes (${formatBytes(maxBytes)})`,
  });
}

/** Compressed input from which bytes can be put back. */
export class InputSource {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #rest: Uint8Array | undefined;
  #ended = false;

  constructor(input: ByteStream) {
    this.#iterator = input[Symbol.asyncIterator]();
  }

  async next(): Promise<Uint8Array | undefined> {
    const rest = this.#rest;
    if (rest !== undefined) {
      this.#rest = undefined;
      return rest;
    }
    while (!this.#ended) {
      const step = await this.#iterator.next();
      if (step.done === true) this.#ended = true;
      else if (step.value.length > 0) return step.value;
    }
    return undefined;
  }

  unread(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#rest = this.#rest === undefined ? bytes : concatBytes(bytes, this.#rest);
  }

  /** Exactly `length` bytes, fewer at the end of the input. */
  async take(length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let have = 0; have < length;) {
      const chunk = await this.next();
      if (chunk === undefined) break;
      const part = chunk.subarray(0, length - have);
      this.unread(chunk.subarray(part.length));
      parts.push(part);
      have += part.length;
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts);
  }

  /** Everything that is left, when it is at most `limit` bytes; otherwise it is put back. */
  async takeAllIfSmall(limit: number): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = [];
    let have = 0;
    for (let chunk = await this.next(); chunk !== undefined; chunk = await this.next()) {
      parts.push(chunk);
      have += chunk.length;
      if (have > limit) {
        this.unread(concatBytes(...parts));
        return undefined;
      }
    }
    return parts.length === 1 ? parts[0] : concatBytes(...parts);
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}

type Engine = InflateRaw | BrotliDecompress;

/** Runs one compressed stream through `engine`; what lies behind its end is put back into `source`. */
export async function* runEngine(engine: Engine, source: InputSource, maxBytes: number): ByteStream {
  let ended = false;
  let failure: unknown;
  engine.once("end", () => (ended = true));
  engine.once("error", (e) => (failure = e));
  const feeding = (async () => {
    let fed = 0;
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
      const bytes = chunk;
      await new Promise<void>((resolve) => {
        const done = (): void => resolve();
        engine.once("close", done);
        engine.write(bytes, () => {
          engine.off("close", done);
          resolve();
        });
      });
      if (failure !== undefined || engine.destroyed) return;
      const used = Math.min(bytes.length, engine.bytesWritten - fed);
      fed += bytes.length;
      // The engine leaves input alone only when its stream has ended; whether `end` was told already is a matter of timing.
      if (used < bytes.length || ended) {
        source.unread(bytes.subarray(used));
        break;
      }
    }
    engine.end();
  })();
  feeding.catch((e: unknown) => engine.destroy(e instanceof Error ? e : new Error(String(e))));
  let out = 0;
  try {
    for await (const chunk of engine as AsyncIterable<Uint8Array>) {
      out += chunk.length;
      if (out > maxBytes) throw bomb(maxBytes);
      yield chunk;
    }
    await feeding;
  } catch (e) {
    const code = systemCode(e);
    if (code !== undefined && (code.startsWith("Z_") || code.startsWith("ERR_"))) {
      throw damaged(code === "Z_BUF_ERROR" ? "compressed data is cut short" : "compressed data is damaged", e);
    }
    throw e;
  } finally {
    engine.destroy();
  }
}

/** The whole of one raw deflate stream at once, with the number of input bytes it took; undefined when it is not small. */
export function inflateSmall(
  bytes: Uint8Array,
  maxBytes: number,
): { readonly output: Uint8Array; readonly used: number } | undefined {
  const limit = Math.min(maxBytes, SMALL_OUTPUT);
  try {
    // `info` is documented; the types know only the plain result.
    const { buffer, engine } = inflateRawSync(bytes, {
      info: true,
      maxOutputLength: Math.max(1, limit),
    }) as unknown as { buffer: Uint8Array; engine: InflateRaw };
    if (buffer.length > maxBytes) throw bomb(maxBytes);
    return { output: buffer, used: engine.bytesWritten };
  } catch (e) {
    if (e instanceof OtaError) throw e;
    const code = systemCode(e);
    if (code === "ERR_BUFFER_TOO_LARGE") {
      if (limit === maxBytes) throw bomb(maxBytes);
      return undefined;
    }
    throw damaged(code === "Z_BUF_ERROR" ? "compressed data is cut short" : "compressed data is damaged", e);
  }
}
