/**
 * Reads a partition configuration (`*.partition.config`): a makefile fragment with assignments, conditionals and make
 * functions (specification section 6.1). No shell is run: a value that needs `$(shell …)`, `$[…]` or another unsupported
 * feature is an error when it is asked for, and harmless otherwise. Rules and recipes are skipped.
 */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import { HELPERS, TEXT_FUNCTIONS, patsubst } from "./make-text.ts";

export interface ConfigPorts {
  /** Variables set from outside; they win over assignments, as on make's command line. */
  readonly defines?: Readonly<Record<string, string>>;
  /** Size of a file, for the helper `filesize`; undefined when there is none. */
  readonly fileSize?: (path: string) => number | undefined;
  /** Text of an included file; undefined when there is none. */
  readonly readInclude?: (path: string) => string | undefined;
}

export interface PartitionConfig {
  /**
   * The expanded value of a variable, `""` when it is not set. Trailing blanks are kept, as make keeps them.
   * @throws OtaError SIGMASTAR_CONFIG, SIGMASTAR_CONFIG_UNSUPPORTED
   */
  value(name: string): string;
  /** An attribute of an image: `attribute("kernel", "PATSIZE")`. */
  attribute(image: string, key: string): string;
}

/** Keys whose value is a suffix, so that `kernel$(PATSIZE)` is the variable `kernel_patsize`. */
const KEYS = (
  "RESOURCE RESOUCE DATASIZE COPIES PATSIZE FSTYPE OTABLK OTAMASK BLKENV BOOTENV BOOTCMD MOUNTTG MOUNTPT MOUNTPARAM MTDPART " +
  "OPTIONS UBIVOLID BOOTTAB SYSTAB"
).split(" ");

const MAX_DEPTH = 200;
const MAX_TEXT = 1024 * 1024;
/** Real configurations need some thousands; nested doublings would otherwise run for ever. */
const MAX_STEPS = 1_000_000;

interface Variable {
  readonly text: string;
  /** Expanded when it is used (`=`), not when it is set (`:=`). */
  readonly deferred: boolean;
  /** Why the value cannot be had, for `:=` with an unsupported part. */
  readonly failure?: OtaError;
}

function unsupported(what: string): OtaError {
  return new OtaError("SIGMASTAR_CONFIG_UNSUPPORTED", {
    what: `${what} is not evaluated: no shell is run`,
    hint: "Set the variable from outside, for instance --define kernel_patsize=0x500000.",
  });
}

function broken(what: string, found?: string): OtaError {
  return new OtaError("SIGMASTAR_CONFIG", {
    what,
    ...(found === undefined ? {} : { found: printable(found.slice(0, 80)) }),
  });
}

/** End of the reference that opens at `text[open]`, counting brackets of its own kind. */
function closing(text: string, open: number): number {
  const left = text.charAt(open);
  const right = left === "(" ? ")" : "}";
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text.charAt(i) === left) depth++;
    else if (text.charAt(i) === right && --depth === 0) return i;
  }
  throw broken("a $( has no end", text.slice(open - 1));
}

/** Splits at commas outside brackets, into at most `most` parts. */
function splitArguments(text: string, most: number): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === "(" || c === "{") depth++;
    else if (c === ")" || c === "}") depth--;
    else if (c === "," && depth === 0 && parts.length + 1 < most) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

/** Functions with their own way of expanding their arguments: most arguments. */
const CONTROL: Readonly<Record<string, number>> = {
  if: 3,
  or: Infinity,
  and: Infinity,
  foreach: 3,
  call: Infinity,
  value: 1,
  origin: 1,
  flavor: 1,
  error: 1,
};
const REFUSED = new Set(["shell", "eval", "wildcard", "realpath", "abspath", "file", "guile", "let", "intcmp"]);

class Fragment implements PartitionConfig {
  readonly #variables = new Map<string, Variable>();
  readonly #fixed: ReadonlySet<string>;
  readonly #ports: ConfigPorts;
  #depth = 0;
  #steps = 0;

  constructor(ports: ConfigPorts) {
    this.#ports = ports;
    for (const key of KEYS) this.#variables.set(key, { text: `_${key.toLowerCase()}`, deferred: false });
    this.#fixed = new Set(Object.keys(ports.defines ?? {}));
    for (const [name, text] of Object.entries(ports.defines ?? {}))
      this.#variables.set(name, { text, deferred: false });
  }

  value(name: string): string {
    return this.#lookUp(name, false, new Map());
  }

