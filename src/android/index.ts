export {};
export * from "./edify/index.ts";
