/** A block's stored bytes: those of its strips, one behind the other, behind the sizes of all but the last. */
import { concatBytes, readU32, writeU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";

/** Bytes of a size. */
const SIZE = 4;

export function joinStrips(strips: readonly Uint8Array[]): Uint8Array {
  const sizes = new Uint8Array(SIZE * (strips.length - 1));
  for (let i = 0; i + 1 < strips.length; i++) writeU32(sizes, SIZE * i, (strips[i] as Uint8Array).length);
  return concatBytes(sizes, ...strips);
}

/** The stored bytes of `count` strips, at least 1. @throws OtaError FORGE_DAMAGED */
export function splitStrips(stored: Uint8Array, count: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  let at = SIZE * (count - 1);
  for (let i = 0; i + 1 < count; i++) {
    const end = at <= stored.length ? at + readU32(stored, SIZE * i) : Number.NaN;
    if (!(end <= stored.length)) throw new OtaError("FORGE_DAMAGED", "a block is too short for its strips");
    out.push(stored.subarray(at, end));
    at = end;
  }
  out.push(stored.subarray(at));
  return out;
}
