/** What families take to make patches: a port, because the fast engine needs threads. */
import type { Cancel, ProgressEvent, RandomReader } from "../core/ports.ts";
import { findCovers, makeBsdiff40 } from "./bsdiff40/make.ts";
import type { Effort } from "./bsdiff40/plan.ts";
import type { CoverList } from "./cover-list.ts";
import type { BlockEncoder } from "./forge/block-encoder.ts";
import { makeImgdiff2 } from "./imgdiff/make.ts";

export interface DeltaOptions {
  /** Default: `default`. */
  readonly effort?: Effort;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

export interface ImgdiffOptions extends DeltaOptions {
  /** Both inputs are zip archives (`imgdiff -z`). */
  readonly zip?: boolean;
  /** Bytes the device appends to the source of chunk 1. */
  readonly bonus?: Uint8Array;
}

/** Makes patches. Output depends on the inputs and the effort alone, never on threads. */
export interface DeltaMaker {
  /** @throws OtaError DELTA_TOO_LARGE, CANCELLED */
  bsdiff40(old: RandomReader, fresh: RandomReader, options?: DeltaOptions): Promise<Uint8Array>;
  /** @throws OtaError DELTA_TOO_LARGE, CANCELLED, IMGDIFF_STRUCTURE, IMGDIFF_NOT_ZIP, IMGDIFF_BONUS */
  imgdiff2(old: RandomReader, fresh: RandomReader, options?: ImgdiffOptions): Promise<Uint8Array>;
  /** The covers of two files, as `bsdiff40` uses them: what an `otaforge` delta begins with. @throws OtaError CANCELLED */
  covers(old: RandomReader, fresh: RandomReader, options?: DeltaOptions): Promise<CoverList>;
  /** Codes blocks of `otaforge` deltas on threads of its own, where it has any. */
  readonly blockEncoder?: BlockEncoder;
  /** Says that blocks will be coded soon: threads may begin. */
  readonly prepare?: () => void;
}

/** A maker on the caller's own thread, in plain TypeScript: slow, and at home everywhere. */
export function createPlainMaker(): DeltaMaker {
  return {
    async bsdiff40(old, fresh, options = {}) {
      return makeBsdiff40(await old.read(0, old.size), await fresh.read(0, fresh.size), options);
    },
    async covers(old, fresh, options = {}) {
      return findCovers(await old.read(0, old.size), await fresh.read(0, fresh.size), options);
    },
    async imgdiff2(old, fresh, options = {}) {
      const { zip, bonus, signal, ...rest } = options;
      const bsdiffOptions = { ...rest, ...(signal === undefined ? {} : { signal }) };
      return makeImgdiff2(await old.read(0, old.size), await fresh.read(0, fresh.size), {
        bsdiff: (from, to) => makeBsdiff40(from, to, bsdiffOptions),
        ...(zip === undefined ? {} : { zip }),
        ...(bonus === undefined ? {} : { bonus }),
        ...(signal === undefined ? {} : { signal }),
      });
    },
  };
}
