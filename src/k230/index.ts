/** Canaan/Kendryte K230: kdimg images, the card's table of contents and version blocks, the loader's choice, A/B updates. */
export * from "./card.ts";
export * from "./delta-image.ts";
export * from "./explain-boot.ts";
export * from "./firmware.ts";
export * from "./health.ts";
export * from "./install-state.ts";
export * from "./installable.ts";
export * from "./judge.ts";
export * from "./kdimg.ts";
export * from "./layouts.ts";
export * from "./make-delta.ts";
export * from "./mbr.ts";
export * from "./ota-meta.ts";
export * from "./ota.ts";
export * from "./scan.ts";
export * from "./toc.ts";
export * from "./vendor-driver.ts";
