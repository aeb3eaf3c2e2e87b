/** The patch maker that packing commands use: the delta engine, started when the first patch is wanted. */
import type { Cancel, RandomReader } from "../core/ports.ts";
import type { DeltaEngine } from "../delta/engine.node.ts";
import type { PatchMaker } from "../sigmastar/records.ts";

/** The maker, and how to end its workers. Nothing is loaded before the first patch. */
export function lazyPatchMaker(signal?: Cancel): PatchMaker & { close(): Promise<void> } {
  let engine: DeltaEngine | undefined;
  return {
    async bsdiff40(old: RandomReader, fresh: RandomReader) {
      if (engine === undefined) {
        const { createDeltaEngine } = await import("../delta/engine.node.ts");
        engine = createDeltaEngine();
      }
      return engine.bsdiff40(old, fresh, signal === undefined ? {} : { signal });
    },
    async close() {
      await engine?.close();
    },
  };
}
