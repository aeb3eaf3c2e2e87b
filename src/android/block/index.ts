/** Block-based packages: planning, making, judging. */
export { mapImage, wholeImage, type MappedFile, type MappedImage } from "./image-map.ts";
export { makeBlockFull, makeBlockIncremental } from "./make.ts";
export { transferVersion, type BlockOptions } from "./partitions.ts";
export {
  newDataOf,
  patchDataOf,
  planBlocks,
  type BlockPlan,
  type KeptPatch,
  type PlanOptions,
  type TransferVersion,
} from "./plan.ts";
export { parseMapRanges, rawText, type Ranges } from "./ranges.ts";
export { simulateUpdate, type SimulatedUpdate, type SimulationResult } from "./simulate.ts";
export { makeVerifyPackage } from "./verify-package.ts";
export { openImage, type BlockImage } from "../images/sparse.ts";
