/** What is left to do of a version 3 or 4 list that was interrupted: its commands name the content they give their blocks. */
import type { BlockTarget, Device } from "../../core/ports.ts";
import { BLOCK_SIZE, hashBlocks } from "./blocks.ts";
import { parseRanges, rangesEnd } from "./ranges.ts";
import type { TransferList } from "./transfer-list.ts";

/** A `move`, `bsdiff` or `imgdiff` of version 3 or 4. */
interface HashedCommand {
  /** SHA-1 of the source, lower-case hex; the name of what is kept of it when the command overwrites it. */
  readonly source: string;
  /** SHA-1 of the result. */
  readonly result: string;
  /** Target ranges as text. */
  readonly target: string;
  /** Stashes it takes blocks from. */
  readonly stashes: readonly string[];
}

/** A command taken apart; undefined for one that names no content. */
export function hashedCommand(text: string): HashedCommand | undefined {
  const words = text.split(" ");
  const [name] = words;
  if (name !== "move" && name !== "bsdiff" && name !== "imgdiff") return undefined;
  const [source, result, at] = name === "move" ? [words[1], words[1], 2] : [words[3], words[4], 5];
  const target = words[at];
  if (source === undefined || result === undefined || target === undefined) return undefined;
  const stashes = words.slice(at + 1).flatMap((word) => {
    const colon = word.indexOf(":");
    return colon < 0 ? [] : [word.slice(0, colon)];
  });
  return { source, result, target, stashes };
}

/** Sources that one command alone uses and no `stash` command keeps: what is kept of one can go when that command is done. */
export function ownSources(commands: readonly string[]): ReadonlySet<string> {
  const uses = new Map<string, number>();
  for (const text of commands) {
    const source = hashedCommand(text)?.source;
    if (source !== undefined) uses.set(source, (uses.get(source) ?? 0) + 1);
    const [name, id] = text.split(" ");
    if (name === "stash" && id !== undefined) uses.set(id, 2);
  }
  return new Set([...uses].flatMap(([source, n]) => (n === 1 ? [source] : [])));
}

/**
 * Stashes that commands still need whose blocks do not hold their result yet; undefined when no such command is left. Reads what the
 * list writes. @throws OtaError DEVICE_*
 */
export async function pendingStashes(
  device: Device,
  target: BlockTarget,
  { commands }: TransferList,
): Promise<ReadonlySet<string> | undefined> {
  const needed = new Set<string>();
  let left = false;
  for (const text of commands) {
    const command = hashedCommand(text);
    const set = command === undefined ? undefined : parseRanges(command.target);
    if (command === undefined || set === undefined || rangesEnd(set) * BLOCK_SIZE > target.size) continue;
    if ((await hashBlocks(device, target, set)) === command.result) continue;
    left = true;
    for (const id of command.stashes) needed.add(id);
  }
  return left ? needed : undefined;
}
