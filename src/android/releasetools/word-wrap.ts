/** Line breaking of long statements, to the byte as the original tool does it (formats/android.md 2.2). */

/** Marks a place where a statement may be broken; an unused mark becomes one blank. */
export const BREAK = "\0";

const LINE = 80;

/**
 * Repeatedly takes the longest prefix of at most 80 - indent characters (marks counted) that a mark follows; where there is
 * none, the text up to the first mark. Lines behind the first are indented to the first parenthesis.
 */
export function wordWrap(statement: string): string {
  const indent = statement.indexOf("(") + 1;
  const room = LINE - indent;
  const lines: string[] = [];
  let rest = statement;
  for (;;) {
    let mark = rest.lastIndexOf(BREAK, room);
    if (mark < 0) mark = rest.indexOf(BREAK);
    if (mark < 0) break;
    lines.push(rest.slice(0, mark));
    rest = rest.slice(mark + 1);
  }
  lines.push(rest);
  return lines.join(`\n${" ".repeat(indent)}`).replaceAll(BREAK, " ");
}
