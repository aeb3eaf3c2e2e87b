/** Making packages from target files. */
export { patchMakerOf } from "./delta-patches.ts";
export * from "./extension.ts";
export type { Options71 } from "./frame71.ts";
export { hasRecoveryPatch, makeFull71 } from "./full71.ts";
export { makeIncremental71 } from "./incremental71.ts";
export { makeFull } from "./full.ts";
export { makeIncremental } from "./incremental.ts";
export type { Identity, OemSettings } from "./identity.ts";
export type { MadePackage, MakeOptions } from "./options.ts";
export type { PackagePlan, PlannedEntry } from "./package-plan.ts";
export type { PatchMaker } from "./patches.ts";
export { writePlan, type WriteOptions } from "./write-package.ts";
export type { Script } from "./script.ts";
