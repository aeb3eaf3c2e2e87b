/** A temporary file without a name: nothing is left of it, whatever ends the program. */
import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Scratch } from "../android/index.ts";
import { OtaError } from "../core/errors.ts";
import { readExactly, writeAll } from "../device/file-reader.ts";

export interface ScratchFile extends Scratch {
  close(): Promise<void>;
}

/** Makes one in `folder`, which should have room for it. @throws OtaError DEVICE_IO */
async function createScratchFile(folder: string): Promise<ScratchFile> {
  const path = join(folder, `.otaforge-${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(path, "wx+", 0o600).catch((e: unknown) => {
    const found = e instanceof Error ? e.message : "";
    throw new OtaError("DEVICE_IO", { what: "a temporary file cannot be made", where: folder, found }, e);
  });
  // Systems that cannot remove an open file get rid of it when it is closed.
  const removed = await rm(path).then(
    () => true,
    () => false,
  );
  let size = 0;
  return {
    get size() {
      return size;
    },
    async append(bytes) {
      const at = size;
      size += bytes.length;
      await writeAll(file, at, bytes, path);
    },
    read: (offset, length) => readExactly(file, offset, length, path),
    async close() {
      await file.close();
      if (!removed) await rm(path, { force: true });
    },
  };
}

/** All that one run makes in a folder. */
export class ScratchFiles {
  readonly #folder: string;
  readonly #files: ScratchFile[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws OtaError DEVICE_IO */
  async open(): Promise<ScratchFile> {
    const file = await createScratchFile(this.#folder);
    this.#files.push(file);
    return file;
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}
