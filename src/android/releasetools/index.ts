/** Making packages from target files. */
export { patchMakerOf } from "./delta-patches.ts";
export * from "./extension.ts";
export { hasRecoveryPatch, makeFull71, makeIncremental71, type Files71Options } from "./files71.ts";
export { makeFull } from "./full.ts";
export { makeIncremental } from "./incremental.ts";
export type { Identity, OemSettings } from "./identity.ts";
export type { MadePackage, MakeOptions } from "./options.ts";
export type { PackagePlan, PlannedEntry } from "./package-plan.ts";
export type { PatchMaker } from "./patches.ts";
export { writePlan, type WriteOptions } from "./write-package.ts";
export type { Script } from "./script.ts";
