/** What an interrupted run left in a list's stash, and what the rest of the list needs: looked at before the first command. */
import type { BlockTarget, Device } from "../../core/ports.ts";
import { ownSources, pendingStashes } from "./pending.ts";
import type { BlockJournal } from "./progress.ts";
import { stashRoom } from "./stash-need.ts";
import type { Stash } from "./stash.ts";
import type { TransferList } from "./transfer-list.ts";

export interface LeftoversContext {
  readonly device: Device;
  /** Progress of versions 1 and 2. */
  readonly journal?: BlockJournal;
  /** Bytes on /cache that the script's other statements hold. */
  readonly heldElsewhere: number;
}

export interface Leftovers {
  /** Bytes that the stash takes from here on, with what is there. */
  readonly room: number;
  /** Sources whose kept copies may go with their command. */
  readonly ownSources: ReadonlySet<string>;
  /** Stashes that are still needed; absent: all. */
  readonly pending?: ReadonlySet<string>;
}

/**
 * Name of the file in which a version 1 or 2 list keeps what command number `line` overwrites of its own source.
 */
export const keptSource = (line: number): string => `line${line}`;

/** Names of the stash's files that belong to the list where it stands. `done`: commands of version 1 or 2 that are done. */
function ownNames({ version, commands }: TransferList, done: number | undefined): ReadonlySet<string> {
  if (version >= 3)
    return new Set(commands.flatMap((text) => text.split(" ").map((word) => word.split(":", 1)[0] ?? "")));
  const live = new Set<string>();
  for (const text of commands.slice(0, done ?? 0)) {
    const [name, id = ""] = text.split(" ");
    if (name === "stash") live.add(id);
    else if (name === "free") live.delete(id);
  }
  // A cut between the note of a command and the removal of what it kept leaves that behind.
  if (done !== undefined) live.add(keptSource(done));
  return live;
}

/**
 * Takes away stashes that are not this list's, or not any more: their room is needed, and versions 1 and 2 would take them for their
 * own. What is done of an interrupted list needs no room: another statement may hold it. @throws OtaError DEVICE_*
 */
export async function takeStock(
  { device, journal, heldElsewhere }: LeftoversContext,
  list: TransferList,
  stash: Stash,
  target: BlockTarget,
): Promise<Leftovers> {
  const done = (await journal?.load())?.done;
  const names = ownNames(list, done);
  await stash.retain((id) => names.has(id));
  if (list.version <= 2) return { room: stashRoom(list, done), ownSources: new Set() };
  const own = ownSources(list);
  if ((await stash.used()) + heldElsewhere === 0) return { room: stashRoom(list), ownSources: own };
  const pending = await pendingStashes(device, target, list);
  if (pending === undefined) return { room: 0, ownSources: own, pending: new Set() };
  return { room: stashRoom(list), ownSources: own, pending };
}
