/**
 * What is wrong with a transfer list before its first command runs: words that are no command, ranges that are none or lie outside,
 * blocks, stashes, patches and new data that are not there.
 */
import { BLOCK_SIZE, MAX_BLOCKS } from "./blocks.ts";
import { commandWords } from "./command-words.ts";
import { parseRanges, rangesEnd } from "./ranges.ts";
import type { RangeSet } from "./ranges.ts";
import { isStashName } from "./stash.ts";
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

/** What a list works on, bytes. */
export interface ListSurroundings {
  readonly device: number;
  /** New data, unpacked; undefined where only unpacking tells. */
  readonly newData: number | undefined;
  readonly patchData: number;
}

/** A command that cannot be carried out; the message is what is wrong with it. */
class Unfit extends Error {}

function fit(condition: boolean, problem: () => string): void {
  if (!condition) throw new Unfit(problem());
}

function ranges(text: string | undefined): RangeSet {
  const set = text === undefined ? undefined : parseRanges(text);
  if (set === undefined) throw new Unfit(`failed to parse range '${text ?? ""}'`);
  return set;
}

function number(text: string | undefined, what: string): number {
  if (text === undefined || !/^\d{1,15}$/.test(text)) throw new Unfit(`${what} '${text ?? ""}' is no number`);
  return Number(text);
}

/** Looks through a list as it will be run. */
class ListCheck {
  readonly #version: number;
  readonly #around: ListSurroundings;
  /** Blocks of the stashes there are. */
  readonly #stashes = new Map<string, number>();
  /** Blocks that `new` has taken. */
  #taken = 0;

  constructor(version: number, around: ListSurroundings) {
    this.#version = version;
    this.#around = around;
  }

  #inside(set: RangeSet, does: "reads" | "writes"): void {
    const blocks = Math.floor(this.#around.device / BLOCK_SIZE);
    fit(rangesEnd(set) <= blocks, () => `${does} block ${rangesEnd(set) - 1}, the device has ${blocks}`);
  }

  #stash([, id = "", text]: readonly string[]): void {
    fit(isStashName(id), () => "has no name of a stash");
    const set = ranges(text);
    this.#inside(set, "reads");
    // From version 3 on a stash that is there is not made again.
    if (this.#version <= 2 || !this.#stashes.has(id)) this.#stashes.set(id, set.blocks);
  }

  /** Blocks of the source, which version 2 and later put together. */
  #source(words: readonly string[], { target, source }: { readonly target: number; readonly source: number }): number {
    if (source < target) {
      const set = ranges(words[source]);
      this.#inside(set, "reads");
      return set.blocks;
    }
    const total = number(words[source - 1], "the number of source blocks");
    fit(total <= MAX_BLOCKS, () => `takes ${total} blocks, more than ${MAX_BLOCKS}`);
    let at = source + 1;
    if (words[source] !== "-") {
      const set = ranges(words[source]);
      this.#inside(set, "reads");
      fit(set.blocks <= total, () => `reads ${set.blocks} blocks and states ${total}`);
      if (words[at] !== undefined) this.#places(ranges(words[at++]), set.blocks, total);
    }
    for (const word of words.slice(at)) {
      const [id = "", text] = word.split(":");
      const blocks = this.#stashes.get(id);
      if (blocks === undefined) throw new Unfit(`takes stash '${id}', which no command before it keeps`);
      this.#places(ranges(text), blocks, total);
    }
    return total;
  }

  #places(where: RangeSet, blocks: number, total: number): void {
    fit(where.blocks <= blocks, () => `places ${where.blocks} of ${blocks} blocks`);
    fit(rangesEnd(where) <= total, () => `places a block at ${rangesEnd(where) - 1} of ${total}`);
  }

  /** @throws Unfit */
  command(text: string): void {
    const words = text.split(" ");
    const [name, id = ""] = words as [string, string?];
    if (name === "stash") return this.#stash(words);
    if (name === "free") return void this.#stashes.delete(id);
    const places = commandWords(name, this.#version);
    if (places === undefined) throw new Unfit("is no command");
    const set = ranges(words[places.target]);
    this.#inside(set, "writes");
    if (name === "new") {
      this.#taken += set.blocks;
      const { newData } = this.#around;
      const needed = this.#taken * BLOCK_SIZE;
      fit(newData === undefined || needed <= newData, () => `needs ${needed} bytes of new data, there are ${newData}`);
    }
    if (places.source === undefined) return;
    const blocks = this.#source(words, { target: places.target, source: places.source });
    if (name === "move") fit(set.blocks <= blocks, () => `moves ${blocks} blocks to ${set.blocks}`);
    else {
      const end = number(words[1], "the patch's offset") + number(words[2], "the patch's length");
      fit(end <= this.#around.patchData, () => `has its patch up to byte ${end} of ${this.#around.patchData}`);
    }
  }
}

/** A sentence about the first command that cannot be carried out there; undefined when all can. */
export function listProblem({ version, commands }: TransferList, around: ListSurroundings): string | undefined {
  const check = new ListCheck(version, around);
  for (const text of commands) {
    try {
      check.command(text);
    } catch (e) {
      if (e instanceof Unfit) return `[${text.slice(0, 120)}] ${e.message}`;
      throw e;
    }
  }
  return undefined;
}
