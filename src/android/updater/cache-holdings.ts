/** What an interrupted run of a script holds on /cache. */
import { roomOf } from "../applypatch/cache.ts";
import { loadContents, SAVED_FILE } from "../applypatch/contents.ts";
import { Stash } from "../block-update/stash.ts";
import type { UpdaterSession } from "./host.ts";

/**
 * Bytes on /cache that an interrupted run of this script left: the saved source of a patch, and stashes. They are used or taken away
 * before any later statement needs the room. Counted as taken, they would keep a device whose cache is small from ever going on.
 */
export async function heldOnCache({ device, host, scope }: UpdaterSession): Promise<number> {
  const quiet = { device, keep: host.keep, log: (): void => undefined };
  const copy = await loadContents(quiet, SAVED_FILE);
  await copy?.close();
  let bytes = copy !== undefined && scope.patchBases.has(copy.sha1) ? roomOf(copy.reader.size) : 0;
  for (const name of scope.blockDevices) bytes += await new Stash(quiet, name).used();
  return bytes;
}
