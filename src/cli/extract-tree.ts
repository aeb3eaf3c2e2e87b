/**
 * Writes files of a package below a folder. Names were checked by the reader; here no symbolic link that stands in the folder
 * already is followed, neither in the last part of a path nor before it.
 */
import { constants } from "node:fs";
import { lstat, mkdir, open, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, RandomReader } from "../core/ports.ts";
import { printable } from "../core/text.ts";
import { readExactly, writeAll } from "../device/file-reader.ts";

async function realFolder(path: string, shown: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== "EEXIST") throw e;
    if (!(await lstat(path)).isDirectory()) {
      throw new OtaError("DEVICE_LINK_REFUSED", {
        what: "something that is no folder stands where one is needed",
        where: printable(shown),
        hint: "Extract into an empty folder.",
      });
    }
  }
}

/** A file that is written anywhere; one of `keep` and `drop` ends it. */
export interface TreeFile {
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** What was written, as a file of `size` bytes. */
  reader(size: number): RandomReader;
  keep(): Promise<void>;
  /** Removes it, unless it was kept. */
  drop(): Promise<void>;
}

/** A writer below `folder`, which is made when it is missing. */
export async function openTree(folder: string): Promise<{
  /** Opens a file for writing in any order; it replaces one that is there. */
  file(name: string): Promise<TreeFile>;
  /** Writes or replaces a file; `name` is relative, with `/` between its parts. */
  write(name: string, content: ByteStream): Promise<void>;
  /** Makes a folder and its parents. */
  folder(name: string): Promise<void>;
}> {
  await mkdir(folder, { recursive: true });
  const parents = async (parts: readonly string[]): Promise<string> => {
    let path = folder;
    for (const part of parts) {
      path = join(path, part);
      await realFolder(path, parts.join("/"));
    }
    return path;
  };
  const create = async (name: string): Promise<{ path: string; file: FileHandle }> => {
    const parts = name.split("/");
    const last = parts.pop() as string;
    const path = join(await parents(parts), last);
    await rm(path, { force: true });
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return { path, file: await open(path, flags, 0o644) };
  };
  return {
    async file(name) {
      const { path, file } = await create(name);
      let ended = false;
      return {
        write: (offset, bytes) => writeAll(file, offset, bytes, path),
        reader: (size) => ({ size, read: (offset, length) => readExactly(file, offset, length, path) }),
        async keep() {
          ended = true;
          await file.close();
        },
        async drop() {
          if (ended) return;
          ended = true;
          await file.close().catch(() => undefined);
          await rm(path, { force: true });
        },
      };
    },
    async folder(name) {
      await parents(name.split("/").filter((p) => p !== ""));
    },
    async write(name, content) {
      const { path, file } = await create(name);
      try {
        for await (const chunk of content) await file.writeFile(chunk);
        await file.close();
      } catch (e) {
        await file.close().catch(() => undefined);
        // Nothing that failed its check is left behind.
        await rm(path, { force: true });
        throw e;
      }
    },
  };
}
