/**
 * Writes files of a package below a folder. Names were checked by the reader; here no symbolic link that stands in the folder
 * already is followed, neither in the last part of a path nor before it.
 */
import { constants } from "node:fs";
import { lstat, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { printable } from "../core/text.ts";

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

/** A writer below `folder`, which is made when it is missing. */
export async function openTree(folder: string): Promise<{
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
  return {
    async folder(name) {
      await parents(name.split("/").filter((p) => p !== ""));
    },
    async write(name, content) {
      const parts = name.split("/");
      const last = parts.pop() as string;
      const path = join(await parents(parts), last);
      await rm(path, { force: true });
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await open(path, flags, 0o644);
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
