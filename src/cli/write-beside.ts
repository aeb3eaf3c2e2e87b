/** Small files read whole, and files that appear complete or not at all: written beside their place and renamed. */
import { rmSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname, basename, join } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { deviceError } from "../device/system-errors.ts";

/** Lets `write` make a file beside `path` and renames it there; what a failure leaves is removed. */
export async function writeBeside<T>(path: string, write: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  // A second Ctrl-C ends the process at once, without the clean-up below.
  const removeAtExit = () => {
    rmSync(temporary, { force: true });
  };
  process.once("exit", removeAtExit);
  try {
    const result = await write(temporary);
    await rename(temporary, path);
    return result;
  } catch (e) {
    await rm(temporary, { force: true });
    throw e instanceof OtaError || !(e instanceof Error && "code" in e) ? e : deviceError(e, path);
  } finally {
    process.off("exit", removeAtExit);
  }
}

/** Replaces the file `path` by `content`, flushed before it gets the name: an interrupted run leaves the old file. */
export async function replaceFile(path: string, content: ByteStream | Uint8Array | string): Promise<void> {
  await writeBeside(path, async (temporary) => {
    // A part of an earlier run that was killed is ours as well; anything else under that name is not followed.
    await rm(temporary, { force: true });
    const file = await open(temporary, "wx", 0o644);
    try {
      if (content instanceof Uint8Array || typeof content === "string") await file.writeFile(content);
      else for await (const chunk of content) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
  });
}

/** A file's bytes. @throws OtaError DEVICE_NOT_FOUND, DEVICE_IO */
export async function readWhole(path: string): Promise<Uint8Array> {
  return new Uint8Array(
    await readFile(path).catch((e: unknown) => {
      throw deviceError(e, path);
    }),
  );
}
