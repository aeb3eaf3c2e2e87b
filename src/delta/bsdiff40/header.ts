/** The BSDIFF40 header and its numbers: 64-bit little-endian magnitude with the sign in the top bit. */
import { hexOffset, readU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";

/** ASCII `BSDIFF40`. */
export const BSDIFF40_MAGIC = Object.freeze([0x42, 0x53, 0x44, 0x49, 0x46, 0x46, 0x34, 0x30]);
/** Bytes of the header: magic, control size, difference size, new size. */
export const BSDIFF40_HEADER_SIZE = 32;

export interface Bsdiff40Header {
  /** Bytes of the compressed control stream, which follows the header. */
  readonly controlSize: number;
  /** Bytes of the compressed difference stream behind it; the extra stream is the rest. */
  readonly diffSize: number;
  /** Bytes of the new file. */
  readonly newSize: number;
}

/** Sign-and-magnitude number at `at`; NaN when it is beyond 2^53-1. */
export function readOffset(b: Uint8Array, at: number): number {
  const high = readU32(b, at + 4);
  const negative = high >= 0x80000000;
  const magnitude = high % 0x80000000;
  if (magnitude > 0x1fffff) return Number.NaN;
  const value = magnitude * 0x100000000 + readU32(b, at);
  return negative ? 0 - value : value;
}

/** Writes a safe integer as sign and magnitude. */
export function writeOffset(b: Uint8Array, at: number, value: number): void {
  let rest = Math.abs(value);
  for (let i = 0; i < 8; i++) {
    b[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  if (value < 0) b[at + 7] = (b[at + 7] as number) | 0x80;
}

export function isBsdiff40(bytes: Uint8Array): boolean {
  return BSDIFF40_MAGIC.every((value, i) => bytes[i] === value);
}

/**
 * Reads the first {@link BSDIFF40_HEADER_SIZE} bytes of a patch.
 * @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER
 */
export function readBsdiff40Header(bytes: Uint8Array): Bsdiff40Header {
  if (!isBsdiff40(bytes)) {
    throw new OtaError("BSDIFF_MAGIC", { what: "not a BSDIFF40 patch", where: "0x0", expected: "BSDIFF40" });
  }
  if (bytes.length < BSDIFF40_HEADER_SIZE) {
    throw new OtaError("BSDIFF_HEADER", {
      what: "the patch is cut short in its header",
      where: hexOffset(bytes.length),
      expected: `${BSDIFF40_HEADER_SIZE} bytes`,
      found: bytes.length,
    });
  }
  return {
    controlSize: size(bytes, 8, "control size"),
    diffSize: size(bytes, 16, "difference size"),
    newSize: size(bytes, 24, "new size"),
  };
}

function size(bytes: Uint8Array, at: number, name: string): number {
  const value = readOffset(bytes, at);
  if (!(value >= 0)) {
    throw new OtaError("BSDIFF_HEADER", {
      what: `the ${name} is ${Number.isNaN(value) ? "beyond 2^53-1" : "negative"}`,
      where: hexOffset(at),
    });
  }
  return value;
}

/** The header's bytes. */
export function writeBsdiff40Header(header: Bsdiff40Header): Uint8Array {
  const out = new Uint8Array(BSDIFF40_HEADER_SIZE);
  out.set(BSDIFF40_MAGIC);
  writeOffset(out, 8, header.controlSize);
  writeOffset(out, 16, header.diffSize);
  writeOffset(out, 24, header.newSize);
  return out;
}
