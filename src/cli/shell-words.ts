/** Words of a text as a shell would split it: blanks, both quotes, backslash. Nothing is replaced. */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";

/** @throws OtaError USAGE where a quote is left open */
export function splitWords(text: string, where: string): string[] {
  const words: string[] = [];
  const word = /(?:[^\s"'\\]|\\[^]|"(?:[^"\\]|\\[^])*"|'[^']*')+|\s+/y;
  while (word.lastIndex < text.length) {
    const at = word.lastIndex;
    const found = word.exec(text)?.[0];
    if (found === undefined) {
      throw new OtaError("USAGE", {
        what: "a quote or backslash is left open",
        where,
        found: printable(text.slice(at)),
      });
    }
    if (/^\s/.test(found)) continue;
    words.push(
      found.replace(/"((?:[^"\\]|\\[^])*)"|'([^']*)'|\\([^])/g, (_, double?: string, single?: string, one?: string) =>
        double === undefined ? (single ?? one ?? "") : double.replace(/\\(["\\$`])/g, "$1"),
      ),
    );
  }
  return words;
}
