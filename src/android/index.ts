/** `otaforge/android`: packages for Android recoveries, made, checked, installed. Pure; what needs Node is in `*.node.ts`. */
export * from "./block/index.ts";
export * from "./edify/index.ts";
export * from "./payload/index.ts";
export * from "./releasetools/index.ts";
export { memoryScratch, scratchReader, type OpenScratch, type Scratch } from "./scratch.ts";
export * from "./signing/index.ts";
export * from "./target-files/index.ts";
export * from "./verifier/index.ts";
export * from "./updater/index.ts";
export { applyPatch, checkPatchSource } from "./applypatch/apply.ts";
export type { PatchChoice, PatchContext, PatchRequest } from "./applypatch/apply.ts";
export { runApplyPatch } from "./applypatch/command.ts";
export * from "./install/index.ts";
export * from "./payload-install/index.ts";
export * from "./recovery/index.ts";
