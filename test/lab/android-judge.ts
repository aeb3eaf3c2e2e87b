/** Whether an Android device of the laboratory holds exactly the new system. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { TreeEntry } from "../support/android-device.ts";
import { sha1Of, type AndroidCase } from "./android-board.ts";
import type { Guest } from "./guest.ts";

/**
 * The trees as far as they must be equal: times differ, and links have no owner in the recordings of every package. A file the
 * recorded program left without a label (it writes patched files anew) may keep its own.
 */
function comparable(
  tree: Readonly<Record<string, TreeEntry>>,
  recorded: Readonly<Record<string, TreeEntry>>,
): Record<string, TreeEntry> {
  return Object.fromEntries(
    Object.entries(tree).map(([path, { mtime: _, xattr, ...entry }]) => [
      path,
      entry.link !== undefined
        ? { link: entry.link }
        : { ...entry, ...(recorded[path]?.xattr === undefined || xattr === undefined ? {} : { xattr }) },
    ]),
  );
}

/** Compares everything the package changes. The machine must run, with nothing of the update mounted. */
export async function expectNewSystem(it: AndroidCase, guest: Guest): Promise<void> {
  await guest.sh("sync");
  const boot = new Uint8Array(readFileSync(it.disk("boot"))).subarray(0, it.boot.size);
  expect(sha1Of(boot)).toBe(it.boot.sha1);
  if (it.systemSha1 !== undefined) expect(sha1Of(readFileSync(it.disk("system")))).toBe(it.systemSha1);
  if (it.tree === undefined) return;
  await guest.sh("mount -t ext4 -o ro /dev/lab/system /system");
  const found = await guest.call<Record<string, TreeEntry>>("/lab/look.mjs", "tree", { folder: "/system" });
  await guest.sh("umount /system");
  expect(comparable(found, it.tree)).toEqual(comparable(it.tree, it.tree));
}

/** Makes a machine that starts (again) ready for the updater. */
export async function startAgain(guest: Guest): Promise<void> {
  // A restored machine takes itself for the same start of the same process, so the lock it held when it was cut looks taken.
  await guest.sh("mount -t ext4 /dev/lab/cache /cache; rm -f /cache/otaforge/lock");
}
