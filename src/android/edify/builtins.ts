/** The functions every edify interpreter has, formats/android.md section 4.3. */
import type { EdifyEra, EdifyNode } from "./ast.ts";
import { EdifyAbort, isTrue } from "./evaluate.ts";
import type { EdifyFunction, EdifyFunctions, EdifyInvocation } from "./evaluate.ts";

export interface BuiltinHost {
  readonly era: EdifyEra;
  /** Text printed by `stdout` and by 4.4's complaints about numbers. */
  stdout(text: string): void;
  /** Waits; absent: `sleep` returns at once. */
  sleep?(seconds: number): Promise<void>;
}

const LONG_MAX = 9223372036854775807n;
const LONG_MIN = -9223372036854775808n;

/** Decimal number as C's strtol reads it, nothing behind it allowed; clamped to 64 bits. */
export function parseLong(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*([+-]?)(\d+)$/.exec(text);
  if (match === null) return undefined;
  const digits = (match[2] as string).replace(/^0+(?=.)/, "");
  const size = digits.length > 19 ? LONG_MAX + 1n : BigInt(digits);
  const value = match[1] === "-" ? -size : size;
  return value > LONG_MAX ? LONG_MAX : value < LONG_MIN ? LONG_MIN : value;
}

/** The argument a function needs although the original does not count them. */
function need(call: EdifyInvocation, index: number, count: number): EdifyNode {
  const node = call.args[index];
  if (node === undefined) {
    throw new EdifyAbort(`${call.name}() expects ${count} arg${count === 1 ? "" : "s"}, got ${call.args.length}`);
  }
  return node;
}

/** Makes the builtins for one run. */
export function edifyBuiltins(host: BuiltinHost): EdifyFunctions {
  const compare = async (call: EdifyInvocation, first: number, second: number): Promise<string> => {
    if (call.args.length !== 2) throw new EdifyAbort(`${call.name} expects 2 arguments`);
    const [left, right] = await call.strings([call.args[first] as EdifyNode, call.args[second] as EdifyNode]);
    const numbers: bigint[] = [];
    for (const text of [left, right] as string[]) {
      const number = parseLong(text);
      if (number === undefined) {
        if (host.era === "4.4") host.stdout(`[${text}] is not an int\n`);
        return "";
      }
      numbers.push(number);
    }
    return (numbers[0] as bigint) < (numbers[1] as bigint) ? "t" : "";
  };
  const table: Record<string, EdifyFunction> = {
    async ifelse(call) {
      const [condition, yes, no] = call.args;
      if (call.args.length > 3 || condition === undefined || yes === undefined) {
        throw new EdifyAbort("ifelse expects 2 or 3 arguments");
      }
      const text = await call.string(condition);
      if (isTrue(text)) return call.value(yes);
      return no === undefined ? text : call.value(no);
    },
    async abort(call) {
      let text = "called abort()";
      const [message] = call.args;
      if (message !== undefined) {
        try {
          text = await call.string(message);
        } catch (e) {
          // A message that cannot be made is replaced, as in the original: the last abort counts.
          if (!(e instanceof EdifyAbort)) throw e;
        }
      }
      throw new EdifyAbort(text);
    },
    async assert(call) {
      for (const node of call.args) {
        if (!isTrue(await call.string(node))) throw new EdifyAbort(`assert failed: ${call.sourceText(node)}`);
      }
      return "";
    },
    async concat(call) {
      return (await call.strings()).join("");
    },
    async is_substring(call) {
      const [needle, hay] = await call.strings([need(call, 0, 2), need(call, 1, 2)]);
      return (hay as string).includes(needle as string) ? "t" : "";
    },
    async stdout(call) {
      for (const node of call.args) host.stdout(await call.string(node));
      return "";
    },
    async sleep(call) {
      const text = await call.string(need(call, 0, 1));
      const seconds = Number(/^[ \t\n\v\f\r]*[+-]?\d+/.exec(text)?.[0] ?? 0);
      if (seconds > 0) await host.sleep?.(seconds);
      return text;
    },
    less_than_int: (call) => compare(call, 0, 1),
    greater_than_int: (call) => compare(call, 1, 0),
  };
  return new Map(Object.entries(table));
}
