/** A file or block device as a raw target. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { OtaError, checkRange, hexOffset } from "../../core/index.ts";
import type { BlockTarget } from "../../core/index.ts";
import { fillExactly, readExactly, writeAll } from "../file-reader.ts";
import { deviceError } from "../system-errors.ts";

/** @throws OtaError DEVICE_TOO_SMALL unless a write lies inside the target */
export function checkInside(path: string, size: number, offset: number, length: number): void {
  if (offset >= 0 && offset + length <= size) return;
  throw new OtaError("DEVICE_TOO_SMALL", {
    what: "write reaches past the end of the target",
    where: `${path}, offset ${hexOffset(offset)}`,
    expected: `at most ${Math.max(0, size - offset)} bytes`,
    found: length,
  });
}

export interface RawFile {
  /** Real path; links are followed, `/dev/block/by-name/…` is one. */
  readonly file: string;
  /** The node, for messages. */
  readonly path: string;
  readonly size: number;
  readonly access: "read" | "write";
  /** A block device that something else uses (mounted) is refused: DEVICE_BUSY. */
  readonly exclusive?: boolean;
}

/** Opens a raw target of known size. @throws OtaError DEVICE_NOT_FOUND, DEVICE_BUSY, DEVICE_READ_ONLY, DEVICE_IO */
export async function openRawFile({ file, path, size, access, exclusive = false }: RawFile): Promise<BlockTarget> {
  const flags = access === "read" ? constants.O_RDONLY : constants.O_RDWR;
  // Without O_CREAT, O_EXCL on a block device asks the kernel whether it is in use.
  const handle = await open(file, flags + (exclusive && access === "write" ? constants.O_EXCL : 0)).catch(
    (e: unknown) => {
      throw deviceError(e, path);
    },
  );
  return {
    path,
    size,
    async read(offset, length) {
      checkRange(size, offset, length);
      return readExactly(handle, offset, length, path);
    },
    async readInto(offset, out) {
      checkRange(size, offset, out.length);
      await fillExactly(handle, offset, out, path);
    },
    async write(offset, bytes) {
      checkInside(path, size, offset, bytes.length);
      await writeAll(handle, offset, bytes, path);
    },
    async flush() {
      if (access === "read") return;
      // Write errors of the page cache show here and nowhere else.
      await handle.sync().catch((e: unknown) => {
        throw deviceError(e, path);
      });
    },
    close: () => handle.close(),
  };
}
