/**
 * The grammar of genimage configurations as the K230's packer reads it: one thing a line, `#` starts a comment anywhere,
 * sections `TYPE [NAME] {` … `}`, options `key = value`, and `include("file")` where genimage has it, at the beginning of any line.
 */
import { printable } from "../../core/text.ts";
import { configError } from "./values.ts";
import type { Place } from "./values.ts";

export interface Option {
  readonly value: string;
  readonly place: Place;
}

export interface Section {
  readonly type: string;
  /** Empty for a section without a name. */
  readonly name: string;
  readonly place: Place;
  readonly options: Map<string, Option>;
  readonly sections: Section[];
}

/** Gives the text of an included file; undefined when it is not there. `from` is the including file. */
export type Includer = (name: string, from: string) => Promise<{ file: string; text: string } | undefined>;

/** Deeper nesting of includes is a loop. */
const MAX_INCLUDES = 16;

const OPEN = /^([A-Za-z][\w-]*)(?:\s+("[^"]*"|'[^']*'|[^\s{"']+))?\s*\{$/;
const ASSIGN = /^([A-Za-z][\w-]*)\s*=\s*(.*)$/;
const INCLUDE = /^include\s*\(\s*("[^"]*"|'[^']*'|[^\s)]+)\s*\)$/;

function unquote(text: string): string {
  const first = text[0];
  return text.length >= 2 && (first === '"' || first === "'") && text.endsWith(first) ? text.slice(1, -1) : text;
}

/**
 * The sections of a configuration.
 * @throws OtaError K230_CONFIG naming file and line
 */
export async function parseConfig(text: string, file: string, include?: Includer): Promise<Section[]> {
  const root: Section = { type: "", name: "", place: { file, line: 0 }, options: new Map(), sections: [] };
  const open = [root];
  await parseLines(text, file, open, { include, depth: 0 });
  const last = open.at(-1) as Section;
  if (open.length > 1) throw configError(last.place, `section ${last.type} is never closed`, { expected: "}" });
  for (const [key, { place }] of root.options) throw configError(place, `option ${key} stands outside of any section`);
  return root.sections;
}

interface Context {
  readonly include: Includer | undefined;
  readonly depth: number;
}

async function parseLines(text: string, file: string, open: Section[], context: Context): Promise<void> {
  const lines = text.split("\n");
  for (const [index, line] of lines.entries()) {
    const place = { file, line: index + 1 };
    const code = (line.split("#", 1)[0] as string).trim().replace(/;$/, "").trim();
    if (code === "") continue;
    const include = INCLUDE.exec(code);
    if (include === null) parseLine(code, place, open);
    else await parseInclude(unquote(include[1] as string), place, open, context);
  }
}

async function parseInclude(name: string, place: Place, open: Section[], context: Context): Promise<void> {
  if (context.depth >= MAX_INCLUDES)
    throw configError(place, "includes are nested too deeply", { found: printable(name) });
  const found = await context.include?.(name, place.file);
  if (found === undefined) throw configError(place, "included file is not there", { found: printable(name) });
  await parseLines(found.text, found.file, open, { ...context, depth: context.depth + 1 });
}

function parseLine(code: string, place: Place, open: Section[]): void {
  const current = open.at(-1) as Section;
  if (code === "}") {
    if (open.length === 1) throw configError(place, "closing brace without a section");
    open.pop();
    return;
  }
  const section = OPEN.exec(code);
  if (section !== null) {
    const inner: Section = {
      type: section[1] as string,
      name: unquote(section[2] ?? ""),
      place,
      options: new Map(),
      sections: [],
    };
    current.sections.push(inner);
    open.push(inner);
    return;
  }
  const option = ASSIGN.exec(code);
  if (option === null) {
    throw configError(place, "line is neither a section, an option nor a closing brace", {
      found: printable(code.slice(0, 60)),
      hint: "Every option and every brace stands on its own line.",
    });
  }
  current.options.set(option[1] as string, { value: unquote((option[2] as string).trim()), place });
}