  attribute(image: string, key: string): string {
    return this.value(image + this.#lookUp(key, true, new Map()));
  }

  #lookUp(name: string, asName: boolean, scope: ReadonlyMap<string, string>): string {
    const local = scope.get(name);
    if (local !== undefined) return local;
    const variable = this.#variables.get(name);
    // In a name, a key nobody defined is a suffix all the same; elsewhere it is empty, as in make.
    if (variable === undefined) return asName && /^[A-Z][A-Z0-9_]*$/.test(name) ? `_${name.toLowerCase()}` : "";
    if (variable.failure !== undefined) throw variable.failure;
    if (!variable.deferred) return variable.text;
    try {
      return this.#expand(variable.text, false, scope);
    } catch (e) {
      if (!(e instanceof OtaError) || e.details.where !== undefined) throw e;
      throw new OtaError(e.code, { ...e.details, where: `variable ${printable(name)}` }, e);
    }
  }

  #expand(text: string, asName: boolean, scope: ReadonlyMap<string, string>): string {
    if (!text.includes("$")) return text;
    if (this.#depth >= MAX_DEPTH) throw broken("a variable refers to itself", text);
    if (++this.#steps > MAX_STEPS) throw broken("the configuration takes too many steps to evaluate");
    this.#depth++;
    try {
      return this.#expandReferences(text, asName, scope);
    } finally {
      this.#depth--;
    }
  }

  #expandReferences(text: string, asName: boolean, scope: ReadonlyMap<string, string>): string {
    let out = "";
    for (let i = 0; i < text.length; i++) {
      const c = text.charAt(i);
      if (c !== "$") {
        out += c;
        continue;
      }
      const next = text.charAt(++i);
      if (next === "$") out += "$";
      else if (next === "[") throw unsupported("$[…] (shell arithmetic)");
      else if (next === "(" || next === "{") {
        const end = closing(text, i);
        out += this.#reference(text.slice(i + 1, end), asName, scope);
        i = end;
      } else if (next !== "") out += this.#lookUp(next, asName, scope);
      if (out.length > MAX_TEXT) throw broken("a value grows beyond any use");
    }
    return out;
  }

