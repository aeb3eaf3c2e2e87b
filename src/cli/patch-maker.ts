/** The patch maker that packing commands use: the delta engine, started when the first patch is wanted. */
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import type { PatchMaker } from "../sigmastar/records.ts";

type MakeBsdiff40 = (oldBytes: Uint8Array, newBytes: Uint8Array) => Uint8Array;

/** @returns the maker and how to end its workers; nothing is loaded before the first patch. */
export function lazyPatchMaker(): PatchMaker & { close(): Promise<void> } {
  return {
    async bsdiff40(old: RandomReader, fresh: RandomReader) {
      const delta = (await import("../delta/index.ts")) as { makeBsdiff40?: MakeBsdiff40 };
      if (delta.makeBsdiff40 === undefined) throw new OtaError("UNSUPPORTED", "this build makes no patches");
      return delta.makeBsdiff40(await old.read(0, old.size), await fresh.read(0, fresh.size));
    },
    async close() {},
  };
}
