/** What is wrong with a transfer list before its first command runs: words that are no command, ranges that are none or lie outside. */
import { BLOCK_SIZE } from "./blocks.ts";
import { commandWords } from "./command-words.ts";
import { parseRanges, rangesEnd } from "./ranges.ts";
import type { RangeSet } from "./ranges.ts";
import type { TransferList } from "./transfer-list.ts";

/** Blocks that a command of a list of `version` gives new contents; undefined for those that give none, and for what is no command. */
export function writtenRanges(command: string, version: number): RangeSet | undefined {
  const words = command.split(" ");
  const name = words[0] as string;
  const places = commandWords(name, version);
  const ranges = places === undefined ? undefined : words[places.target];
  // What an erased block reads as is the medium's affair.
  return name === "erase" || ranges === undefined ? undefined : parseRanges(ranges);
}

/** A sentence about the first command that cannot be carried out on a device of `size` bytes; undefined when all can. */
export function listProblem({ version, commands }: TransferList, size: number): string | undefined {
  for (const text of commands) {
    const words = text.split(" ");
    const name = words[0] as string;
    if (name === "stash" || name === "free") continue;
    const places = commandWords(name, version);
    if (places === undefined) return `unexpected command [${name.slice(0, 40)}]`;
    const ranges = words[places.target];
    const set = ranges === undefined ? undefined : parseRanges(ranges);
    if (set === undefined) return `failed to parse range '${ranges ?? ""}' of [${text.slice(0, 120)}]`;
    if (rangesEnd(set) * BLOCK_SIZE > size) {
      return `[${text.slice(0, 120)}] writes block ${rangesEnd(set) - 1}, the device has ${Math.floor(size / BLOCK_SIZE)}`;
    }
  }
  return undefined;
}
