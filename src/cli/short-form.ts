/**
 * What the short forms of commands share: they run without the option parser and Node's own streams, for what is usual, and leave
 * the rest to the full command.
 */
import { fstatSync, writeSync } from "node:fs";
import type { Io } from "./io.ts";
import { isProgressStyle, type ProgressStyle } from "./progress.ts";

export interface ShortRequest {
  /** Three files, in the command's order. */
  readonly operands: readonly [string, string, string];
  readonly json: boolean;
  readonly style: ProgressStyle;
  /** Values of the options that the command takes beside the shared ones, by name. */
  readonly values: ReadonlyMap<string, string>;
}

/**
 * Three operands, `--json`, `--progress` and options with a value; undefined when there is anything unusual about them.
 * @param argv what follows the command's name. @param names of the options with a value, `--format` for instance
 */
export function shortRequest(argv: readonly string[], names: readonly string[]): ShortRequest | undefined {
  const operands: string[] = [];
  const values = new Map<string, string>();
  let json = false;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const name = equals < 0 ? word : word.slice(0, equals);
    if (word === "--json") json = true;
    else if (name === "--progress" || names.includes(name))
      values.set(name, equals < 0 ? (argv[++i] ?? "") : word.slice(equals + 1));
    else if (word.startsWith("-")) return undefined;
    else operands.push(word);
  }
  const style = values.get("--progress") ?? "auto";
  values.delete("--progress");
  const [a, b, c] = operands;
  if (operands.length !== 3 || a === undefined || b === undefined || c === undefined) return undefined;
  return isProgressStyle(style) ? { operands: [a, b, c], json, style, values } : undefined;
}

/** Linux's number of /dev/null: the only character device that is no terminal and usual here. */
const NULL_DEVICE = 0x103;

/** Whether progress would be painted: that takes what this form leaves out. */
export function paints(style: ProgressStyle): boolean {
  if (style !== "auto") return false;
  const stat = fstatSync(2);
  return stat.isCharacterDevice() && stat.rdev !== NULL_DEVICE;
}

/** Writes all of a text to a descriptor. A reader that went away is no failure of ours, and no reason to leave work half done. */
function writeText(file: number, text: string | Uint8Array): void {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(file, bytes, done);
    } catch (e) {
      const { code } = e as NodeJS.ErrnoException;
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw e;
      // A pipe that does not block and is full: its reader gets time.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Standard streams by their descriptors: Node's own bring sockets and terminals with them. */
export function plainIo(signal: AbortSignal): Io {
  return {
    out: (text) => {
      writeText(1, text);
    },
    err: (text) => {
      writeText(2, text);
    },
    stdin: (async function* () {})(),
    errIsTerminal: false,
    columns: 80,
    env: process.env,
    cwd: process.cwd(),
    signal,
  };
}
