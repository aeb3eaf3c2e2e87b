/** `otaforge/sigmastar`: SigmaStar OTA packages (`SStarOta.bin`), generations v0.2, v0.3, v0.4 and v1.6. */
export * from "./integrity.ts";
export * from "./layout.ts";
export * from "./read.ts";
