/**
 * Room a transfer list needs on /cache. The number in its head counts stashes alone up to version 2, whose overlapping sources
 * are kept on /cache here as well, so that a cut can be made good.
 */
import { BLOCK_SIZE } from "./blocks.ts";
import { commandWords } from "./command-words.ts";
import { parseRanges, rangesOverlap } from "./ranges.ts";
import type { TransferList } from "./transfer-list.ts";

/** Blocks a command saves before it overwrites its own source, and from version 3 on the name they get. */
function overlapOf(words: readonly string[], version: number): { readonly blocks: number; readonly id?: string } {
  const places = commandWords(words[0] as string, version);
  if (places?.source === undefined) return { blocks: 0 };
  const [to, from] = [parseRanges(words[places.target] ?? ""), parseRanges(words[places.source] ?? "")];
  if (to === undefined || from === undefined || !rangesOverlap(from, to)) return { blocks: 0 };
  if (version === 1) return { blocks: from.blocks };
  const count = words[places.source - 1] ?? "";
  const blocks = /^\d{1,10}$/.test(count) ? Number(count) : 0;
  const id = places.sourceHash === undefined ? undefined : words[places.sourceHash];
  return { blocks, ...(id === undefined ? {} : { id }) };
}

/** Most blocks that lie on /cache at once while the commands from number `first` on run. */
function stashNeed({ version, commands }: TransferList, first: number): number {
  const live = new Map<string, number>();
  let most = 0;
  for (const [line, text] of commands.entries()) {
    const words = text.split(" ");
    const [name, id = ""] = words as [string, string?];
    let own = 0;
    if (name === "stash" && !live.has(id)) live.set(id, parseRanges(words[2] ?? "")?.blocks ?? 0);
    else if (name === "free") live.delete(id);
    else {
      const overlap = overlapOf(words, version);
      own = overlap.id !== undefined && live.has(overlap.id) ? 0 : overlap.blocks;
    }
    if (line < first) continue;
    most = Math.max(most, [...live.values()].reduce((sum, n) => sum + n, 0) + own);
  }
  return most;
}

/**
 * Bytes on /cache that a list needs at once before it writes, at least what its head states. Words that are no command and ranges that
 * are none count nothing: the run finds them. `done`: commands of version 1 or 2 that an interrupted run did; the rest may need less.
 */
export function stashRoom(list: TransferList, done = 0): number {
  const blocks = done > 0 ? stashNeed(list, done) : Math.max(list.maxStashed, stashNeed(list, 0));
  return blocks * BLOCK_SIZE;
}
