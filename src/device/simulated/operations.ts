/** What happens to a simulated device, one entry a write: the log that a rehearsal cuts. */
import { hexOffset } from "../../core/index.ts";
import type { FileAttributes } from "../../core/index.ts";

/** A new file, folder or link, before anything was written to it. */
export interface Birth {
  readonly ino: number;
  readonly kind: "file" | "folder" | "link";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Text of a symbolic link. */
  readonly text: string;
}

/** A name that begins to mean another file, or none. */
export interface NameChange {
  readonly folder: number;
  readonly name: string;
  readonly ino: number | undefined;
}

type Kinds =
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "flush" }
  | { readonly kind: "program"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "erase"; readonly offset: number; readonly length: number }
  | { readonly kind: "mark-bad"; readonly offset: number }
  | { readonly kind: "ubi-begin"; readonly volume: number; readonly size: number }
  | { readonly kind: "ubi-data"; readonly volume: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "ubi-end"; readonly volume: number }
  | { readonly kind: "ubi-create"; readonly volume: number; readonly name: string; readonly size: number }
  | { readonly kind: "ubi-remove"; readonly volume: number }
  | { readonly kind: "ubi-swap"; readonly volume: number; readonly other: number }
  | { readonly kind: "names"; readonly changes: readonly NameChange[]; readonly birth?: Birth }
  | { readonly kind: "data"; readonly ino: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "size"; readonly ino: number; readonly size: number }
  | { readonly kind: "attributes"; readonly ino: number; readonly attributes: FileAttributes }
  | { readonly kind: "sync-file"; readonly ino: number }
  | { readonly kind: "sync-folder"; readonly ino: number };

/** One write, flush, rename … as the medium saw it. */
export type SimulatedWrite = Kinds & {
  /** Number of the medium in its device. */
  readonly medium: number;
  /** Node or path, for people. */
  readonly where: string;
  readonly timeMs: number;
};

/** The kinds without the fields that the machine adds. */
export type WriteRequest = Kinds & { readonly medium: number; readonly where: string };

/** One line for people: `write /dev/mtd4 at 0x1000, 4096 bytes`. */
export function describeWrite(op: SimulatedWrite): string {
  const range = "offset" in op ? ` at ${hexOffset(op.offset)}` : "";
  const amount = "bytes" in op ? `, ${op.bytes.length} bytes` : "length" in op ? `, ${op.length} bytes` : "";
  return `${op.kind} ${op.where}${range}${amount}`;
}

/** Writes are single events of at most this size, bytes, so that a long one has many places to be cut. */
export const WRITE_UNIT = 4096;

/** Calls `each` for the pieces of a range that end at multiples of `unit`. */
export function eachPiece(
  offset: number,
  length: number,
  unit: number,
  each: (at: number, size: number) => void,
): void {
  for (let done = 0; done < length;) {
    const at = offset + done;
    const size = Math.min(unit - (at % unit), length - done);
    each(at, size);
    done += size;
  }
}
