/**
 * The grammar of edify and its LALR(1) tables.
 *
 * formats/android.md section 4.2. The tables are made from the productions below when the first script is parsed (37 states, a few
 * milliseconds). The original's parser is a bison one; conflicts are resolved by precedence, rare corners (`a;+b`), the
 * position at which an error is seen and the list of expected tokens all follow from the same construction, default
 * reductions included.
 */

/** Terminals in the order in which expected ones are listed. */
export const TERMINALS = [
  "end of file",
  "error",
  "AND",
  "OR",
  "EQ",
  "NE",
  "IF",
  "THEN",
  "ELSE",
  "ENDIF",
  "STRING",
  "BAD",
  "';'",
  "','",
  "'+'",
  "'!'",
  "'('",
  "')'",
] as const;

export type Terminal = (typeof TERMINALS)[number];

const NONTERMINALS = ["expr", "arglist"] as const;
type NonTerminal = (typeof NONTERMINALS)[number];
type GrammarSymbol = Terminal | NonTerminal;

/** Precedence from weak to strong; the only right-associative one binds tightest. */
const PRECEDENCE: Partial<Record<Terminal, number>> = {
  "';'": 1,
  "','": 2,
  OR: 3,
  AND: 4,
  EQ: 5,
  NE: 5,
  "'+'": 6,
  "'!'": 7,
};
const RIGHT_ASSOCIATIVE: ReadonlySet<Terminal> = new Set(["'!'"]);

/** What a production builds; see parser.ts. */
export type Build =
  | "accept"
  | "first"
  | "literal"
  | "parentheses"
  | "sequence"
  | "third"
  | "+"
  | "=="
  | "!="
  | "&&"
  | "||"
  | "!"
  | "if"
  | "call"
  | "no-arguments"
  | "first-argument"
  | "next-argument";

export interface Production {
  readonly left: NonTerminal | "input";
  readonly right: readonly GrammarSymbol[];
  readonly build: Build;
}

const p = (left: Production["left"], build: Build, ...right: GrammarSymbol[]): Production => ({ left, right, build });

export const PRODUCTIONS: readonly Production[] = [
  p("input", "accept", "expr"),
  p("expr", "literal", "STRING"),
  p("expr", "parentheses", "'('", "expr", "')'"),
  p("expr", "first", "expr", "';'"),
  p("expr", "sequence", "expr", "';'", "expr"),
  p("expr", "third", "error", "';'", "expr"),
  p("expr", "+", "expr", "'+'", "expr"),
  p("expr", "==", "expr", "EQ", "expr"),
  p("expr", "!=", "expr", "NE", "expr"),
  p("expr", "&&", "expr", "AND", "expr"),
  p("expr", "||", "expr", "OR", "expr"),
  p("expr", "!", "'!'", "expr"),
  p("expr", "if", "IF", "expr", "THEN", "expr", "ENDIF"),
  p("expr", "if", "IF", "expr", "THEN", "expr", "ELSE", "expr", "ENDIF"),
  p("expr", "call", "STRING", "'('", "arglist", "')'"),
  p("arglist", "no-arguments"),
  p("arglist", "first-argument", "expr"),
  p("arglist", "next-argument", "arglist", "','", "expr"),
];

/** One state: what each terminal does, what a nonterminal leads to, and what happens without looking. */
export interface ParserState {
  readonly shift: ReadonlyMap<Terminal, number>;
  readonly reduce: ReadonlyMap<Terminal, number>;
  readonly goto: ReadonlyMap<NonTerminal, number>;
  /** Production reduced for every terminal without an entry of its own. */
  readonly fallback?: number;
  /** Nothing but the fallback: no token is read before it. */
  readonly blind: boolean;
  /** Terminals with an entry of their own, in listing order, without `error`. */
  readonly expected: readonly Terminal[];
}

interface Draft {
  /** Kernel items (`production * 16 + dot`) with their lookahead as a bit set of terminal numbers. */
  readonly kernel: Map<number, number>;
  readonly next: Map<GrammarSymbol, number>;
}

const BIT = new Map<GrammarSymbol, number>(TERMINALS.map((t, i) => [t, 1 << i]));
const NULLABLE: ReadonlySet<GrammarSymbol> = new Set<GrammarSymbol>(["arglist"]);

function firstSets(): Map<GrammarSymbol, number> {
  const first = new Map(BIT);
  for (const n of NONTERMINALS) first.set(n, 0);
  for (let changed = true; changed;) {
    changed = false;
    for (const { left, right } of PRODUCTIONS) {
      if (left === "input") continue;
      let bits = first.get(left) as number;
      for (const s of right) {
        bits |= first.get(s) as number;
        if (!NULLABLE.has(s)) break;
      }
      if (bits !== first.get(left)) {
        first.set(left, bits);
        changed = true;
      }
    }
  }
  return first;
}

