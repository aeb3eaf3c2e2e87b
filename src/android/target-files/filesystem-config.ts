/** META/filesystem_config.txt and its relatives: owner, mode and label of packaged files (formats/android.md 1.4). */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import { textLines } from "./key-values.ts";

export interface FileMetadata {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly selabel?: string;
  /** As the config spells it: `0x0`, `0xc0`. */
  readonly capabilities?: string;
}

function number(text: string | undefined, pattern: RegExp, radix: number): number {
  return text !== undefined && pattern.test(text) ? Number.parseInt(text, radix) : Number.NaN;
}

/**
 * `path uid gid mode [key=value…]` lines by path. A line may have an empty path: the default of a ramdisk.
 * @throws OtaError ANDROID_TARGET_FILES
 */
export function parseFilesystemConfig(text: string, where: string): Map<string, FileMetadata> {
  const entries = new Map<string, FileMetadata>();
  for (const [i, line] of textLines(text).entries()) {
    if (line.trim() === "") continue;
    // Not trimmed at the front: a line that begins with a blank describes the empty path.
    const [path = "", uidText, gidText, modeText, ...rest] = line.trimEnd().split(/\s+/);
    const uid = number(uidText, /^[0-9]+$/, 10);
    const gid = number(gidText, /^[0-9]+$/, 10);
    const mode = number(modeText, /^[0-7]+$/, 8);
    if (Number.isNaN(uid) || Number.isNaN(gid) || Number.isNaN(mode) || mode > 0o7777) {
      throw new OtaError("ANDROID_TARGET_FILES", {
        what: "malformed line",
        where: `${where} line ${i + 1}`,
        expected: "path uid gid mode [selabel=L] [capabilities=0xN]",
        found: printable(line.slice(0, 120)),
      });
    }
    const pairs = new Map<string, string>();
    for (const item of rest) {
      const equals = item.indexOf("=");
      if (equals > 0) pairs.set(item.slice(0, equals), item.slice(equals + 1));
    }
    const selabel = pairs.get("selabel");
    const capabilities = pairs.get("capabilities");
    entries.set(path, {
      uid,
      gid,
      mode,
      ...(selabel === undefined ? {} : { selabel }),
      ...(capabilities === undefined ? {} : { capabilities }),
    });
  }
  return entries;
}
