/** Installing packages on a device: admission, script packages. */
export { checkBattery, checkSignature, LOW_BATTERY, openUpdateZip, raiseFloor } from "./admission.ts";
export type { Battery } from "./admission.ts";
export { admitPackage, installUpdateZip } from "./install.ts";
export type { AndroidInstallOptions, AndroidInstallReport } from "./install.ts";
export { parseMetadata, readMetadata } from "./metadata.ts";
export type { PackageMetadata } from "./metadata.ts";
