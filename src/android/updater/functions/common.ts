/** What the function tables share. */
import type { EdifyBlob, EdifyFunction, EdifyInvocation } from "../../edify/evaluate.ts";
import { EdifyAbort } from "../../edify/evaluate.ts";
import { memoryReader, streamRange } from "../../../core/streams.ts";
import { OtaError } from "../../../core/errors.ts";
import type { RandomReader } from "../../../core/ports.ts";
import { CAUSES } from "../host.ts";

export type FunctionTable = Record<string, EdifyFunction>;

/** `f() expects N args, got M`. */
export function countError(call: EdifyInvocation, expected: string): EdifyAbort {
  return new EdifyAbort(`${call.name}() expects ${expected}, got ${call.args.length}`, CAUSES.arguments);
}

/** All arguments as strings, of which there must be exactly `count`. */
export async function exactly(call: EdifyInvocation, count: number): Promise<string[]> {
  if (call.args.length !== count) {
    throw countError(call, count === 0 ? "no args" : count === 1 ? "1 arg" : `${count} args`);
  }
  return call.strings();
}

/** The first `count` arguments; the original reads past the end when there are fewer, this stops. */
export async function firstOf(call: EdifyInvocation, count: number): Promise<string[]> {
  if (call.args.length < count) throw countError(call, count === 1 ? "1 arg" : `${count} args`);
  return call.strings(call.args.slice(0, count));
}

/** Stops when an argument is empty. `as`: the name of the function in the message, where the original has another one. */
export function notEmpty(
  call: EdifyInvocation,
  values: Readonly<Record<string, string | undefined>>,
  as = call.name,
): void {
  for (const [what, value] of Object.entries(values)) {
    if (value === "" || value === undefined) {
      throw new EdifyAbort(`${what} argument to ${as}() can't be empty`, CAUSES.arguments);
    }
  }
}

/** Most that is read of a file or entry at once, bytes: patches and scripts are far smaller. */
export const MAX_IN_MEMORY = 512 * 1024 * 1024;

export function blobOf(reader: RandomReader): EdifyBlob {
  return {
    kind: "blob",
    size: reader.size,
    stream: () => streamRange(reader),
    bytes: () => {
      if (reader.size > MAX_IN_MEMORY) {
        throw new OtaError("ZIP_LIMIT", {
          what: "too large to be held in memory",
          expected: MAX_IN_MEMORY,
          found: reader.size,
        });
      }
      return reader.read(0, reader.size);
    },
  };
}

/** The value of a file that could not be read. */
export const FAILED_BLOB: EdifyBlob = { ...blobOf(memoryReader(new Uint8Array(0))), size: -1 };
