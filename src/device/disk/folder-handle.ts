/**
 * Walks to a folder without following any link. Node has no `openat`; on Linux `/proc/self/fd/N/name` is the same thing: each
 * part is opened below the folder that is already open, so that a link planted in between is met, not followed.
 */
import { closeSync, constants, existsSync, lstatSync, openSync } from "node:fs";
import { OtaError, encodeText } from "../../core/index.ts";
import { deviceError, systemCode } from "../system-errors.ts";

/** Only a place in the tree, no right to read it (Linux, all architectures of interest). */
const O_PATH = 0o10000000;
const HAS_PROC = existsSync("/proc/self/fd");

/** A folder that stays the same folder until it is closed. */
export interface FolderHandle {
  /** Path of a name in the folder, for any call that does not follow a link in the last part. */
  child(name: string): Buffer;
  /** Path of the folder itself. */
  readonly self: Buffer;
  close(): void;
}

function join(folder: Buffer, name: string): Buffer {
  return Buffer.concat([folder, Buffer.from("/"), encodeText(name)]);
}

/** Says why a part of a path could not be entered. */
function refuse(at: Buffer, path: string, e: unknown): never {
  const code = systemCode(e);
  if (code === "ENOTDIR" || code === "ELOOP") {
    const isLink = ((): boolean => {
      try {
        return lstatSync(at).isSymbolicLink();
      } catch {
        return false;
      }
    })();
    if (isLink) {
      throw new OtaError("DEVICE_LINK_REFUSED", {
        what: "leads through a symbolic link, which is not followed",
        where: path,
      });
    }
  }
  throw deviceError(e, path) as Error;
}

function openPlain(root: string, parts: readonly string[], path: string): FolderHandle {
  let at: Buffer = Buffer.from(root);
  for (const part of parts) {
    at = join(at, part);
    try {
      const stat = lstatSync(at);
      if (!stat.isDirectory()) throw Object.assign(new Error("not a folder"), { code: "ENOTDIR" });
    } catch (e) {
      refuse(at, path, e);
    }
  }
  return { self: at, child: (name) => join(at, name), close() {} };
}

/** Opens the folder `parts` below `root`; `path` names it in errors. The root itself may be reached through links. */
export function openFolder(root: string, parts: readonly string[], path: string): FolderHandle {
  if (!HAS_PROC) return openPlain(root, parts, path);
  let fd: number;
  try {
    fd = openSync(root, O_PATH | constants.O_DIRECTORY);
  } catch (e) {
    throw deviceError(e, path) as Error;
  }
  for (const part of parts) {
    const at = join(Buffer.from(`/proc/self/fd/${fd}`), part);
    let next: number;
    try {
      next = openSync(at, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    } catch (e) {
      try {
        refuse(at, path, e);
      } finally {
        closeSync(fd);
      }
    }
    closeSync(fd);
    fd = next;
  }
  const self = Buffer.from(`/proc/self/fd/${fd}`);
  return { self, child: (name) => join(self, name), close: () => closeSync(fd) };
}
