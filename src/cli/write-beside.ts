/** Small files read whole, and files that appear complete or not at all: written beside their place and renamed. */
import { constants, rmSync, type Stats } from "node:fs";
import { access, chmod, open, readFile, readlink, realpath, rename, rm, stat as statOf } from "node:fs/promises";
import { dirname, basename, join, resolve } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { deviceError, systemCode } from "../device/system-errors.ts";

/** Where a file goes, and the permissions of the one that is there. */
interface Place {
  readonly path: string;
  readonly mode?: number;
}

function kindOf(stat: Stats): string {
  if (stat.isDirectory()) return "a folder";
  if (stat.isBlockDevice()) return "a block device";
  if (stat.isCharacterDevice()) return "a character device";
  return "a pipe or socket";
}

/** What a link that leads nowhere yet names; the path itself when it is none. */
async function namedBy(path: string): Promise<string> {
  const target = await readlink(path).catch(() => undefined);
  return target === undefined ? path : resolve(dirname(path), target);
}

/**
 * Where a file written under `path` goes. Links are followed, as the path is the user's own. What is no regular file is refused:
 * a rename would put a file in the place of a node or pipe, and nothing would have reached what it stands for.
 * To be asked before long work, too, whose result could not be kept.
 * @throws OtaError DEVICE_NOT_FILE, DEVICE_NOT_FOUND, DEVICE_READ_ONLY
 */
export async function placeFor(path: string): Promise<Place> {
  try {
    const stat = await statOf(path).catch((e: unknown) => {
      if (systemCode(e) === "ENOENT") return undefined;
      throw e;
    });
    if (stat !== undefined && !stat.isFile()) {
      throw new OtaError("DEVICE_NOT_FILE", {
        what: "the output is no regular file, which could be replaced",
        where: path,
        found: kindOf(stat),
        hint: stat.isDirectory() ? "Name a file in it." : "Name a file, and copy it there when it is complete.",
      });
    }
    const place = stat === undefined ? await namedBy(path) : await realpath(path);
    const folder = dirname(place);
    await access(folder, constants.W_OK | constants.X_OK).catch((e: unknown) => {
      throw deviceError(e, systemCode(e) === "ENOENT" ? folder : path);
    });
    return stat === undefined ? { path: place } : { path: place, mode: stat.mode & 0o777 };
  } catch (e) {
    throw deviceError(e, path);
  }
}

/** Characters of a name that its temporary file bears as well: names may be as long as the file system allows. */
const NAME_KEPT = 40;

/**
 * Lets `write` make a file beside `path` and renames it there; what a failure leaves is removed. The file that was there passes its
 * permissions on.
 */
export async function writeBeside<T>(path: string, write: (temporary: string) => Promise<T>): Promise<T> {
  const place = await placeFor(path);
  const name = [...basename(place.path)].slice(0, NAME_KEPT).join("");
  const temporary = join(dirname(place.path), `.${name}.${process.pid}.part`);
  // A second Ctrl-C ends the process at once, without the clean-up below.
  const removeAtExit = () => {
    rmSync(temporary, { force: true });
  };
  process.once("exit", removeAtExit);
  try {
    // A part of an earlier run that was killed is ours as well: in a container each run has the same number.
    await rm(temporary, { force: true });
    const result = await write(temporary);
    // Some file systems have no permissions of their own.
    if (place.mode !== undefined) await chmod(temporary, place.mode).catch(() => undefined);
    await rename(temporary, place.path);
    return result;
  } catch (e) {
    await rm(temporary, { force: true });
    throw deviceError(e, path);
  } finally {
    process.off("exit", removeAtExit);
  }
}

/** Replaces the file `path` by `content`, flushed before it gets the name: an interrupted run leaves the old file. */
export async function replaceFile(path: string, content: ByteStream | Uint8Array | string): Promise<void> {
  await writeBeside(path, async (temporary) => {
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
