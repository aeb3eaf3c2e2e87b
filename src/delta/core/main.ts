/** Everything the core exports: the entry that AssemblyScript compiles, and what `core.ts` wraps. */
export * from "./bzip2-decode.ts";
export * from "./bzip2-encode.ts";
export * from "./bzip2-cut.ts";
export * from "./candidates.ts";
export * from "./emit.ts";
export * from "./seed-index.ts";
export * from "./select.ts";
export * from "./table-index.ts";
export * from "./work.ts";
export { addBytes } from "./memory.ts";
