/** `otaforge/core`: bytes, declared layouts, typed errors, ports, checksums and the progress model. Pure: runs anywhere. */
export * from "./bytes.ts";
export * from "./checksums.ts";
export * from "./edits.ts";
export * from "./errors.ts";
export * from "./layout.ts";
export * from "./ports.ts";
export * from "./progress.ts";
export * from "./streams.ts";
export * from "./text.ts";
export * from "./zip/index.ts";
