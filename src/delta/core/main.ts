/** Everything the core exports: the entry that AssemblyScript compiles, and what `core.ts` wraps. */
export * from "./bzip2-decode.ts";
export * from "./bzip2-encode.ts";
export * from "./bzip2-cut.ts";
