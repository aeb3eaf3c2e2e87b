/** One expression from text to outcome: what `otaforge edify` prints. */
import type { EdifyEra } from "./ast.ts";
import { edifyBuiltins } from "./builtins.ts";
import { EdifyAbort, evaluateEdify } from "./evaluate.ts";
import { parseEdify } from "./parser.ts";

/** Outcome of an expression; texts are byte strings. */
export type EdifyOutcome =
  | { readonly status: "ok"; readonly result: string; readonly stdout?: string }
  | { readonly status: "abort"; readonly message?: string; readonly stdout?: string }
  | { readonly status: "parse_error"; readonly line: number; readonly column: number; readonly message: string };

/** Parses and evaluates with the builtins alone, as the interpreter's own test program does. Never throws. */
export async function runExpression(
  source: Uint8Array | string,
  options: { readonly era: EdifyEra; readonly vendorCompatible?: boolean },
): Promise<EdifyOutcome> {
  const printed: string[] = [];
  const { era } = options;
  const functions = edifyBuiltins({ era, stdout: (text) => printed.push(text) });
  const script = parseEdify(source, {
    era,
    knows: (name) => functions.has(name),
    vendorCompatible: options.vendorCompatible ?? false,
  });
  const first = script.errors[0];
  if (first !== undefined || script.root === undefined) {
    return {
      status: "parse_error",
      line: first?.line ?? 1,
      column: first?.column ?? 1,
      message: first?.message ?? "syntax error",
    };
  }
  const stdout = (): { stdout?: string } => (printed.length === 0 ? {} : { stdout: printed.join("") });
  try {
    return { status: "ok", result: await evaluateEdify(script, functions, era), ...stdout() };
  } catch (e) {
    if (!(e instanceof EdifyAbort)) throw e;
    return { status: "abort", ...(e.text === undefined ? {} : { message: e.text }), ...stdout() };
  }
}