function closure(kernel: ReadonlyMap<number, number>, first: ReadonlyMap<GrammarSymbol, number>): Map<number, number> {
  const items = new Map(kernel);
  const todo = [...kernel.keys()];
  for (let item = todo.pop(); item !== undefined; item = todo.pop()) {
    const production = PRODUCTIONS[item >> 4] as Production;
    const dot = item & 15;
    const symbol = production.right[dot];
    if (symbol !== "expr" && symbol !== "arglist") continue;
    let look = 0;
    let at = dot + 1;
    for (; at < production.right.length; at++) {
      const s = production.right[at] as GrammarSymbol;
      look |= first.get(s) as number;
      if (!NULLABLE.has(s)) break;
    }
    if (at === production.right.length) look |= items.get(item) as number;
    PRODUCTIONS.forEach(({ left }, number) => {
      if (left !== symbol) return;
      const made = number << 4;
      const before = items.get(made);
      if (before !== undefined && (before | look) === before) return;
      items.set(made, (before ?? 0) | look);
      todo.push(made);
    });
  }
  return items;
}

function drafts(first: ReadonlyMap<GrammarSymbol, number>): Draft[] {
  const all: Draft[] = [{ kernel: new Map([[0, BIT.get("end of file") as number]]), next: new Map() }];
  const known = new Map<string, number>([["0", 0]]);
  const todo = [0];
  for (let number = todo.pop(); number !== undefined; number = todo.pop()) {
    const state = all[number] as Draft;
    const moves = new Map<GrammarSymbol, Map<number, number>>();
    for (const [item, look] of closure(state.kernel, first)) {
      const symbol = (PRODUCTIONS[item >> 4] as Production).right[item & 15];
      if (symbol === undefined) continue;
      const kernel = moves.get(symbol) ?? new Map<number, number>();
      kernel.set(item + 1, look);
      moves.set(symbol, kernel);
    }
    for (const [symbol, kernel] of moves) {
      const core = [...kernel.keys()].sort((a, b) => a - b).join();
      const there = known.get(core);
      if (there === undefined) {
        known.set(core, all.length);
        state.next.set(symbol, all.length);
        todo.push(all.length);
        all.push({ kernel, next: new Map() });
        continue;
      }
      state.next.set(symbol, there);
      const target = (all[there] as Draft).kernel;
      let grown = false;
      for (const [item, look] of kernel) {
        const before = target.get(item) as number;
        if ((before | look) === before) continue;
        target.set(item, before | look);
        grown = true;
      }
      if (grown) todo.push(there);
    }
  }
  return all;
}

function precedenceOf({ right }: Production): number | undefined {
  const terminals = right.filter((s) => s !== "expr" && s !== "arglist");
  const last = terminals[terminals.length - 1];
  return last === undefined ? undefined : PRECEDENCE[last];
}

/** Whether precedence lets `production` be reduced although `terminal` could be shifted. */
function reduces(production: Production, terminal: Terminal): boolean {
  const mine = precedenceOf(production);
  const its = PRECEDENCE[terminal];
  if (mine === undefined || its === undefined) return false;
  return mine === its ? !RIGHT_ASSOCIATIVE.has(terminal) : mine > its;
}

function finish(draft: Draft, first: ReadonlyMap<GrammarSymbol, number>): ParserState {
  const shift = new Map<Terminal, number>();
  const go = new Map<NonTerminal, number>();
  for (const [symbol, to] of draft.next) {
    if (symbol === "expr" || symbol === "arglist") go.set(symbol, to);
    else shift.set(symbol, to);
  }
  const reduce = new Map<Terminal, number>();
  const count = new Map<number, number>();
  for (const [item, look] of closure(draft.kernel, first)) {
    const number = item >> 4;
    const production = PRODUCTIONS[number] as Production;
    if ((item & 15) !== production.right.length) continue;
    count.set(number, 0);
    for (const terminal of TERMINALS) {
      if ((look & (BIT.get(terminal) as number)) === 0) continue;
      if (shift.has(terminal)) {
        if (!reduces(production, terminal)) continue;
        shift.delete(terminal);
      }
      reduce.set(terminal, number);
      count.set(number, (count.get(number) as number) + 1);
    }
  }
  // The commonest reduction needs no lookahead entries, except where an error could be shifted.
  let fallback: number | undefined;
  if (!shift.has("error")) {
    for (const [number, n] of [...count].sort(([a], [b]) => a - b)) {
      if (fallback === undefined || n > (count.get(fallback) as number)) fallback = number;
    }
    for (const [terminal, number] of [...reduce]) if (number === fallback) reduce.delete(terminal);
  }
  return {
    shift,
    reduce,
    goto: go,
    ...(fallback === undefined ? {} : { fallback }),
    blind: fallback !== undefined && shift.size === 0 && reduce.size === 0,
    expected: TERMINALS.filter((t) => t !== "error" && (shift.has(t) || reduce.has(t))),
  };
}

let tables: readonly ParserState[] | undefined;

/** The parser's states; 0 is the first one. `input: expr` reduced means that the end of the file must follow. */
export function parserStates(): readonly ParserState[] {
  if (tables === undefined) {
    const first = firstSets();
    tables = drafts(first).map((draft) => finish(draft, first));
  }
  return tables;
}
