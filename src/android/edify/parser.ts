/**
 * The edify parser: a table-driven LALR(1) parser that also recovers, counts and words errors as the original's does
 * (formats/android.md section 4.2). Total: any bytes give a tree or a list of errors, in linear time and bounded depth.
 */
import { fromLatin1 } from "../latin1.ts";
import type { EdifyEra, EdifyNode, EdifyParseError, EdifyScript } from "./ast.ts";
import { parserStates, PRODUCTIONS } from "./grammar.ts";
import type { ParserState, Production, Terminal } from "./grammar.ts";
import { Lexer } from "./lexer.ts";
import type { Token } from "./lexer.ts";

/** States the original's stack can hold; deeper scripts are refused by it, too. */
const MAX_DEPTH = 10_000;
/** Expected tokens are listed only when there are at most this many. */
const MAX_EXPECTED = 4;

export interface ParseOptions {
  readonly era: EdifyEra;
  /** Whether a function of this name exists; unknown ones are errors while parsing. Absent: every name is known. */
  readonly knows?: (name: string) => boolean;
  /**
   * Treat a string without a closing quote as the end of the script, as the original does: it then runs a cut script
   * when the part before it happens to be one. Off by default.
   */
  readonly vendorCompatible?: boolean;
}

interface Entry {
  readonly state: number;
  readonly node?: EdifyNode;
  readonly args?: EdifyNode[];
  readonly token?: Token;
  readonly start: number;
  readonly end: number;
}

class Parser {
  readonly #states = parserStates();
  readonly #stack: Entry[] = [{ state: 0, start: 0, end: 0 }];
  readonly #lexer: Lexer;
  readonly #knows: (name: string) => boolean;
  readonly errors: EdifyParseError[] = [];
  /** Error-free shifts left before errors are told again. */
  #quiet = 0;

  constructor(lexer: Lexer, knows: (name: string) => boolean) {
    this.#lexer = lexer;
    this.#knows = knows;
  }

  #complain(message: string): void {
    this.errors.push({ line: this.#lexer.line, column: this.#lexer.column, message });
  }

  #top(back = 1): Entry {
    return this.#stack[this.#stack.length - back] as Entry;
  }

