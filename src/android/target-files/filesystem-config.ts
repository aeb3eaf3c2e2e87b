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

/** Longer than any path; the pattern's time grows with the square of the line. */
const MOST_LINE = 8192;
/** Path, owner, group, mode, pairs. A path may hold blanks: the build's tool writes names as they are. */
const LINE = /^(.*?)\s+([0-9]+)\s+([0-9]+)\s+([0-7]{1,4})((?:\s+[^\s=]+=\S*)*)$/;

/**
 * `path uid gid mode [key=value…]` lines by path. A line may have an empty path: the default of a ramdisk.
 * @throws OtaError ANDROID_TARGET_FILES
 */
export function parseFilesystemConfig(text: string, where: string): Map<string, FileMetadata> {
  const entries = new Map<string, FileMetadata>();
  for (const [i, line] of textLines(text).entries()) {
    if (line.trim() === "") continue;
    // Not trimmed at the front: a line that begins with a blank describes the empty path.
    const match = line.length > MOST_LINE ? null : LINE.exec(line.trimEnd());
    const [, path = "", uid = "", gid = "", mode = "", rest = ""] = match ?? [];
    if (match === null) {
      throw new OtaError("ANDROID_TARGET_FILES", {
        what: "malformed line",
        where: `${where} line ${i + 1}`,
        expected: "path uid gid mode [selabel=L] [capabilities=0xN]",
        found: printable(line.slice(0, 120)),
      });
    }
    const pairs = new Map<string, string>();
    for (const item of rest.split(/\s+/)) {
      const equals = item.indexOf("=");
      if (equals > 0) pairs.set(item.slice(0, equals), item.slice(equals + 1));
    }
    const selabel = pairs.get("selabel");
    const capabilities = pairs.get("capabilities");
    entries.set(path, {
      uid: Number(uid),
      gid: Number(gid),
      mode: Number.parseInt(mode, 8),
      ...(selabel === undefined ? {} : { selabel }),
      ...(capabilities === undefined ? {} : { capabilities }),
    });
  }
  return entries;
}
