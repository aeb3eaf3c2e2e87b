/** `otaforge/delta`: binary patches and the codecs they need. Pure; the threaded engine is in `engine.node.ts`. */
export { compressBzip2 } from "./bzip2/compress.ts";
export { decompressBzip2 } from "./bzip2/decompress.ts";
export { applyBsdiff40, checkBsdiff40, type ApplyOptions } from "./bsdiff40/apply.ts";
export { isBsdiff40, readBsdiff40Header, type Bsdiff40Header } from "./bsdiff40/header.ts";
export { makeBsdiff40, type MakeOptions } from "./bsdiff40/make.ts";
export type { Effort } from "./bsdiff40/plan.ts";
export { createPlainMaker, type DeltaMaker, type DeltaOptions, type ImgdiffOptions } from "./maker.ts";
export { applyImgdiff2, type ImgdiffApplyOptions } from "./imgdiff/apply.ts";
export { makeImgdiff2, type BsdiffMaker, type ImgdiffMakeOptions } from "./imgdiff/make.ts";
export { isImgdiff2, readImgdiff2, type ImgdiffChunk } from "./imgdiff/read.ts";
export { CoverList } from "./cover-list.ts";
export { applyForge, openForge, type ForgeApplyOptions, type ForgeDecoder } from "./forge/apply.ts";
export { makeForge, streamParts, type CoverFinder, type ForgeDelta, type ForgeMakeOptions } from "./forge/make.ts";
export { makeOtaforge, makeOtaforgeDelta, type OtaforgeOptions } from "./forge/maker.ts";
export {
  isForgeDelta,
  readForge,
  readForgeHeader,
  type ForgeBlock,
  type ForgePatch,
  type ForgeWindow,
} from "./forge/read.ts";
export { PACKED_WITH, repackerNames } from "./forge/packed-with.ts";
export { insideRepackers, type Repacker } from "./forge/repack.ts";
export type { PackedPart, PartFinder } from "./forge/scan.ts";
export {
  applyInPlace,
  type InPlaceJournal,
  type InPlaceOptions,
  type InPlaceResult,
  type InPlaceState,
} from "./in-place.ts";
export {
  chooseFullOrDelta,
  LARGEST_SHARE,
  patchProven,
  type Attempt,
  type Choice,
  type ChoiceOptions,
  type DeltaFormat,
  type PatchCandidate,
} from "./choice.ts";
