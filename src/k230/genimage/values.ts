/** Values of a genimage configuration: sizes with units, numbers, truth values (specification section 8, packer). */
import { OtaError } from "../../core/errors.ts";
import { decodeText, encodeText, printable } from "../../core/text.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1, s: 512, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Where in a configuration something stands. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

export function configError(
  place: Place,
  what: string,
  more: { expected?: string; found?: string; hint?: string } = {},
): OtaError {
  return new OtaError("K230_CONFIG", { what, where: `${place.file}:${place.line}`, ...more });
}

/**
 * Bytes: `0x..`, or decimal with an optional fraction and K, M, G, T (1024 each) or s (512).
 * A plain decimal, which crashes the vendor's packer, is accepted.
 * @throws OtaError K230_CONFIG
 */
export function parseSize(text: string, place: Place): number {
  const hex = /^0[xX]([0-9a-fA-F]+)$/.exec(text);
  const decimal = /^([0-9]+(?:\.[0-9]+)?)\s*([sSkKmMgGtT]?)$/.exec(text);
  const value =
    hex !== null
      ? Number.parseInt(hex[1] ?? "", 16)
      : decimal !== null
        ? Math.trunc(Number(decimal[1]) * (UNITS[(decimal[2] ?? "").toLowerCase()] ?? Number.NaN))
        : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw configError(place, "not a size", { expected: "0x10000, 64K, 1.5M or 65536", found: printable(text) });
  }
  return value;
}

/** A 64-bit pattern, hex or decimal. @throws OtaError K230_CONFIG */
export function parseBits(text: string, place: Place): bigint {
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) {
    throw configError(place, "not a whole number", { expected: "0x3 or 3", found: printable(text) });
  }
  const value = BigInt(text);
  if (value > 0xffffffffffffffffn) throw configError(place, "number is beyond 64 bits", { found: printable(text) });
  return value;
}

const TRUE = ["true", "yes", "on", "1"];
const FALSE = ["false", "no", "off", "0"];

/** @throws OtaError K230_CONFIG */
export function parseTruth(text: string, place: Place): boolean {
  const lower = text.toLowerCase();
  if (TRUE.includes(lower)) return true;
  if (FALSE.includes(lower)) return false;
  throw configError(place, "not a truth value", { expected: "true or false", found: printable(text) });
}

/** Texts are cut to the field less one, as UTF-8 bytes, in the middle of a character if need be. */
export function cutText(text: string, bytes: number): string {
  return decodeText(encodeText(text).subarray(0, bytes));
}
