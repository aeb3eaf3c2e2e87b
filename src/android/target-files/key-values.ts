/**
 * `key=value` texts: META/misc_info.txt, SYSTEM/build.prop, META/dynamic_partitions_info.txt
 * (formats/android.md 1.2). Split at the first `=`; blank lines and `#` lines are skipped.
 */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";

/** Lines of a text without their ends; LF and CRLF both end one. */
export function textLines(text: string): string[] {
  return text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
}

/**
 * The values in the order they stand, a later key winning.
 * @param where name of the text in errors
 * @throws OtaError ANDROID_TARGET_FILES on a line without `=`
 */
export function parseKeyValues(text: string, where: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const [i, full] of textLines(text).entries()) {
    const line = full.trim();
    if (line === "" || line.startsWith("#")) continue;
    const equals = line.indexOf("=");
    if (equals < 0) {
      throw new OtaError("ANDROID_TARGET_FILES", {
        what: "a line has no =",
        where: `${where} line ${i + 1}`,
        found: printable(line.slice(0, 80)),
      });
    }
    values.set(line.slice(0, equals), line.slice(equals + 1));
  }
  return values;
}

/** An integer, decimal or 0x. @throws OtaError ANDROID_TARGET_FILES */
export function parseInteger(text: string, where: string): number {
  const trimmed = text.trim();
  const value = /^-?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(trimmed)
    ? trimmed.startsWith("-")
      ? -Number(trimmed.slice(1))
      : Number(trimmed)
    : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw new OtaError("ANDROID_TARGET_FILES", { what: "not an integer", where, found: printable(text.slice(0, 80)) });
  }
  return value;
}
