/**
 * A file as a reader that blocks: each read is one call of the system on the caller's thread. For programs that do nothing else
 * meanwhile, as there are no threads to wake for each few kilobytes and no memory for them.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { RandomReader } from "../core/ports.ts";
import { checkRange } from "../core/streams.ts";
import { becameShorter, requireRandomAccess } from "./random-access.ts";
import { deviceError } from "./system-errors.ts";
import { nodeSize } from "./sysfs.ts";

/**
 * Opens a file or raw node for reading at any offset, as `openFileReader` does.
 * @throws OtaError DEVICE_NOT_FOUND, DEVICE_NOT_FILE, DEVICE_IO
 */
export async function openBlockingReader(path: string): Promise<RandomReader & { close(): void }> {
  const file = told(path, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  try {
    const stat = told(path, () => fstatSync(file));
    requireRandomAccess(stat, path);
    const size = stat.isFile() ? stat.size : await nodeSize(path);
    const readInto = async (offset: number, out: Uint8Array): Promise<void> => {
      checkRange(size, offset, out.length);
      for (let done = 0; done < out.length;) {
        const n = told(path, () => readSync(file, out, done, out.length - done, offset + done));
        if (n === 0) throw becameShorter(path, offset + out.length, offset + done);
        done += n;
      }
    };
    return {
      size,
      readInto,
      async read(offset, length) {
        checkRange(size, offset, length);
        const out = new Uint8Array(length);
        await readInto(offset, out);
        return out;
      },
      close() {
        closeSync(file);
      },
    };
  } catch (e) {
    closeSync(file);
    throw e;
  }
}

/** Does what may fail in the system. @throws OtaError with the path */
function told<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (e) {
    throw deviceError(e, path);
  }
}
