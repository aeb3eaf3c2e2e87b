/** What is left to do of a version 3 or 4 list that was interrupted: its commands name the content they give their blocks. */
import type { BlockTarget, Device } from "../../core/ports.ts";
import { BLOCK_SIZE, hashBlocks } from "./blocks.ts";
import { commandWords } from "./command-words.ts";
import { parseRanges, rangesEnd } from "./ranges.ts";
import type { TransferList } from "./transfer-list.ts";

/** The command's words and their places; undefined for one that names no content. */
function hashed(text: string, version: number) {
  const words = text.split(" ");
  const places = commandWords(words[0] as string, version);
  if (places?.sourceHash === undefined || places.resultHash === undefined) return undefined;
  return {
    source: words[places.sourceHash] ?? "",
    result: words[places.resultHash] ?? "",
    target: parseRanges(words[places.target] ?? ""),
    /** Stashes it takes blocks from, `id:ranges`. */
    stashes: words
      .slice(places.source)
      .flatMap((word) => (word.includes(":") ? [word.split(":", 1)[0] as string] : [])),
  };
}

/** Sources that one command alone uses and no `stash` command keeps: what is kept of one can go when that command is done. */
export function ownSources({ version, commands }: TransferList): ReadonlySet<string> {
  const uses = new Map<string, number>();
  for (const text of commands) {
    const source = hashed(text, version)?.source;
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
  { version, commands }: TransferList,
): Promise<ReadonlySet<string> | undefined> {
  const needed = new Set<string>();
  let left = false;
  for (const text of commands) {
    const command = hashed(text, version);
    if (command?.target === undefined || rangesEnd(command.target) * BLOCK_SIZE > target.size) continue;
    if ((await hashBlocks(device, target, command.target)) === command.result) continue;
    left = true;
    for (const id of command.stashes) needed.add(id);
  }
  return left ? needed : undefined;
}
