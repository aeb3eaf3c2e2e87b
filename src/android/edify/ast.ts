/** The tree of an edify script. Offsets are bytes in the source, `end` exclusive; a literal in quotes includes the quotes. */

/** Which release's interpreter: 4.4 (file-based packages) or 7.1 (block-based, error codes). */
export type EdifyEra = "4.4" | "7.1";

export interface EdifyLiteral {
  readonly kind: "literal";
  /** Byte string: one character a byte. */
  readonly value: string;
  start: number;
  end: number;
}

/** A named call: `f(a, b)`. */
export interface EdifyCall {
  readonly kind: "call";
  readonly name: string;
  readonly args: EdifyNode[];
  start: number;
  end: number;
}

/** Operators, with `if` (two or three operands) and `;` (`sequence`). */
export interface EdifyOperator {
  readonly kind: "operator";
  readonly op: "sequence" | "+" | "==" | "!=" | "&&" | "||" | "!" | "if";
  readonly args: EdifyNode[];
  start: number;
  end: number;
}

export type EdifyNode = EdifyLiteral | EdifyCall | EdifyOperator;

export interface EdifyParseError {
  /** 1-based. */
  readonly line: number;
  /** 1-based, of the place behind the offending token, as the original counts. */
  readonly column: number;
  /** Without the position. */
  readonly message: string;
}

/** A parsed script; `root` is absent exactly when there are errors. */
export interface EdifyScript {
  /** Source as a byte string. */
  readonly source: string;
  readonly root?: EdifyNode;
  readonly errors: readonly EdifyParseError[];
}

/**
 * The statements of a script in order: the operands of its outer `;`. Chains of any length cost no stack.
 */
export function statements(root: EdifyNode): EdifyNode[] {
  const out: EdifyNode[] = [];
  const todo: EdifyNode[] = [root];
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    if (node.kind === "operator" && node.op === "sequence") {
      todo.push(node.args[1] as EdifyNode, node.args[0] as EdifyNode);
    } else out.push(node);
  }
  return out;
}

/** Every node of a script, outermost first, in source order of their beginnings. */
function* nodes(root: EdifyNode): Generator<EdifyNode, void> {
  const todo: EdifyNode[] = [root];
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    yield node;
    if (node.kind === "literal") continue;
    for (let i = node.args.length - 1; i >= 0; i--) todo.push(node.args[i] as EdifyNode);
  }
}

/** Every call of a script, outermost first, in source order of their beginnings. */
export function calls(root: EdifyNode): EdifyCall[] {
  const out: EdifyCall[] = [];
  for (const node of nodes(root)) if (node.kind === "call") out.push(node);
  return out;
}

/** Calls that a script compares with a literal, as `f(a) == "b"`: the call and what it wants. */
export function comparisons(root: EdifyNode): { readonly call: EdifyCall; readonly wanted: string }[] {
  const out: { call: EdifyCall; wanted: string }[] = [];
  for (const node of nodes(root)) {
    if (node.kind !== "operator" || node.op !== "==") continue;
    const [left, right] = node.args;
    if (left?.kind === "call" && right?.kind === "literal") out.push({ call: left, wanted: right.value });
  }
  return out;
}

/** Calls whose value nobody looks at: statements, also behind `||`, `&&` and in the branches of an `if` that is a statement. */
export function discardedCalls(root: EdifyNode): ReadonlySet<EdifyCall> {
  const out = new Set<EdifyCall>();
  const todo: EdifyNode[] = [root];
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    if (node.kind === "call") out.add(node);
    if (node.kind !== "operator") continue;
    const { op, args } = node;
    if (op === "sequence") todo.push(...args);
    else if (op === "||" || op === "&&") todo.push(args[1] as EdifyNode);
    else if (op === "if") todo.push(...args.slice(1));
  }
  return out;
}
