/** What the operating system's error codes mean here. */
import { OtaError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";

const MEANING: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ["DEVICE_NOT_FOUND", "does not exist"],
  ENODEV: ["DEVICE_NOT_FOUND", "no such device"],
  ENXIO: ["DEVICE_NOT_FOUND", "no such device"],
  EEXIST: ["DEVICE_EXISTS", "exists already"],
  EISDIR: ["DEVICE_NOT_FILE", "is a folder"],
  ENOTDIR: ["DEVICE_NOT_FOLDER", "a part of the path is no folder"],
  ENOTEMPTY: ["DEVICE_NOT_EMPTY", "the folder is not empty"],
  ELOOP: ["DEVICE_LINK_REFUSED", "leads through a symbolic link, which is not followed"],
  ENOSPC: ["DEVICE_NO_SPACE", "no room is left"],
  EDQUOT: ["DEVICE_NO_SPACE", "the quota is used up"],
  EFBIG: ["DEVICE_NO_SPACE", "larger than the file system allows"],
  EROFS: ["DEVICE_READ_ONLY", "is read-only"],
  EACCES: ["DEVICE_READ_ONLY", "permission is missing"],
  EPERM: ["DEVICE_READ_ONLY", "permission is missing"],
  EBUSY: ["DEVICE_BUSY", "is in use"],
  ETXTBSY: ["DEVICE_BUSY", "is a running program"],
  EXDEV: ["DEVICE_OTHER_FILE_SYSTEM", "lies on another file system"],
  EINVAL: ["DEVICE_WRONG_KIND", "does not allow this operation"],
  ENAMETOOLONG: ["DEVICE_PATH_REFUSED", "has a name that is too long"],
};

/** The system's error code (`ENOENT`), if `e` carries one. */
export function systemCode(e: unknown): string | undefined {
  return e instanceof Error && "code" in e && typeof e.code === "string" ? e.code : undefined;
}

/** A system error as a typed one; an OtaError stays as it is, anything without a system code is a bug and stays, too. */
export function deviceError(e: unknown, path: string): unknown {
  if (e instanceof OtaError) return e;
  const code = systemCode(e);
  if (code === undefined || code.startsWith("ERR_")) return e;
  const [meaning, what] = MEANING[code] ?? ["DEVICE_IO", "input or output error"];
  return new OtaError(meaning, { what, where: path, found: code }, e);
}
