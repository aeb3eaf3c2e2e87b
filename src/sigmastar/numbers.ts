/** Numbers of the packer's command line (specification section 3.2) and the mask text (3.3). */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";

/**
 * The value of a `-t`, `-m` or mask text: `0x` and hex digits, otherwise decimal digits; a leading zero is not octal. Empty
 * text is 0.
 *
 * @param most largest value of the field
 * @throws OtaError SIGMASTAR_NUMBER for anything else (the vendor program stores 0xffffffff)
 */
export function parseNumber(text: string, option: string, most: number): number {
  if (text === "") return 0;
  const value = /^0[xX][0-9a-fA-F]+$/.test(text)
    ? Number.parseInt(text.slice(2), 16)
    : /^[0-9]+$/.test(text)
      ? Number.parseInt(text, 10)
      : Number.NaN;
  if (Number.isNaN(value)) {
    throw new OtaError("SIGMASTAR_NUMBER", {
      what: "bad number",
      where: option,
      expected: "decimal digits, or 0x and hex digits",
      found: printable(text),
    });
  }
  if (value > most) {
    throw new OtaError("SIGMASTAR_NUMBER", {
      what: "the number does not fit its field",
      where: option,
      expected: `at most ${most}`,
      found: text,
    });
  }
  return value;
}

/** The masks of a `--default-mask` text, one a token, as unsigned 32-bit values. Split at U+0020 only. */
export function parseMasks(text: string): number[] {
  return text
    .split(" ")
    .filter((token) => token !== "")
    .map((token) => parseNumber(token, "--default-mask", 0xffffffff));
}

/** An unsigned 32-bit mask as the signed value that is stored. */
export function storedMask(mask: number): number {
  return mask > 0x7fffffff ? mask - 0x100000000 : mask;
}

/** A stored mask as the unsigned value that is printed. */
export function shownMask(mask: number): number {
  return mask < 0 ? mask + 0x100000000 : mask;
}
