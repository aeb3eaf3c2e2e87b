/** The device side of SigmaStar packages: checking, installing, resuming. */
export type { ContentDigest } from "./device-state.ts";
export type { Scratch } from "./context.ts";
export { installSigmastar } from "./install.ts";
export type { InstallOptions, InstallResult, ScriptOutcome, TargetResult } from "./install.ts";
export { verifySource } from "./package-source.ts";
export type { PackageSource, VerifiedPackage, VerifiedRecord, VerifyOptions } from "./package-source.ts";
export type { AccessCallback, PromisedDifference } from "./plan.ts";
