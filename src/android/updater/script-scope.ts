/** What a script works on: tells its own leftovers on /cache from those of others. */
import { roomOf } from "../applypatch/cache.ts";
import { loadContents, parseSha1, SAVED_FILE } from "../applypatch/contents.ts";
import { Stash } from "../block-update/stash.ts";
import { calls } from "../edify/ast.ts";
import type { EdifyCall, EdifyNode } from "../edify/ast.ts";
import type { UpdaterSession } from "./host.ts";

export interface ScriptScope {
  /** SHA-1 of the sources that its patches are for, lower-case hex. */
  readonly patchBases: ReadonlySet<string>;
  /** Devices whose blocks it updates, as it names them. */
  readonly blockDevices: readonly string[];
}

/** SHA-1 of the sources that an `apply_patch` names literally, lower-case hex. */
export function basesOf(call: EdifyCall): ReadonlySet<string> {
  const digests = call.args.slice(4).flatMap((node) => {
    const sha1 = node.kind === "literal" ? parseSha1(node.value) : undefined;
    return sha1 === undefined ? [] : [sha1];
  });
  return new Set(digests);
}

/** Looks through a script; literal arguments only. */
export function scopeOf(root: EdifyNode): ScriptScope {
  const all = calls(root);
  const devices = all.flatMap(({ name, args: [device] }) =>
    name === "block_image_update" && device?.kind === "literal" ? [device.value] : [],
  );
  return {
    patchBases: new Set(all.flatMap((call) => (call.name === "apply_patch" ? [...basesOf(call)] : []))),
    blockDevices: [...new Set(devices)],
  };
}

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
