/** The text functions of make that partition configurations use, and the helper functions of the vendor's tree. */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";

const words = (text: string): string[] => text.split(/\s+/).filter((w) => w !== "");

/** Whether `word` fits `pattern` with at most one `%`; gives what `%` stands for. */
function stem(pattern: string, word: string): string | undefined {
  const percent = pattern.indexOf("%");
  if (percent < 0) return pattern === word ? "" : undefined;
  const [before, after] = [pattern.slice(0, percent), pattern.slice(percent + 1)];
  const fits = word.length >= before.length + after.length && word.startsWith(before) && word.endsWith(after);
  return fits ? word.slice(before.length, word.length - after.length) : undefined;
}

/** `$(patsubst pattern,replacement,text)`. */
export function patsubst(pattern: string, replacement: string, text: string): string {
  return words(text)
    .map((word) => {
      const inside = stem(pattern, word);
      if (inside === undefined) return word;
      const percent = replacement.indexOf("%");
      return percent < 0 ? replacement : replacement.slice(0, percent) + inside + replacement.slice(percent + 1);
    })
    .join(" ");
}

function filter(patterns: string, text: string, keep: boolean): string {
  const list = words(patterns);
  return words(text)
    .filter((word) => list.some((p) => stem(p, word) !== undefined) === keep)
    .join(" ");
}

function position(text: string, name: string): number {
  const n = text.trim();
  if (!/^[0-9]+$/.test(n))
    throw new OtaError("SIGMASTAR_CONFIG", { what: `$(${name}) needs a number`, found: printable(n) });
  return Number.parseInt(n, 10);
}

const each = (text: string, change: (word: string) => string): string => words(text).map(change).join(" ");
const slash = (word: string): number => word.lastIndexOf("/") + 1;
const dot = (word: string): number => {
  const at = word.lastIndexOf(".");
  return at >= slash(word) && at >= 0 ? at : word.length;
};

type TextFunction = (args: readonly string[]) => string;
const arg = (args: readonly string[], i: number): string => args[i] ?? "";

/** Functions that need nothing but their expanded arguments: `[most arguments, function]`. */
export const TEXT_FUNCTIONS: Readonly<Record<string, readonly [number, TextFunction]>> = {
  subst: [3, (a) => (arg(a, 0) === "" ? arg(a, 2) + arg(a, 1) : arg(a, 2).split(arg(a, 0)).join(arg(a, 1)))],
  patsubst: [3, (a) => patsubst(arg(a, 0).trim(), arg(a, 1).trim(), arg(a, 2))],
  strip: [1, (a) => words(arg(a, 0)).join(" ")],
  findstring: [2, (a) => (arg(a, 1).includes(arg(a, 0)) ? arg(a, 0) : "")],
  filter: [2, (a) => filter(arg(a, 0), arg(a, 1), true)],
  "filter-out": [2, (a) => filter(arg(a, 0), arg(a, 1), false)],
  sort: [1, (a) => [...new Set(words(arg(a, 0)))].sort((x, y) => (x < y ? -1 : 1)).join(" ")],
  word: [2, (a) => words(arg(a, 1))[position(arg(a, 0), "word") - 1] ?? ""],
  words: [1, (a) => String(words(arg(a, 0)).length)],
  wordlist: [
    3,
    (a) =>
      words(arg(a, 2))
        .slice(Math.max(0, position(arg(a, 0), "wordlist") - 1), position(arg(a, 1), "wordlist"))
        .join(" "),
  ],
  firstword: [1, (a) => words(arg(a, 0))[0] ?? ""],
  lastword: [1, (a) => words(arg(a, 0)).at(-1) ?? ""],
  dir: [1, (a) => each(arg(a, 0), (w) => (slash(w) === 0 ? "./" : w.slice(0, slash(w))))],
  notdir: [1, (a) => each(arg(a, 0), (w) => w.slice(slash(w)))],
  suffix: [
    1,
    (a) =>
      words(arg(a, 0))
        .map((w) => w.slice(dot(w)))
        .filter((s) => s !== "")
        .join(" "),
  ],
  basename: [1, (a) => each(arg(a, 0), (w) => w.slice(0, dot(w)))],
  addsuffix: [2, (a) => each(arg(a, 1), (w) => w + arg(a, 0))],
  addprefix: [2, (a) => each(arg(a, 1), (w) => arg(a, 0) + w)],
  join: [
    2,
    (a) => {
      const [x, y] = [words(arg(a, 0)), words(arg(a, 1))];
      return Array.from({ length: Math.max(x.length, y.length) }, (_, i) => (x[i] ?? "") + (y[i] ?? "")).join(" ");
    },
  ],
  info: [1, () => ""],
  warning: [1, () => ""],
};

function number(text: string, helper: string): bigint {
  const t = text.trim();
  if (/^0[xX][0-9a-fA-F]+$/.test(t) || /^(0|[1-9][0-9]*)$/.test(t)) return BigInt(t);
  throw new OtaError("SIGMASTAR_CONFIG", {
    what: `$(call ${helper}) needs numbers`,
    expected: "decimal digits without a leading zero, or 0x and hex digits",
    found: printable(t),
  });
}

const hex = (value: bigint, helper: string): string => {
  if (value < 0n) throw new OtaError("SIGMASTAR_CONFIG", `$(call ${helper}) gives a negative number`);
  return `0x${value.toString(16)}`;
};
const total = (text: string, helper: string): bigint => words(text).reduce((s, w) => s + number(w, helper), 0n);

/** The vendor tree's helper functions (specification section 6.1), for `$(call …)`. */
export const HELPERS: Readonly<Record<string, TextFunction>> = {
  multiplyhex: (a) => hex(number(arg(a, 0), "multiplyhex") * number(arg(a, 1), "multiplyhex"), "multiplyhex"),
  sum: (a) => hex(total(arg(a, 0), "sum"), "sum"),
  sub: (a) => hex(number(arg(a, 0), "sub") - total(arg(a, 1), "sub"), "sub"),
  alignup(a) {
    const [value, step] = [number(arg(a, 0), "alignup"), number(arg(a, 1), "alignup")];
    if (step === 0n) throw new OtaError("SIGMASTAR_CONFIG", "$(call alignup) needs a step above 0");
    return hex(((value + step - 1n) / step) * step, "alignup");
  },
  max(a) {
    const [x, y] = [number(arg(a, 0), "max"), number(arg(a, 1), "max")];
    return hex(x > y ? x : y, "max");
  },
};
