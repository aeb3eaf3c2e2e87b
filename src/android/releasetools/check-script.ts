/** Checks the finished script, and the names it goes with, before a byte of the package is written. */
import { OtaError } from "../../core/errors.ts";
import { encodeText, printable } from "../../core/text.ts";
import type { EdifyEra } from "../edify/ast.ts";
import { UPDATER_FUNCTION_NAMES } from "../edify/function-names.ts";
import { parseEdify } from "../edify/parser.ts";

export interface CheckScriptOptions {
  readonly era: EdifyEra;
  /** `vendor` warns of a broken script and lets it pass, as the original does. */
  readonly profile: "safe" | "vendor";
  /** The text of `-e`, named in the error when the mistake is in it. */
  readonly extraScript?: string | undefined;
  note(level: "info" | "warning", text: string): void;
}

function syntaxError(where: string, message: string): OtaError {
  return new OtaError("ANDROID_SCRIPT", {
    what: "the script is not valid edify, and a device would not run any of it",
    where,
    found: printable(message),
  });
}

/** The text of `-e` by itself, before anything is made. @throws OtaError ANDROID_SCRIPT */
export function checkExtraScript(text: string | undefined, era: EdifyEra): void {
  if (text === undefined) return;
  // Between statements, as in a package: comments alone are no script but may stand there, and a last semicolon must not lack.
  const first = parseEdify(encodeText(`1;\n${text}\n1;\n`), { era }).errors[0];
  if (first === undefined) return;
  const lines = text.split("\n").length;
  const where = first.line - 1 > lines ? "its end" : `line ${first.line - 1} column ${first.column}`;
  throw syntaxError(`extra script ${where}`, first.message);
}

/** @throws OtaError ANDROID_SCRIPT */
export function checkScript(script: string, options: CheckScriptOptions): void {
  const { era, extraScript } = options;
  const first = parseEdify(encodeText(script), { era }).errors[0];
  if (first !== undefined) {
    const own = extraScript === undefined ? undefined : parseEdify(encodeText(`${extraScript}\n`), { era }).errors[0];
    const at = own ?? first;
    const where = `${own === undefined ? "updater-script" : "extra script"} line ${at.line} column ${at.column}`;
    if (options.profile === "safe") throw syntaxError(where, at.message);
    options.note("warning", `${where}: ${at.message}: a device will not run any of this script`);
    return;
  }
  // A device's own updater may know more functions: only the one in the package can tell.
  const known = UPDATER_FUNCTION_NAMES[era];
  const unknown = new Set<string>();
  parseEdify(encodeText(script), {
    era,
    knows(name) {
      if (!known.has(name)) unknown.add(name);
      return true;
    },
  });
  for (const name of unknown) {
    options.note("warning", `the script calls ${printable(name)}(), which the ${era} updater does not know`);
  }
}

/** Warns of names that the devices of a release cannot read: the 4.4 updater opens no package with one of them (section 5.4). */
export function checkNames(names: readonly string[], { era, note }: Pick<CheckScriptOptions, "era" | "note">): void {
  const unread = era === "4.4" ? names.filter((name) => /[^\x20-\x7e]/.test(name)) : [];
  const [first] = unread;
  if (first === undefined) return;
  const more = unread.length === 1 ? "" : ` and ${unread.length - 1} more`;
  note("warning", `${printable(first)}${more}: no 4.4 device opens a package with names beyond ASCII`);
}
