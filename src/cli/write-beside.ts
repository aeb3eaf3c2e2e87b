/** Small files read whole, and files that appear complete or not at all: written beside their place and renamed. */
import { readFile, rename, rm } from "node:fs/promises";
import { dirname, basename, join } from "node:path";
import { OtaError } from "../core/errors.ts";
import { deviceError } from "../device/system-errors.ts";

/** Lets `write` make a file beside `path` and renames it there; what a failure leaves is removed. */
export async function writeBeside<T>(path: string, write: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  try {
    const result = await write(temporary);
    await rename(temporary, path);
    return result;
  } catch (e) {
    await rm(temporary, { force: true });
    throw e instanceof OtaError || !(e instanceof Error && "code" in e) ? e : deviceError(e, path);
  }
}

/** A file's bytes. @throws OtaError DEVICE_NOT_FOUND, DEVICE_IO */
export async function readWhole(path: string): Promise<Uint8Array> {
  return new Uint8Array(
    await readFile(path).catch((e: unknown) => {
      throw deviceError(e, path);
    }),
  );
}
