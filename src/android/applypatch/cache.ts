/** Room on `/cache`: counting it, making it, keeping the saved source there. */
import type { ByteStream } from "../../core/ports.ts";
import { failureText, parentOf, writeStream } from "../updater/device-files.ts";
import { SAVED_FILE } from "./contents.ts";
import type { LoadContext } from "./contents.ts";

/** Folders whose plain files may be deleted when room is needed. */
const DELETABLE = ["/cache", "/cache/recovery/otatest"];

/** File systems hand out room in blocks of this many bytes. */
const FILE_BLOCK = 4096;

/** Bytes that a file of this size takes. */
export function roomOf(bytes: number): number {
  return Math.ceil(bytes / FILE_BLOCK) * FILE_BLOCK;
}

async function freeBytes(context: LoadContext): Promise<number> {
  try {
    return (await context.device.files.space("/cache/x")).freeBytes;
  } catch (e) {
    failureText(e);
    return 0;
  }
}

/** Plain files that nobody needs. `keep`: paths in use, the package among them. */
async function expendable(context: LoadContext, keep: ReadonlySet<string>): Promise<string[]> {
  const { files } = context.device;
  const found: string[] = [];
  for (const folder of DELETABLE) {
    try {
      if ((await files.stat(folder)) === undefined) {
        context.log(`error opening ${folder}: No such file or directory\n`);
        continue;
      }
      for (const name of await files.list(folder)) {
        const path = `${folder}/${name}`;
        if (path === SAVED_FILE || keep.has(path)) continue;
        if ((await files.stat(path))?.kind === "file") found.push(path);
      }
    } catch (e) {
      context.log(`error opening ${folder}: ${failureText(e)}\n`);
    }
  }
  context.log(`${found.length} regular files in deletable directories\n`);
  return found;
}

/** Bytes that `/cache` has free or could have, in what may be deleted. Changes nothing. */
export async function possibleSpace(context: LoadContext, keep: ReadonlySet<string>): Promise<number> {
  let bytes = await freeBytes(context);
  for (const path of await expendable(context, keep))
    bytes += roomOf((await context.device.files.stat(path))?.size ?? 0);
  return bytes;
}

/** Whether `/cache` has `needed` bytes free, after deleting what may be deleted. */
export async function makeFreeSpace(context: LoadContext, needed: number, keep: ReadonlySet<string>): Promise<boolean> {
  let free = await freeBytes(context);
  context.log(`${free} bytes free on /cache (${needed} needed)\n`);
  if (free >= needed) return true;
  const candidates = await expendable(context, keep);
  if (candidates.length === 0) {
    context.log("no files can be deleted to free space on /cache\n");
    return false;
  }
  for (const path of candidates) {
    if (free >= needed) break;
    try {
      await context.device.files.remove(path);
      await context.device.files.syncFolder(parentOf(path));
    } catch (e) {
      context.log(`failed to delete ${path}: ${failureText(e)}\n`);
      continue;
    }
    free = await freeBytes(context);
    context.log(`deleted ${path}; now ${free} bytes free\n`);
  }
  return free >= needed;
}

/** `apply_patch_space` and `applypatch -s`. */
export async function checkCacheSpace(
  context: LoadContext,
  needed: number,
  keep: ReadonlySet<string>,
): Promise<boolean> {
  if (await makeFreeSpace(context, needed, keep)) return true;
  context.log(`unable to make ${needed} bytes available on /cache\n`);
  return false;
}

/**
 * Puts a copy of the source at {@link SAVED_FILE}, whole and on the medium when this returns: written beside it and renamed,
 * so that a good older copy is never destroyed by a torn one.
 */
export async function saveSource(context: LoadContext, content: ByteStream): Promise<void> {
  const { files } = context.device;
  const beside = `${SAVED_FILE}.new`;
  const file = await files.open(beside, "create", 0o600);
  try {
    await writeStream(file, content);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(beside, SAVED_FILE);
  await files.syncFolder("/cache");
}

/** Takes the copy away, if there is one. */
export async function dropSaved(context: LoadContext): Promise<void> {
  const { files } = context.device;
  try {
    if ((await files.stat(SAVED_FILE)) === undefined) return;
    await files.remove(SAVED_FILE);
    await files.syncFolder("/cache");
  } catch (e) {
    failureText(e);
  }
}
