/** Room on /cache for a script: what its own interrupted run holds there, and whether the rest suffices. */
import { possibleSpace, roomOf } from "../applypatch/cache.ts";
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

/** Why the cache cannot take `bytes` more of this update; undefined when it can. Nothing is changed. @throws OtaError DEVICE_* */
export async function cacheProblem(session: UpdaterSession, bytes: number): Promise<string | undefined> {
  const { device, host } = session;
  const { files, mounts } = device;
  if ((await files.stat("/cache"))?.kind !== "folder") {
    return "there is no /cache to keep a partition's old content on";
  }
  const over = (await mounts.list()).filter(({ at }) => at === "/cache" || at === "/");
  if (over.sort((a, b) => b.at.length - a.at.length)[0]?.readOnly === true) return "/cache is read-only";
  if (bytes > 0 && (await files.space("/cache/x")).volatile) return "/cache forgets its files at a power cut";
  const free = await possibleSpace({ device, log: () => undefined }, host.keep);
  const possible = free + (await heldOnCache(session));
  return bytes > possible ? `/cache needs ${bytes} bytes, ${possible} are free or can be deleted` : undefined;
}
