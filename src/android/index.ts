export {};
export * from "./edify/index.ts";
export * from "./verifier/index.ts";
