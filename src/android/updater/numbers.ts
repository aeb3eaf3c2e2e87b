/** Numbers as the C library of the original reads and prints them. */

/** `strtod` at the beginning of a text, 0 when there is no number. */
export function parseDouble(text: string): number {
  const match = /^[ \t\n\v\f\r]*([+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|nan))/i.exec(text);
  if (match === null) return 0;
  const word = (match[1] as string).toLowerCase();
  if (word.endsWith("inf")) return word.startsWith("-") ? -Infinity : Infinity;
  return Number(word);
}

/** `%f` and `%.4f`. */
export function formatDouble(value: number, digits = 6): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (Math.abs(value) < 1e21) return value.toFixed(digits);
  return `${BigInt(value)}.${"0".repeat(digits)}`;
}

/** `strtol`: value and whether all of the text was the number. `base` 0 takes 0x and 0 as C does. */
export function parseInteger(
  text: string,
  base: 0 | 10,
): { readonly value: number; readonly whole: boolean; readonly any: boolean } {
  const match =
    base === 10
      ? /^[ \t\n\v\f\r]*([+-]?)(\d+)/.exec(text)
      : /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)/.exec(text);
  if (match === null) return { value: 0, whole: false, any: false };
  const digits = match[2] as string;
  let value: number;
  if (base === 0 && /^0[xX]/.test(digits)) value = Number.parseInt(digits.slice(2), 16);
  else if (base === 0 && digits.startsWith("0")) value = Number.parseInt(digits, 8);
  else value = Number.parseInt(digits, 10);
  return { value: match[1] === "-" ? -value : value, whole: match[0].length === text.length, any: true };
}

/** `%d` of a `strtol` value put into an int. */
export function toInt32(value: number): number {
  if (!Number.isFinite(value)) return -1;
  const clamped = Math.max(-(2 ** 63), Math.min(2 ** 63 - 1, value));
  return Number(BigInt.asIntN(32, BigInt(Math.trunc(clamped))));
}
