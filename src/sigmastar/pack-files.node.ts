/** {@link PackFiles} and package files over Node's file system. Names that are no UTF-8 survive. */
import { constants } from "node:fs";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { compareBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { OpenFile } from "../core/ports.ts";
import { checkRange } from "../core/streams.ts";
import { decodeText, encodeText, printable } from "../core/text.ts";
import type { PackFiles, SourceFile } from "./pack-files.ts";

function native(path: string): Buffer {
  return Buffer.from(encodeText(path));
}

function errno(e: unknown): string {
  return (e as NodeJS.ErrnoException | undefined)?.code ?? "";
}

function ioError(e: unknown, path: string): OtaError {
  if (e instanceof OtaError) return e;
  const code = errno(e);
  if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
    return new OtaError("DEVICE_NO_SPACE", { what: "no room is left", where: printable(path), found: code }, e);
  }
  return new OtaError(
    "DEVICE_IO",
    { what: "input or output error", where: printable(path), found: code || String(e) },
    e,
  );
}

/** Fills all of `bytes` from `position`; a file that ends earlier was changed. */
async function readFully(handle: FileHandle, bytes: Uint8Array, position: number, path: string): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) {
      throw new OtaError("SIGMASTAR_SOURCE_CHANGED", {
        what: "the file became shorter while it was read",
        where: printable(path),
      });
    }
    done += bytesRead;
  }
}

async function readChunk(handle: FileHandle, offset: number, length: number, path: string): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length);
  try {
    await readFully(handle, bytes, offset, path);
  } catch (e) {
    throw ioError(e, path);
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, length);
}

async function openSource(path: string): Promise<SourceFile> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK a pipe without a writer would hang here.
    handle = await open(native(path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (e) {
    if (errno(e) === "ENOENT" || errno(e) === "ENOTDIR") {
      throw new OtaError(
        "SIGMASTAR_SOURCE_MISSING",
        { what: "the source file does not exist", where: printable(path) },
        e,
      );
    }
    throw ioError(e, path);
  }
  const info = await handle.stat();
  if (!info.isFile()) {
    await handle.close();
    throw new OtaError("SIGMASTAR_SOURCE_KIND", {
      what: "the source is no regular file",
      where: printable(path),
      found: info.isDirectory() ? "a folder" : "a device, pipe or socket",
    });
  }
  return {
    size: info.size,
    mode: info.mode,
    async read(offset, length) {
      checkRange(info.size, offset, length);
      return readChunk(handle, offset, length, path);
    },
    async readInto(offset, target) {
      checkRange(info.size, offset, target.length);
      try {
        await readFully(handle, target, offset, path);
      } catch (e) {
        throw ioError(e, path);
      }
    },
    close: () => handle.close(),
  };
}

/** Source files of this machine. */
export const nodePackFiles: PackFiles = {
  async info(path) {
    try {
      const s = await stat(native(path), { bigint: true });
      return {
        kind: s.isFile() ? "file" : s.isDirectory() ? "folder" : "other",
        size: Number(s.size),
        mode: Number(s.mode),
        identity: `${s.dev}:${s.ino}`,
      };
    } catch (e) {
      if (errno(e) === "ENOENT" || errno(e) === "ENOTDIR") return undefined;
      throw ioError(e, path);
    }
  },
  async list(path) {
    try {
      const names: Uint8Array[] = await readdir(native(path), { encoding: "buffer" });
      return names.sort(compareBytes).map((name) => decodeText(name));
    } catch (e) {
      throw ioError(e, path);
    }
  },
  open: openSource,
};

/** Opens an existing package for reading and writing. @throws OtaError SIGMASTAR_PACKAGE_MISSING, DEVICE_IO */
export async function openPackageFile(path: string, access: "read" | "update" = "update"): Promise<OpenFile> {
  let handle: FileHandle;
  try {
    handle = await open(native(path), access === "read" ? "r" : "r+");
  } catch (e) {
    if (errno(e) === "ENOENT" || errno(e) === "ENOTDIR") {
      const hint = access === "read" ? "" : "Make it with -c first.";
      throw new OtaError("SIGMASTAR_PACKAGE_MISSING", {
        what: "the package does not exist",
        where: printable(path),
        ...(hint === "" ? {} : { hint }),
      });
    }
    throw ioError(e, path);
  }
  const info = await handle.stat();
  if (!info.isFile()) {
    await handle.close();
    throw new OtaError("SIGMASTAR_SOURCE_KIND", { what: "the package is no regular file", where: printable(path) });
  }
  let { size } = info;
  return {
    get size() {
      return size;
    },
    async read(offset, length) {
      checkRange(size, offset, length);
      return readChunk(handle, offset, length, path);
    },
    async write(offset, bytes) {
      try {
        for (let done = 0; done < bytes.length;) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
          done += bytesWritten;
        }
      } catch (e) {
        throw ioError(e, path);
      }
      size = Math.max(size, offset + bytes.length);
    },
    async truncate(length) {
      try {
        await handle.truncate(length);
      } catch (e) {
        throw ioError(e, path);
      }
      size = length;
    },
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

/**
 * Puts `content` in place under `path`: written beside it and renamed, so that a failure leaves what was there. What is no
 * regular file (a device, a link) is written to directly. `mode` is that of a new file, before the umask.
 */
export async function replaceFile(path: string, content: Uint8Array, mode = 0o666): Promise<void> {
  const target = await nodePackFiles.info(path);
  try {
    const link = await isLink(path);
    if ((target !== undefined && target.kind !== "file") || link) {
      const handle = await open(native(path), "w", mode);
      try {
        await handle.writeFile(content);
      } finally {
        await handle.close();
      }
      return;
    }
    const beside = native(`${path}.${process.pid}.tmp`);
    const handle = await open(beside, "wx", mode);
    try {
      await handle.writeFile(content);
      if (target !== undefined) await handle.chmod(target.mode & 0o7777);
      await handle.close();
      await rename(beside, native(path));
    } catch (e) {
      await handle.close().catch(() => undefined);
      await rm(beside, { force: true });
      throw e;
    }
  } catch (e) {
    throw ioError(e, path);
  }
}

async function isLink(path: string): Promise<boolean> {
  const { lstat } = await import("node:fs/promises");
  try {
    return (await lstat(native(path))).isSymbolicLink();
  } catch {
    return false;
  }
}
