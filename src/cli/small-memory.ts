/** Memory of commands that stream gigabytes on a board. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ByteStream, ProgressSink, RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";

/** Bytes between two collections: few enough to matter on a board, many enough to cost nothing (about 1 ms each). */
const EVERY_BYTES = 2 * 1024 * 1024;

/**
 * Bytes beside the heap from which the old heap is collected, too: buffers whose owners were promoted are freed by nothing else.
 * It takes some 10 ms and comes once in tens of megabytes.
 */
const MOST_BESIDE = 12 * 1024 * 1024;

/** Streams shorter than this are not worth a collector, bytes. */
const WORTH_COLLECTING = 64 * 1024 * 1024;

type Collect = (options: { type: "minor" | "major" }) => void;

function collector(): Collect | undefined {
  try {
    setFlagsFromString("--expose-gc");
    const gc: unknown = runInNewContext("gc");
    return typeof gc === "function" ? (gc as Collect) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A sink that collects garbage every few megabytes. The buffers zlib and files hand out lie beside the heap and are
 * freed only with their tiny owners on it; left alone, V8 lets some 64 MiB of them gather.
 */
export function keepMemorySmall(): ProgressSink {
  const collect = collector();
  let last = 0;
  return {
    progress({ doneBytes }) {
      if (doneBytes < last) last = 0;
      if (doneBytes - last < EVERY_BYTES) return;
      last = doneBytes;
      collect?.({ type: "minor" });
      if (process.memoryUsage().arrayBuffers > MOST_BESIDE) collect?.({ type: "major" });
    },
    note() {},
  };
}

/** {@link streamRange} of a whole reader whose garbage is collected along the way. */
export function streamKept(reader: RandomReader, chunk?: number): ByteStream {
  const stream = streamRange(reader, 0, reader.size, chunk);
  return reader.size < WORTH_COLLECTING ? stream : collected(stream, reader.size);
}

async function* collected(stream: ByteStream, totalBytes: number): ByteStream {
  const sink = keepMemorySmall();
  let doneBytes = 0;
  for await (const chunk of stream) {
    yield chunk;
    doneBytes += chunk.length;
    sink.progress({ phase: "read", doneBytes, totalBytes });
  }
}
