/** Memory for applying patches. A package applies hundreds of small ones, and 33 MiB of fresh memory each keep the collector busy. */
import { PATCH_MEMORY_SIZE } from "../../delta/bsdiff40/streams.ts";
import { createCore, type Core } from "../../delta/core.ts";
import type { ByteStream } from "../../core/ports.ts";

/** The one that nobody uses now. It holds nothing between two patches. */
let idle: Core | undefined;

/** A patch's stream over a borrowed core, which is given back with the stream's end. */
export async function* withScratchCore(open: (core: Core) => ByteStream): ByteStream {
  const core = idle ?? createCore(PATCH_MEMORY_SIZE);
  idle = undefined;
  try {
    yield* open(core);
  } finally {
    idle = core;
  }
}
