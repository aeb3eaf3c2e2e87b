/** edify: parser, evaluator, builtins and explainer. */
export * from "./ast.ts";
export * from "./builtins.ts";
export * from "./evaluate.ts";
export { parseEdify, parseErrorLines, type ParseOptions } from "./parser.ts";
export * from "./run.ts";
export * from "./explain.ts";
export * from "./function-names.ts";
