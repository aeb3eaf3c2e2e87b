/** The file a package is written to: beside its final name until it is whole, removed when it never becomes whole. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { SignedOutput } from "../android/signing/sign-package.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { readExactly, writeAll } from "../device/file-reader.ts";
import { placeFor } from "./write-beside.ts";

/** A file that is being written; one of `keep` and `drop` ends it. */
export interface PendingFile extends SignedOutput {
  reader(size: number): RandomReader;
  /** Flushes it and gives it its final name. */
  keep(): Promise<void>;
  drop(): Promise<void>;
}

/** @throws OtaError DEVICE_*: a node, a pipe, a folder that is not there or must not be written */
export async function createPendingFile(output: string): Promise<PendingFile> {
  const { path } = await placeFor(output);
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(temporary, "wx+", 0o644).catch((e: unknown) => {
    throw new OtaError(
      "DEVICE_IO",
      { what: "the output cannot be written", where: path, found: e instanceof Error ? e.message : "" },
      e,
    );
  });
  let ended = false;
  const read = (offset: number, length: number): Promise<Uint8Array> => readExactly(file, offset, length, path);
  return {
    write: (offset, bytes) => writeAll(file, offset, bytes, path),
    read,
    reader: (size) => ({ size, read }),
    async keep() {
      await file.sync();
      await file.close();
      await rename(temporary, path);
      ended = true;
    },
    async drop() {
      if (ended) return;
      ended = true;
      await file.close().catch(() => undefined);
      await rm(temporary, { force: true });
    },
  };
}