  #reference(inner: string, asName: boolean, scope: ReadonlyMap<string, string>): string {
    const call = /^\s*([a-z-]+)[ \t]+/.exec(inner);
    const name = call?.[1] ?? "";
    if (call !== null) {
      const rest = inner.slice(call[0].length);
      if (REFUSED.has(name)) throw unsupported(`$(${name} …)`);
      const plain = Object.hasOwn(TEXT_FUNCTIONS, name) ? TEXT_FUNCTIONS[name] : undefined;
      if (plain !== undefined) {
        return plain[1](splitArguments(rest, plain[0]).map((part) => this.#expand(part, asName, scope)));
      }
      const most = Object.hasOwn(CONTROL, name) ? CONTROL[name] : undefined;
      if (most !== undefined) return this.#control(name, splitArguments(rest, most), scope);
    }
    const colon = inner.indexOf(":");
    const equals = colon < 0 ? -1 : inner.indexOf("=", colon);
    if (equals >= 0 && !inner.slice(0, colon).includes("(")) {
      const value = this.#lookUp(this.#expand(inner.slice(0, colon), true, scope), asName, scope);
      const [from, to] = [inner.slice(colon + 1, equals), inner.slice(equals + 1)].map((t) =>
        this.#expand(t, false, scope),
      ) as [string, string];
      return from.includes("%") ? patsubst(from, to, value) : patsubst(`%${from}`, `%${to}`, value);
    }
    return this.#lookUp(this.#expand(inner, true, scope), asName, scope);
  }

  #control(name: string, args: readonly string[], scope: ReadonlyMap<string, string>): string {
    const expand = (i: number): string => this.#expand(args[i] ?? "", false, scope);
    switch (name) {
      case "if":
        return expand(0).trim() !== "" ? expand(1) : expand(2);
      case "or":
        for (let i = 0; i < args.length; i++) {
          const value = expand(i).trim();
          if (value !== "") return value;
        }
        return "";
      case "and": {
        let value = "";
        for (let i = 0; i < args.length; i++) {
          value = expand(i).trim();
          if (value === "") return "";
        }
        return value;
      }
      case "foreach": {
        const variable = expand(0).trim();
        const list = expand(1)
          .split(/\s+/)
          .filter((w) => w !== "");
        return list.map((w) => this.#expand(args[2] ?? "", false, new Map([...scope, [variable, w]]))).join(" ");
      }
      case "call":
        return this.#call(args.map((_, i) => expand(i)));
      case "value":
        return this.#variables.get(expand(0).trim())?.text ?? "";
      case "origin":
        return this.#variables.has(expand(0).trim()) ? "file" : "undefined";
      case "flavor": {
        const variable = this.#variables.get(expand(0).trim());
        return variable === undefined ? "undefined" : variable.deferred ? "recursive" : "simple";
      }
      default:
        throw broken(`the configuration stops with an error: ${printable(expand(0))}`);
    }
  }

  #call(args: readonly string[]): string {
    const name = (args[0] ?? "").trim();
    const body = this.#variables.get(name);
    // The tree's own definition of a helper runs a shell; and a plain variable may happen to have a helper's name.
    if (body === undefined || !/\$[({]?1/.test(body.text) || /shell|\$\[|\$\$/.test(body.text)) {
      if (name === "filesize") return this.#fileSize((args[1] ?? "").trim());
      const helper = Object.hasOwn(HELPERS, name) ? HELPERS[name] : undefined;
      if (helper !== undefined) return helper(args.slice(1));
    }
    if (body === undefined) throw broken("an unknown function is called", name);
    return this.#expand(body.text, false, new Map(args.map((value, i) => [String(i), value])));
  }

  #fileSize(path: string): string {
    const size = this.#ports.fileSize?.(path);
    if (size === undefined) throw broken("$(call filesize) names a file that is not there", path);
    return String(size);
  }

  #assign(name: string, operator: string, text: string): void {
    if (this.#fixed.has(name)) return;
    const present = this.#variables.get(name);
    if (operator === "?=") {
      if (present === undefined) this.#variables.set(name, { text, deferred: true });
    } else if (operator === "=") this.#variables.set(name, { text, deferred: true });
    else if (operator === "+=" && (present === undefined || present.deferred)) {
      const joined = present === undefined ? text : text === "" ? present.text : `${present.text} ${text}`;
      this.#variables.set(name, { text: joined, deferred: true });
    } else {
      const before = operator === "+=" ? (present as Variable) : undefined;
      try {
        const value = this.#expand(text, false, new Map());
        const joined = before === undefined ? value : value === "" ? before.text : `${before.text} ${value}`;
        const failure = before?.failure;
        this.#variables.set(name, { text: joined, deferred: false, ...(failure === undefined ? {} : { failure }) });
      } catch (e) {
        if (!(e instanceof OtaError)) throw e;
        const failure = new OtaError(e.code, { ...e.details, where: `variable ${printable(name)}` }, e);
        this.#variables.set(name, { text: "", deferred: false, failure });
      }
    }
  }

  #condition(directive: string, rest: string): boolean {
    if (directive === "ifdef" || directive === "ifndef") {
      const variable = this.#variables.get(this.#expand(rest.trim(), true, new Map()));
      return (
        (variable !== undefined && (variable.text !== "" || variable.failure !== undefined)) === (directive === "ifdef")
      );
    }
    const text = rest.trim();
    let sides: string[];
    if (text.startsWith("(") && closing(text, 0) === text.length - 1) {
      sides = splitArguments(text.slice(1, -1), 2);
      if (sides.length === 2) sides = [(sides[0] as string).trimEnd(), (sides[1] as string).trimStart()];
    } else {
      const quoted = /^(?:"([^"]*)"|'([^']*)')\s*(?:"([^"]*)"|'([^']*)')$/.exec(text);
      sides = quoted === null ? [] : [quoted[1] ?? quoted[2] ?? "", quoted[3] ?? quoted[4] ?? ""];
    }
    if (sides.length !== 2) throw broken(`${directive} needs two sides`, rest);
    const [a, b] = sides.map((side) => this.#expand(side, false, new Map()));
    return (a === b) === (directive === "ifeq");
  }

  read(text: string, fileName: string, depth = 0): void {
    const lines = text.split(/\r?\n/);
    /** One for each open conditional: whether its present branch is taken, and whether any was. */
    const open: { active: boolean; done: boolean; line: number }[] = [];
    for (let at = 0; at < lines.length; at++) {
      const number = at + 1;
      try {
        let line = lines[at] as string;
        while (/(^|[^\\])(\\\\)*\\$/.test(line) && at + 1 < lines.length) {
          line = `${line.slice(0, -1).trimEnd()} ${(lines[++at] as string).trimStart()}`;
        }
        const isRecipe = line.startsWith("\t");
        line = stripComment(line).trimStart();
        if (line.trim() === "") continue;
        if (this.#conditional(line.trim(), open, number)) continue;
        if (open.some((c) => !c.active)) continue;
        const define = /^(?:override\s+)?define\s+(\S+)\s*(:=|\?=|\+=|=)?\s*$/.exec(line);
        if (define !== null) {
          const body: string[] = [];
          while (++at < lines.length && (lines[at] as string).trim() !== "endef") body.push(lines[at] as string);
          if (at >= lines.length) throw broken("define has no endef");
          this.#assign(this.#expand(define[1] as string, true, new Map()), define[2] ?? "=", body.join("\n"));
          continue;
        }
        const include = /^(-include|sinclude|include)\s+(.*)$/.exec(line);
        if (include !== null) {
          this.#include(include[2] as string, { optional: include[1] !== "include", depth });
          continue;
        }
        const statement = line.replace(/^((export|override|private)\s+)+(?=\S)/, "");
        const assignment = splitAssignment(statement);
        if (assignment !== undefined) {
          this.#assign(this.#expand(assignment.name, true, new Map()).trim(), assignment.operator, assignment.text);
        } else if (!isRecipe && !/^(export|unexport|vpath|\.[A-Z]+)\b/.test(line) && !statement.includes(":")) {
          const expanded = this.#expand(line, false, new Map()).trim();
          if (expanded !== "") throw broken("neither an assignment nor a rule", line);
        }
      } catch (e) {
        if (!(e instanceof OtaError)) throw e;
        const where = `${fileName}:${number}${e.details.where === undefined ? "" : `, ${e.details.where}`}`;
        throw new OtaError(e.code, { ...e.details, where }, e);
      }
    }
    const left = open.at(-1);
    if (left !== undefined) {
      throw new OtaError("SIGMASTAR_CONFIG", { what: "a conditional has no endif", where: `${fileName}:${left.line}` });
    }
  }

  #conditional(line: string, open: { active: boolean; done: boolean; line: number }[], number: number): boolean {
    const directive = /^(ifeq|ifneq|ifdef|ifndef|else|endif)\b(.*)$/.exec(line);
    if (directive === null) return false;
    const [, word, rest] = directive as unknown as [string, string, string];
    // `else = x` and the like are assignments.
    if (/^\s*[:?+]?=/.test(rest)) return false;
    const outside = open.slice(0, -1).every((c) => c.active);
    const top = open.at(-1);
    if (word === "endif" || word === "else") {
      if (top === undefined) throw broken(`${word} without a conditional`);
      if (word === "endif") {
        open.pop();
        return true;
      }
      const again = /^\s*(ifeq|ifneq|ifdef|ifndef)\b(.*)$/.exec(rest);
      top.active = !top.done && outside && (again === null || this.#condition(again[1] as string, again[2] as string));
      top.done ||= top.active;
      return true;
    }
    const reached = open.every((c) => c.active);
    const active = reached && this.#condition(word, rest);
    open.push({ active, done: active || !reached, line: number });
    return true;
  }

  #include(list: string, how: { optional: boolean; depth: number }): void {
    if (how.depth > 20) throw broken("a file includes itself");
    for (const path of this.#expand(list, false, new Map())
      .split(/\s+/)
      .filter((p) => p !== "")) {
      const text = this.#ports.readInclude?.(path);
      if (text !== undefined) this.read(text, path, how.depth + 1);
      else if (!how.optional) throw broken("an included file cannot be read", path);
    }
  }
}

/** A line without its comment; `\#` is a number sign. */
function stripComment(line: string): string {
  let out = "";
  for (let i = 0; i < line.length; i++) {
    const c = line.charAt(i);
    if (c === "\\" && line.charAt(i + 1) === "#") {
      out += "#";
      i++;
    } else if (c === "#") break;
    else out += c;
  }
  return out;
}

/** Finds the assignment operator outside references. */
function splitAssignment(line: string): { name: string; operator: string; text: string } | undefined {
  let depth = 0;
  for (let i = 0; i < line.length; i++) {
    const c = line.charAt(i);
    if (c === "(" || c === "{") depth++;
    else if (c === ")" || c === "}") depth--;
    else if (depth === 0) {
      const operator = /^(:::?=|::=|:=|\?=|\+=|!=|=)/.exec(line.slice(i, i + 4))?.[1];
      if (operator === undefined) {
        if (c === ":") return undefined;
        continue;
      }
      const name = line.slice(0, i).trim();
      const text = line.slice(i + operator.length).trimStart();
      if (operator === "!=") return { name, operator: ":=", text: `$(shell ${text})` };
      return { name, operator: operator.endsWith(":=") ? ":=" : operator, text };
    }
  }
  return undefined;
}

/**
 * Reads a partition configuration.
 *
 * @param fileName for messages
 * @throws OtaError SIGMASTAR_CONFIG (with file and line), SIGMASTAR_CONFIG_UNSUPPORTED when a conditional needs a shell
 */
export function readPartitionConfig(text: string, fileName: string, ports: ConfigPorts = {}): PartitionConfig {
  const fragment = new Fragment(ports);
  fragment.read(text, fileName);
  return fragment;
}