  #state(): ParserState {
    return this.#states[this.#top().state] as ParserState;
  }

  /** The tree; undefined when parsing was given up. */
  run(): EdifyNode | undefined {
    let token: Token | undefined;
    for (;;) {
      if (this.#stack.length >= MAX_DEPTH) {
        this.#complain("memory exhausted");
        return undefined;
      }
      const state = this.#state();
      let reduce = state.blind ? state.fallback : undefined;
      if (reduce === undefined) {
        token ??= this.#lexer.next();
        const to = state.shift.get(token.type);
        if (to !== undefined) {
          this.#stack.push({ state: to, token, start: token.start, end: token.end });
          token = undefined;
          if (this.#quiet > 0) this.#quiet--;
          continue;
        }
        reduce = state.reduce.get(token.type) ?? state.fallback;
      }
      if (reduce === 0) {
        // `input: expr`: only the end of the file may follow.
        token ??= this.#lexer.next();
        if (token.type === "end of file") return this.#top().node;
        if (this.#quiet === 0) this.#complain(this.#unexpected(token, ["end of file"]));
        if (this.#quiet === 3) token = undefined;
        this.#stack.length = 1;
        if (!this.#recover()) return undefined;
        continue;
      }
      if (reduce !== undefined) {
        if (this.#reduce(PRODUCTIONS[reduce] as Production)) continue;
      } else {
        if (this.#quiet === 0) this.#complain(this.#unexpected(token as Token, state.expected));
        if (this.#quiet === 3) {
          if ((token as Token).type === "end of file") return undefined;
          token = undefined;
        }
      }
      if (!this.#recover()) return undefined;
    }
  }

  #unexpected(token: Token, expected: readonly Terminal[]): string {
    if (token.type === "BAD" && this.#lexer.complaint !== undefined) return `syntax error, ${this.#lexer.complaint}`;
    const list = expected.length > 0 && expected.length <= MAX_EXPECTED ? `, expecting ${expected.join(" or ")}` : "";
    return `syntax error, unexpected ${token.type}${list}`;
  }

  /** Pops to a state in which an error can be shifted, and shifts it. */
  #recover(): boolean {
    this.#quiet = 3;
    for (;;) {
      const to = this.#state().shift.get("error");
      const { end } = this.#top();
      if (to !== undefined) {
        this.#stack.push({ state: to, start: end, end });
        return true;
      }
      if (this.#stack.length === 1) return false;
      this.#stack.pop();
    }
  }

  /** False when the production complained itself; its symbols are gone then. */
  #reduce(production: Production): boolean {
    const n = production.right.length;
    const parts = this.#stack.splice(this.#stack.length - n, n);
    const start = parts[0]?.start ?? this.#top().end;
    const end = parts[n - 1]?.end ?? start;
    const made = this.#build(production, parts, { start, end });
    if (made === undefined) return false;
    const to = this.#state().goto.get(production.left as "expr" | "arglist") as number;
    this.#stack.push({ state: to, start, end, ...made });
    return true;
  }

  #build(
    { build }: Production,
    parts: readonly Entry[],
    at: { readonly start: number; readonly end: number },
  ): { node?: EdifyNode; args?: EdifyNode[] } | undefined {
    const node = (i: number): EdifyNode => parts[i]?.node as EdifyNode;
    const operator = (op: "sequence" | "+" | "==" | "!=" | "&&" | "||" | "!" | "if", ...args: EdifyNode[]) => ({
      node: { kind: "operator" as const, op, args, ...at },
    });
    switch (build) {
      case "accept":
      case "first":
        return { node: node(0) };
      case "third":
        return { node: node(2) };
      case "literal":
        return { node: { kind: "literal", value: (parts[0]?.token as Token).text, ...at } };
      case "parentheses": {
        const inner = node(1);
        inner.start = at.start;
        inner.end = at.end;
        return { node: inner };
      }
      case "sequence":
      case "+":
      case "==":
      case "!=":
      case "&&":
      case "||":
        return operator(build, node(0), node(2));
      case "!":
        return operator("!", node(1));
      case "if":
        return parts.length === 5 ? operator("if", node(1), node(3)) : operator("if", node(1), node(3), node(5));
      case "no-arguments":
        return { args: [] };
      case "first-argument":
        return { args: [node(0)] };
      case "next-argument": {
        const args = parts[0]?.args as EdifyNode[];
        args.push(node(2));
        return { args };
      }
      case "call": {
        const name = (parts[0]?.token as Token).text;
        if (!this.#knows(name)) {
          this.#complain(`unknown function "${name}"`);
          return undefined;
        }
        return { node: { kind: "call", name, args: parts[2]?.args as EdifyNode[], ...at } };
      }
    }
  }
}

/**
 * Parses a script. Never throws; `errors` is empty exactly when `root` is there.
 *
 * @param script bytes, or a byte string (one character a byte)
 */
export function parseEdify(script: Uint8Array | string, options: ParseOptions): EdifyScript {
  const whole = typeof script === "string" ? script : fromLatin1(script);
  const nul = whole.indexOf("\0");
  const compatible = options.vendorCompatible === true;
  // The original reads a C string. A NUL in a script is never innocent: by default it is an error like any odd character.
  const source = nul >= 0 && compatible ? whole.slice(0, nul) : whole;
  const lexer = new Lexer(source, { era: options.era, unfinishedStringEnds: compatible });
  const parser = new Parser(lexer, options.knows ?? (() => true));
  const root = parser.run();
  if (root === undefined || parser.errors.length > 0) return { source, errors: parser.errors };
  return { source, root, errors: [] };
}

/** The lines the original prints for a script that does not parse: one an error, then their number. */
export function parseErrorLines(errors: readonly EdifyParseError[]): string[] {
  const lines = errors.map((e) => `line ${e.line} col ${e.column}: ${e.message}`);
  return [...lines, `${errors.length} parse errors`];
}
