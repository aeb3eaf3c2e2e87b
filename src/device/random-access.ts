/** What both kinds of file readers ask before they read, and say when a file ends early. */
import type { Stats } from "node:fs";
import { OtaError } from "../core/errors.ts";

/** @throws OtaError DEVICE_NOT_FILE for folders, pipes and sockets */
export function requireRandomAccess(stat: Stats, path: string): void {
  if (stat.isFile() || stat.isBlockDevice() || stat.isCharacterDevice()) return;
  throw new OtaError("DEVICE_NOT_FILE", {
    what: "not a file that can be read at any offset",
    where: path,
    found: stat.isDirectory() ? "a folder" : "a pipe or socket",
  });
}

/** A read that met the end before `end`; `found`: where the file ends now. */
export function becameShorter(path: string, end: number, found: number): OtaError {
  return new OtaError("READ_PAST_END", {
    what: "the file became shorter while it was read",
    where: path,
    expected: `${end} bytes`,
    found,
  });
}
