/** `file_contexts`: which security label a new file gets (SELinux, the format of Android 4.4 to 7.1). */
import { printable } from "../../core/text.ts";

export interface FileContexts {
  /** Label of a path, undefined when none is given. */
  lookup(path: string, kind: "file" | "folder" | "link"): string | undefined;
}

const KIND_FLAGS: Readonly<Record<string, "file" | "folder" | "link">> = { "--": "file", "-d": "folder", "-l": "link" };

interface Rule {
  readonly pattern: RegExp;
  /** A pattern without special characters wins over all others. */
  readonly exact: boolean;
  readonly kind: "file" | "folder" | "link" | undefined;
  readonly label: string | undefined;
}

/** Beginning of compiled rules (`file_contexts.bin` of 7.0 and later), as a byte string. */
const COMPILED = "\x8a\xff\x7c\xf9";

/**
 * Parses a `file_contexts` text. Lines that are none are told to `note` and left out. The last matching rule wins, rules
 * without special characters before all others.
 */
export function parseFileContexts(text: string, note: (line: string) => void): FileContexts {
  if (text.startsWith(COMPILED)) {
    note("file_contexts: compiled rules are not read: new files get the labels that the script sets");
    return { lookup: () => undefined };
  }
  const rules: Rule[] = [];
  for (const line of text.split("\n")) {
    const words = line.trim().split(/[ \t]+/);
    if (words[0] === undefined || words[0] === "" || words[0].startsWith("#")) continue;
    const [source, second, third] = words;
    const kind = third === undefined ? undefined : KIND_FLAGS[second as string];
    const label = third ?? second;
    if (label === undefined || source.length > 1000) {
      note(`file_contexts: no rule: ${printable(line)}`);
      continue;
    }
    let pattern: RegExp;
    try {
      pattern = new RegExp(`^(?:${source})$`);
    } catch {
      note(`file_contexts: no pattern: ${printable(source)}`);
      continue;
    }
    const exact = !/(^|[^\\])[.^$?*+|[({]/.test(source);
    rules.push({ pattern, exact, kind, label: label === "<<none>>" ? undefined : label });
  }
  const ordered = [...rules.filter((r) => !r.exact), ...rules.filter((r) => r.exact)].reverse();
  return {
    lookup(path, kind) {
      return ordered.find((r) => (r.kind === undefined || r.kind === kind) && r.pattern.test(path))?.label;
    },
  };
}
