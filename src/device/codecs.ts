/** Compression of the platform: node:zlib and a WebAssembly xz reader. */
import {
  constants,
  crc32,
  createBrotliCompress,
  createBrotliDecompress,
  createDeflateRaw,
  createInflateRaw,
} from "node:zlib";
import type { BrotliCompress, DeflateRaw } from "node:zlib";
import type { ByteStream, Codecs } from "../core/index.ts";
import { deflateLevel, gzipHeader, gzipTrailer, readGzip } from "./gzip.ts";
import { InputSource, SMALL_INPUT, bomb, damaged, inflateSmall, runEngine } from "./inflate.ts";

async function* compress(engine: BrotliCompress | DeflateRaw, input: ByteStream): ByteStream {
  const feeding = (async () => {
    for await (const chunk of input) {
      if (engine.destroyed) return;
      if (!engine.write(chunk)) {
        await new Promise<void>((resolve) => {
          const done = (): void => {
            engine.off("drain", done).off("close", done);
            resolve();
          };
          engine.on("drain", done).on("close", done);
        });
      }
    }
    engine.end();
  })();
  feeding.catch((e: unknown) => engine.destroy(e instanceof Error ? e : new Error(String(e))));
  try {
    for await (const chunk of engine as AsyncIterable<Uint8Array>) yield chunk;
    await feeding;
  } finally {
    engine.destroy();
  }
}

async function* gzip(input: ByteStream, level = 9): ByteStream {
  const used = deflateLevel(level);
  yield gzipHeader(used);
  let crc = 0;
  let size = 0;
  const counted = async function* (): ByteStream {
    for await (const chunk of input) {
      crc = crc32(chunk, crc);
      size += chunk.length;
      yield chunk;
    }
  };
  yield* compress(createDeflateRaw({ level: used, chunkSize: 65536 }), counted());
  yield gzipTrailer(crc, size);
}

async function* refuseRest(source: InputSource): ByteStream {
  if ((await source.next()) !== undefined) throw damaged("garbage behind the compressed data");
  yield* [];
}

async function* inflateRaw(input: ByteStream, maxBytes: number): ByteStream {
  const source = new InputSource(input);
  try {
    const all = await source.takeAllIfSmall(SMALL_INPUT);
    const small = all === undefined ? undefined : inflateSmall(all, maxBytes);
    if (all !== undefined) source.unread(small === undefined ? all : all.subarray(small.used));
    if (small === undefined) yield* runEngine(createInflateRaw({ chunkSize: 65536 }), source, maxBytes);
    else if (small.output.length > 0) yield small.output;
    yield* refuseRest(source);
  } finally {
    await source.close();
  }
}

async function* brotliDecompress(input: ByteStream, maxBytes: number): ByteStream {
  const source = new InputSource(input);
  try {
    yield* runEngine(createBrotliDecompress({ chunkSize: 65536 }), source, maxBytes);
    yield* refuseRest(source);
  } finally {
    await source.close();
  }
}

async function* xzDecompress(input: ByteStream, maxBytes: number): ByteStream {
  // Loaded when needed: compiling its WebAssembly would cost every start of every command.
  // A CommonJS module: Node gives its exports as the default one, bundlers and test runners by name as well.
  const module = await import("xz-decompress");
  const { XzReadableStream } = "XzReadableStream" in module ? module : (module as { default: typeof module }).default;
  const iterator = input[Symbol.asyncIterator]();
  let failure: unknown;
  const compressed = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const step = await iterator.next();
        if (step.done === true) controller.close();
        else controller.enqueue(step.value);
      } catch (e) {
        failure = e;
        controller.error(e);
      }
    },
  });
  const reader = (new XzReadableStream(compressed) as ReadableStream<Uint8Array>).getReader();
  let out = 0;
  try {
    for (;;) {
      const step = await reader.read().catch((e: unknown) => {
        throw failure === undefined ? damaged("xz data is damaged or cut short", e) : (failure as Error);
      });
      if (step.done) return;
      out += step.value.length;
      if (out > maxBytes) throw bomb(maxBytes);
      if (step.value.length > 0) yield step.value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
    await iterator.return?.();
  }
}

/** {@link Codecs} of this platform. */
export const nodeCodecs: Codecs = {
  inflateRaw,
  gunzip: readGzip,
  gzip,
  deflateRaw: (input, level = 9) => compress(createDeflateRaw({ level: deflateLevel(level), chunkSize: 65536 }), input),
  brotliDecompress,
  brotliCompress: (input) => compress(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }), input),
  xzDecompress,
};
