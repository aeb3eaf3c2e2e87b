/** Which release a script was made for, when nobody says. */
import { calls } from "../edify/ast.ts";
import type { EdifyEra } from "../edify/ast.ts";
import { UPDATER_FUNCTION_NAMES } from "../edify/function-names.ts";
import { parseEdify } from "../edify/parser.ts";

/**
 * Looks at the functions a script uses, the arguments of `get_stage` and the error numbers in its messages. A script that
 * says nothing, or does not parse, is taken for 7.1.
 */
export function guessEra(script: Uint8Array): EdifyEra {
  const { root } = parseEdify(script, { era: "7.1" });
  if (root === undefined) return "7.1";
  const found = calls(root);
  const uses = (era: EdifyEra): boolean => {
    const other = era === "4.4" ? "7.1" : "4.4";
    return found.some(({ name }) => UPDATER_FUNCTION_NAMES[era].has(name) && !UPDATER_FUNCTION_NAMES[other].has(name));
  };
  if (uses("4.4")) return "4.4";
  if (uses("7.1")) return "7.1";
  const stages = found.filter(({ name }) => name === "get_stage");
  if (stages.some(({ args }) => args.length === 2)) return "4.4";
  if (stages.length > 0) return "7.1";
  const messages = found.filter(({ name }) => name === "abort").map(({ args }) => args[0]);
  if (messages.length === 0) return "7.1";
  return messages.some((m) => leftmost(m) !== undefined && /^E\d{1,5}: /.test(leftmost(m) as string)) ? "7.1" : "4.4";
}

/** Value of the literal a text begins with. */
function leftmost(node: ReturnType<typeof calls>[number]["args"][number] | undefined): string | undefined {
  let at = node;
  while (at?.kind === "operator") at = at.args[0];
  return at?.kind === "literal" ? at.value : undefined;
}
