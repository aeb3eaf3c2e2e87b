/** The package maker's patches over a delta engine. */
import { isOtaError } from "../../core/errors.ts";
import type { Cancel } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import type { DeltaMaker } from "../../delta/maker.ts";
import type { PatchMaker } from "./patches.ts";

/** Files without common structure: there is no imgdiff between them, and that is no failure. */
const NO_PATCH: ReadonlySet<string> = new Set(["IMGDIFF_STRUCTURE", "IMGDIFF_NOT_ZIP"]);

/** @param jobs how many patches are asked for at once: at least the engine's threads */
export function patchMakerOf(delta: DeltaMaker, jobs: number, signal?: Cancel): PatchMaker {
  const options = signal === undefined ? {} : { signal };
  return {
    jobs,
    bsdiff: (source, target) => delta.bsdiff40(memoryReader(source), memoryReader(target), options),
    async imgdiff(source, target, how) {
      try {
        return await delta.imgdiff2(memoryReader(source), memoryReader(target), { ...options, ...how });
      } catch (e) {
        if (isOtaError(e) && NO_PATCH.has(e.code)) return undefined;
        throw e;
      }
    },
  };
}
