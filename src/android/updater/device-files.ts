/** What the update programs need of a device's files and nodes, in the terms of their original: paths, targets, errno texts. */
import { isOtaError, OtaError } from "../../core/errors.ts";
import type { ErrorCode } from "../../core/errors.ts";
import { toHex } from "../../core/bytes.ts";
import type {
  BlockTarget,
  ByteStream,
  Device,
  DigestName,
  FileInfo,
  OpenFile,
  RandomReader,
} from "../../core/ports.ts";
import { decodeText } from "../../core/text.ts";
import { unicode } from "../latin1.ts";

/** The path of a byte string; scripts run in `/`, so a relative name begins there. */
export function devicePath(name: string): string {
  const text = unicode(name);
  return text.startsWith("/") ? text : `/${text}`;
}

export function parentOf(path: string): string {
  const at = path.replace(/\/+$/, "").lastIndexOf("/");
  return at <= 0 ? "/" : path.slice(0, at);
}

/** Texts of errno values that stand for a failure of a port. */
const ERRNO: Partial<Record<ErrorCode, string>> = {
  DEVICE_NOT_FOUND: "No such file or directory",
  DEVICE_EXISTS: "File exists",
  DEVICE_NOT_FILE: "Is a directory",
  DEVICE_NOT_FOLDER: "Not a directory",
  DEVICE_NOT_EMPTY: "Directory not empty",
  DEVICE_PATH_REFUSED: "Invalid argument",
  DEVICE_OTHER_FILE_SYSTEM: "Invalid cross-device link",
  DEVICE_LINK_REFUSED: "Too many levels of symbolic links",
  DEVICE_NO_SPACE: "No space left on device",
  DEVICE_TOO_SMALL: "No space left on device",
  DEVICE_READ_ONLY: "Read-only file system",
  DEVICE_BUSY: "Device or resource busy",
  DEVICE_WRONG_KIND: "Invalid argument",
};

/**
 * Text of a failure that a function of the original would have seen as a failed system call or a damaged entry; anything
 * else (a power cut, an interrupt, a bug) is thrown on.
 */
export function failureText(e: unknown): string {
  if (!isOtaError(e) || e.kind === "interrupted" || e.kind === "usage") throw e;
  return ERRNO[e.code] ?? "Input/output error";
}

const MEDIUM_FAILURES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "DEVICE_IO",
  "DEVICE_NO_SPACE",
  "DEVICE_READ_ONLY",
  "DEVICE_BAD_BLOCK",
  "DEVICE_BUSY",
]);

/** Whether a failure is the medium's: an error of input or output, no room, not writable. */
export function isMediumFailure(e: unknown): boolean {
  return isOtaError(e) && MEDIUM_FAILURES.has(e.code);
}

/** Runs `action`; a failure of the device or of the package's data goes to `failed`. */
export async function orFail<T>(action: () => Promise<T>, failed: (text: string, error: unknown) => T): Promise<T> {
  try {
    return await action();
  } catch (e) {
    return failed(failureText(e), e);
  }
}

/** A device node, or a plain file that stands for one. */
export async function openTarget(device: Device, path: string, access: "read" | "write"): Promise<BlockTarget> {
  const info = await device.nodes.info(path);
  if (info !== undefined && info.kind !== "file") return device.nodes.open(path, access);
  const file = await device.files.open(path, access === "read" ? "read" : "update");
  return {
    path,
    get size() {
      return file.size;
    },
    read: (offset, length) => file.read(offset, length),
    write: (offset, bytes) => {
      if (offset + bytes.length > file.size) {
        throw new OtaError("DEVICE_TOO_SMALL", { what: "write reaches past the end of the target", where: path });
      }
      return file.write(offset, bytes);
    },
    flush: () => file.sync(),
    close: () => file.close(),
  };
}

/** Kind of a device node; undefined for plain files and nothing. */
export async function nodeKind(device: Device, path: string): Promise<"block" | "nand" | "nor" | "ubi" | undefined> {
  try {
    const info = await device.nodes.info(path);
    return info === undefined || info.kind === "file" ? undefined : info.kind;
  } catch (e) {
    failureText(e);
    return undefined;
  }
}

export async function statPath(device: Device, path: string): Promise<FileInfo | undefined> {
  return device.files.stat(path);
}

/** Hex digest of a stream, or of a part of a reader. */
export async function digestOf(device: Device, name: DigestName, source: ByteStream): Promise<string> {
  const digest = device.digests.create(name);
  for await (const chunk of source) digest.update(chunk);
  return toHex(digest.digest());
}

/** Writes a stream to the end; gives its size. */
export async function writeStream(file: Pick<OpenFile, "write">, source: ByteStream): Promise<number> {
  let at = 0;
  for await (const chunk of source) {
    await file.write(at, chunk);
    at += chunk.length;
  }
  return at;
}

/** Whether a reader holds exactly the stream from `offset` on. */
export async function holds(reader: RandomReader, expected: ByteStream, offset = 0): Promise<boolean> {
  let at = offset;
  for await (const chunk of expected) {
    const found = await reader.read(at, chunk.length);
    for (let i = 0; i < chunk.length; i++) if (chunk[i] !== found[i]) return false;
    at += chunk.length;
  }
  return true;
}

/** Makes missing parents of `path` with `mode`, as the update programs do for links and renames. */
export async function makeParents(
  device: Device,
  path: string,
  mode: number,
  made: (folder: string) => void = () => undefined,
): Promise<void> {
  const missing: string[] = [];
  for (let folder = parentOf(path); folder !== "/"; folder = parentOf(folder)) {
    if ((await device.files.stat(folder)) !== undefined) break;
    missing.push(folder);
  }
  for (const folder of missing.reverse()) {
    await device.files.makeFolder(folder, mode);
    made(folder);
  }
}

/**
 * Node of a flash partition by its name. A board names them in `/proc/mtd`; a device description may name the node
 * `/dev/mtd/by-name/NAME` or `/dev/block/mtd/by-name/NAME`.
 */
export async function findMtd(device: Device, name: string): Promise<string | undefined> {
  for (const folder of ["/dev/mtd/by-name", "/dev/block/mtd/by-name"]) {
    const path = devicePath(`${folder}/${name}`);
    if (/[/\0]/.test(name) || name === "" || name === "..") return undefined;
    if ((await nodeKind(device, path)) !== undefined) return path;
  }
  const info = await device.files.stat("/proc/mtd");
  if (info === undefined) return undefined;
  const file = await device.files.open("/proc/mtd", "read");
  try {
    const bytes = await file.read(0, Math.min(file.size, 65536));
    for (const line of decodeText(bytes).split("\n")) {
      const match = /^mtd(\d+): [0-9a-f]+ [0-9a-f]+ "(.*)"$/.exec(line);
      if (match !== null && match[2] === name) return `/dev/mtd${match[1]}`;
    }
  } finally {
    await file.close();
  }
  return undefined;
}
