/**
 * Evaluation of edify scripts, formats/android.md section 4.3.
 *
 * Operators are evaluated here; functions come in as a table, so that the builtins alone make `otaforge edify` and the
 * builtins with the updater's functions make the updater. Depth costs no stack: long chains are walked in a loop, and deep nesting
 * gives the stack back every few levels.
 */
import type { ByteStream } from "../../core/ports.ts";
import type { EdifyEra, EdifyNode, EdifyOperator, EdifyScript } from "./ast.ts";

/** The content of a file as a value. */
export interface EdifyBlob {
  readonly kind: "blob";
  /** Bytes; -1 when the file could not be read. */
  readonly size: number;
  stream(): ByteStream;
  /** All of it in memory. */
  bytes(): Promise<Uint8Array>;
}

/** Byte string (one character a byte, no NUL) or blob. The empty string is false, every other string true. */
export type EdifyValue = string | EdifyBlob;

/** What a running function may use. */
export interface EdifyInvocation {
  readonly name: string;
  readonly args: readonly EdifyNode[];
  readonly era: EdifyEra;
  /** Evaluates an argument to a string. @throws EdifyAbort when it is a blob */
  string(node: EdifyNode): Promise<string>;
  /** Evaluates all arguments, or the given ones, to strings, in order. */
  strings(nodes?: readonly EdifyNode[]): Promise<string[]>;
  value(node: EdifyNode): Promise<EdifyValue>;
  /** The argument as it stands in the script. */
  sourceText(node: EdifyNode): string;
}

export type EdifyFunction = (call: EdifyInvocation) => Promise<EdifyValue>;
export type EdifyFunctions = ReadonlyMap<string, EdifyFunction>;

/** Stops the script at once. Without a message the original says `script aborted (no error message)`. */
export class EdifyAbort extends Error {
  /** Absent: no message. */
  readonly text: string | undefined;
  /** Number of the 7.1 log line `cause: n`. */
  readonly causeCode: number | undefined;

  constructor(text?: string, causeCode?: number) {
    super(text ?? "(no error message)");
    this.name = "EdifyAbort";
    this.text = text;
    this.causeCode = causeCode;
  }
}

export const isTrue = (value: string): boolean => value !== "";
const truth = (value: boolean): string => (value ? "t" : "");

/** @throws EdifyAbort `expecting string, got value type 2` for a blob */
export function expectString(value: EdifyValue): string {
  if (typeof value !== "string") throw new EdifyAbort("expecting string, got value type 2", 51);
  return value;
}

/** Levels of nesting after which the stack is given back. */
const LEVELS_PER_STACK = 48;

class Evaluator {
  readonly #source: string;
  readonly #functions: EdifyFunctions;
  readonly #era: EdifyEra;

  constructor(source: string, functions: EdifyFunctions, era: EdifyEra) {
    this.#source = source;
    this.#functions = functions;
    this.#era = era;
  }

  async string(node: EdifyNode, depth: number): Promise<string> {
    return expectString(await this.value(node, depth));
  }

  async value(node: EdifyNode, depth: number): Promise<EdifyValue> {
    if (depth % LEVELS_PER_STACK === LEVELS_PER_STACK - 1) await Promise.resolve();
    const spine: EdifyOperator[] = [];
    let inner = node;
    while (inner.kind === "operator" && inner.op !== "!" && inner.op !== "if") {
      spine.push(inner);
      inner = inner.args[0] as EdifyNode;
    }
    let value = await this.#single(inner, depth);
    for (let operator = spine.pop(); operator !== undefined; operator = spine.pop()) {
      value = await this.#binary(operator, value, depth);
    }
    return value;
  }

  async #binary({ op, args }: EdifyOperator, left: EdifyValue, depth: number): Promise<EdifyValue> {
    const right = args[1] as EdifyNode;
    if (op === "sequence") return this.value(right, depth + 1);
    const text = expectString(left);
    if (op === "&&") return isTrue(text) ? this.value(right, depth + 1) : text;
    if (op === "||") return isTrue(text) ? text : this.value(right, depth + 1);
    const other = await this.string(right, depth + 1);
    if (op === "+") return text + other;
    return truth((text === other) === (op === "=="));
  }

  async #single(node: EdifyNode, depth: number): Promise<EdifyValue> {
    if (node.kind === "literal") return node.value;
    if (node.kind === "operator") {
      const condition = await this.string(node.args[0] as EdifyNode, depth + 1);
      if (node.op === "!") return truth(!isTrue(condition));
      const branch = node.args[isTrue(condition) ? 1 : 2];
      return branch === undefined ? condition : this.value(branch, depth + 1);
    }
    const fn = this.#functions.get(node.name);
    if (fn === undefined) throw new EdifyAbort(`unknown function "${node.name}"`);
    return fn({
      name: node.name,
      args: node.args,
      era: this.#era,
      string: (n) => this.string(n, depth + 1),
      value: (n) => this.value(n, depth + 1),
      strings: async (nodes = node.args) => {
        const out: string[] = [];
        for (const n of nodes) out.push(await this.string(n, depth + 1));
        return out;
      },
      sourceText: (n) => this.#source.slice(n.start, n.end),
    });
  }
}

/**
 * Runs a parsed script and gives its value as a string.
 *
 * @throws EdifyAbort when the script aborts, also when its last value is a blob
 */
export async function evaluateEdify(script: EdifyScript, functions: EdifyFunctions, era: EdifyEra): Promise<string> {
  if (script.root === undefined) throw new EdifyAbort("the script does not parse");
  return new Evaluator(script.source, functions, era).string(script.root, 0);
}
