/** `otaforge/sigmastar`: SigmaStar OTA packages (`SStarOta.bin`), generations v0.2, v0.3, v0.4 and v1.6. */
export * from "./file-system-magic.ts";
export * from "./folders.ts";
export * from "./integrity.ts";
export * from "./layout-listing.ts";
export * from "./layout.ts";
export * from "./numbers.ts";
export * from "./pack-files.ts";
export * from "./pack.ts";
export * from "./read.ts";
export * from "./records.ts";
export * from "./image-ota.ts";
export * from "./partition-config.ts";
export * from "./inspect.ts";
export * from "./install/index.ts";
export * from "./screen/index.ts";
