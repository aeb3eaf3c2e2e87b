/** Zip archives: a strict reader and an ordered, reproducible writer. */
export * from "./entry.ts";
export { findExtra } from "./directory.ts";
export { findZipEnd, type ZipEnd } from "./find-end.ts";
export * from "./layout.ts";
export { zipNameProblem } from "./name.ts";
export * from "./read.ts";
export * from "./write.ts";
