/** A regular file or raw node as a reader: opened once, so that what is checked and what is used are the same file. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { checkRange } from "../core/streams.ts";
import { becameShorter, requireRandomAccess } from "./random-access.ts";
import { deviceError } from "./system-errors.ts";
import { nodeSize } from "./sysfs.ts";

/** Exactly `length` bytes at `offset` of an open file. @throws OtaError READ_PAST_END, DEVICE_IO */
export async function readExactly(file: FileHandle, offset: number, length: number, path: string): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  await fillExactly(file, offset, out, path);
  return out;
}

/** Fills `out` with the bytes at `offset` of an open file. @throws OtaError READ_PAST_END, DEVICE_IO */
export async function fillExactly(file: FileHandle, offset: number, out: Uint8Array, path: string): Promise<void> {
  const { length } = out;
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(out, done, length - done, offset + done).catch((e: unknown) => {
      throw deviceError(e, path);
    });
    if (bytesRead === 0) throw becameShorter(path, offset + length, offset + done);
    done += bytesRead;
  }
}

/** All bytes of `bytes` at `offset`. @throws OtaError DEVICE_IO, DEVICE_NO_SPACE */
export async function writeAll(file: FileHandle, offset: number, bytes: Uint8Array, path: string): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done).catch((e: unknown) => {
      throw deviceError(e, path);
    });
    done += bytesWritten;
  }
}

/**
 * Opens a file for reading at any offset. A block device or MTD node gives its real size. Links are followed: the path is the
 * user's own. @throws OtaError DEVICE_NOT_FOUND, DEVICE_NOT_FILE, DEVICE_IO
 */
export async function openFileReader(path: string): Promise<RandomReader & { close(): Promise<void> }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((e: unknown) => {
    throw deviceError(e, path);
  });
  try {
    const stat = await file.stat();
    requireRandomAccess(stat, path);
    const size = stat.isFile() ? stat.size : await nodeSize(path);
    return {
      size,
      async read(offset, length) {
        checkRange(size, offset, length);
        return readExactly(file, offset, length, path);
      },
      async readInto(offset, out) {
        checkRange(size, offset, out.length);
        await fillExactly(file, offset, out, path);
      },
      close: () => file.close(),
    };
  } catch (e) {
    await file.close();
    throw e instanceof OtaError ? e : deviceError(e, path);
  }
}
