/** Memory of commands that stream gigabytes on a board. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ProgressSink } from "../core/ports.ts";

/** Bytes between two collections: few enough to matter on a board, many enough to cost nothing (about 1 ms each). */
const EVERY_BYTES = 2 * 1024 * 1024;

/**
 * Bytes beside the heap from which the old heap is collected, too: buffers whose owners were promoted are freed by nothing else.
 * It takes some 10 ms and comes once in tens of megabytes.
 */
const MOST_BESIDE = 12 * 1024 * 1024;

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
