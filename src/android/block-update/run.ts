/**
 * block_image_update and block_image_verify, formats/android.md section 3.4.
 *
 * After every command the device is flushed before anything that could undo it (a stash) is removed, so a cut between any two
 * lines or inside one is made good by running the list again. Versions 1 and 2 cannot tell from the blocks what is done;
 * the safe profile keeps a journal for them.
 */
import { applyBsdiff40, applyImgdiff2 } from "../../delta/index.ts";
import { isOtaError } from "../../core/errors.ts";
import type { BlockTarget, ByteStream, Device, RandomReader } from "../../core/ports.ts";
import { memoryReader, sliceReader, StreamTaker } from "../../core/streams.ts";
import { sha1Of } from "../applypatch/contents.ts";
import { withScratchCore } from "../applypatch/scratch-core.ts";
import { failureText } from "../updater/device-files.ts";
import { formatDouble } from "../updater/numbers.ts";
import { BLOCK_SIZE, fillBlocks, MAX_BLOCKS, placeBlocks, readBlocks, writeBlocks } from "./blocks.ts";
import { commandWords } from "./command-words.ts";
import { listProblem } from "./check-list.ts";
import { keptSource, takeStock } from "./leftovers.ts";
import type { Leftovers } from "./leftovers.ts";
import { ProgressNotes } from "./progress.ts";
import type { BlockJournal } from "./progress.ts";
import { parseRanges, rangesOverlap } from "./ranges.ts";
import type { RangeSet } from "./ranges.ts";
import { Stash } from "./stash.ts";
import { parseTransferList } from "./transfer-list.ts";
import type { TransferList } from "./transfer-list.ts";

export interface BlockUpdateContext {
  readonly device: Device;
  readonly profile: "safe" | "vendor";
  readonly keep: ReadonlySet<string>;
  readonly log: (text: string) => void;
  readonly pipe: (line: string) => void;
  readonly checkCancel: () => void;
  /** Only looks: /cache stays as it is. For verification. */
  readonly dry?: boolean;
  /** Bytes on /cache that belong to the update and will be given back; absent: none. */
  readonly heldOnCache?: () => Promise<number>;
  /** Where progress of versions 1 and 2 is kept; absent: nowhere. */
  readonly journal?: BlockJournal;
}

export interface BlockUpdateRequest {
  /** Name of the device as the script gives it. */
  readonly name: string;
  readonly target: BlockTarget;
  /** Whether the target is a block device: only those are erased. */
  readonly isBlockDevice: boolean;
  /** Byte string. */
  readonly transferList: string;
  newData(): ByteStream;
  /** Bytes of it; undefined where only unpacking tells. */
  readonly newSize?: number | undefined;
  readonly patchData: RandomReader;
  readonly write: boolean;
}

export interface BlockUpdateResult {
  readonly done: boolean;
  /** Reading the device failed. */
  readonly readError: boolean;
  /** A range text is malformed: the original's process ends here. */
  readonly malformedRange: boolean;
  /** The device holds neither what a command starts from nor what it leads to. */
  readonly unexpected: boolean;
}

/** A command that failed; the reason is in the log. */
class CommandFailed extends Error {}
class MalformedRange extends Error {}

/** Source of a command: its blocks, or that its work is done already. */
interface Source {
  readonly target: RangeSet;
  readonly bytes: Uint8Array;
  readonly already: boolean;
}

class BlockRun {
  readonly #context: BlockUpdateContext;
  readonly #request: BlockUpdateRequest;
  readonly #list: TransferList;
  readonly #stash: Stash;
  readonly #news: StreamTaker;
  /** In a verification: where the blocks of a stash are. */
  readonly #remembered = new Map<string, RangeSet>();
  #words: string[] = [];
  #at = 0;
  #written = 0;
  #stashed = 0;
  #freeAfter: string | undefined;
  #createdStash = false;
  /** What the safe profile found before the first command; otherwise nothing goes before the original lets it go. */
  #leftovers: Leftovers | undefined;
  #targetHash: string | undefined;
  readError = false;
  /** Another run cannot succeed either. */
  hopeless = false;

  constructor(context: BlockUpdateContext, request: BlockUpdateRequest, list: TransferList) {
    this.#context = context;
    this.#request = request;
    this.#list = list;
    this.#stash = new Stash(context, request.name);
    this.#news = new StreamTaker(request.newData());
  }

  #log(text: string): void {
    this.#context.log(`${text}\n`);
  }

  #fail(text: string): never {
    this.#log(text);
    throw new CommandFailed(text);
  }

  #next(problem: string): string {
    const word = this.#words[this.#at];
    if (word === undefined) return this.#fail(problem);
    this.#at++;
    return word;
  }

  #ranges(text: string): RangeSet {
    const set = parseRanges(text);
    if (set !== undefined) return set;
    this.#log(`failed to parse range '${text}'`);
    throw new MalformedRange(text);
  }

  async #read(set: RangeSet): Promise<Uint8Array> {
    try {
      return await readBlocks(this.#request.target, set);
    } catch (e) {
      if (isOtaError(e, "DEVICE_IO")) this.readError = true;
      return this.#fail(`failed to read blocks: ${failureText(e)}`);
    }
  }

  async #write(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (e) {
      this.#fail(`failed to write blocks: ${failureText(e)}`);
    }
  }

  #sha1(bytes: Uint8Array): string {
    return sha1Of(this.#context.device, bytes);
  }

  #verify(sha1: string, bytes: Uint8Array, tell: boolean): boolean {
    const found = this.#sha1(bytes);
    if (found === sha1) return true;
    if (tell) this.#log(`failed to verify blocks (expected ${sha1}, read ${found})`);
    return false;
  }

  /** Blocks of a stash; undefined when it is not there or wrong. `verify`: the name must be the digest of the content. */
  async #loadStash(id: string, verify: boolean, tellMissing: boolean): Promise<Uint8Array | undefined> {
    const range = this.#request.write ? undefined : this.#remembered.get(id);
    if (range !== undefined) {
      const bytes = await this.#read(range);
      return this.#verify(id, bytes, true) ? bytes : undefined;
    }
    const bytes = await this.#stash.read(id, tellMissing);
    if (bytes === undefined) return undefined;
    if (verify && !this.#verify(id, bytes, true)) {
      this.#log(`unexpected contents in ${this.#stash.folder}/${id}`);
      if (this.#context.dry !== true) await this.#stash.remove(id);
      return undefined;
    }
    return bytes;
  }

  /** `T <n> <src>` of version 2 and later. */
  async #sourceWithStashes(): Promise<{ target: RangeSet; bytes: Uint8Array; overlap: boolean }> {
    if (this.#at + 2 >= this.#words.length) this.#fail("invalid parameters");
    const target = this.#ranges(this.#next("invalid parameters"));
    const countText = this.#next("invalid parameters");
    const blocks = /^\d{1,10}$/.test(countText) ? Number(countText) : Number.NaN;
    if (!(blocks <= MAX_BLOCKS)) this.#fail(`invalid src_block_count "${countText}"`);
    const bytes = new Uint8Array(blocks * BLOCK_SIZE);
    let overlap = false;
    if (this.#words[this.#at] === "-") this.#at++;
    else {
      const source = this.#ranges(this.#next("invalid parameters"));
      if (source.blocks > blocks) this.#fail("invalid parameters: more source blocks than stated");
      const read = await this.#read(source);
      bytes.set(read);
      overlap = rangesOverlap(source, target);
      const locations = this.#words[this.#at];
      if (locations === undefined) return { target, bytes, overlap };
      this.#at++;
      if (!placeBlocks(bytes, this.#ranges(locations), read)) this.#fail("invalid parameters: blocks do not fit");
    }
    while (this.#at < this.#words.length) {
      const [id, places, ...rest] = this.#next("").split(":");
      if (id === undefined || places === undefined || rest.length > 0) return this.#fail("invalid parameter");
      const stash = await this.#loadStash(id, false, true);
      if (stash === undefined) {
        // Whether it was needed is seen when the source is verified.
        this.#log(`failed to load stash ${id}`);
        continue;
      }
      if (!placeBlocks(bytes, this.#ranges(places), stash)) this.#fail("invalid parameters: blocks do not fit");
    }
    return { target, bytes, overlap };
  }

  async #source(oneHash: boolean): Promise<Source> {
    this.#targetHash = undefined;
    if (this.#list.version === 1) {
      if (this.#at + 1 >= this.#words.length) this.#fail("invalid parameters");
      const source = this.#ranges(this.#next(""));
      const target = this.#ranges(this.#next(""));
      const bytes = await this.#protect(await this.#read(source), rangesOverlap(source, target));
      return { target, bytes, already: false };
    }
    if (this.#list.version === 2) {
      const { target, bytes, overlap } = await this.#sourceWithStashes();
      return { target, bytes: await this.#protect(bytes, overlap), already: false };
    }
    const sourceHash = this.#next("missing source hash");
    const targetHash = oneHash ? sourceHash : this.#next("missing target hash");
    this.#targetHash = targetHash;
    const { target, bytes, overlap } = await this.#sourceWithStashes();
    const kept = overlap && this.#ownSource(sourceHash);
    if (this.#verify(targetHash, await this.#read(target), false)) {
      if (kept) this.#freeAfter = sourceHash;
      return { target, bytes, already: true };
    }
    if (this.#verify(sourceHash, bytes, true)) {
      if (overlap && this.#request.write) await this.#stashOverlap(sourceHash, bytes);
      return { target, bytes, already: false };
    }
    const saved = overlap ? await this.#loadStash(sourceHash, true, true) : undefined;
    if (saved !== undefined && saved.length === bytes.length) {
      if (kept) this.#freeAfter = sourceHash;
      return { target, bytes: saved, already: false };
    }
    this.hopeless = true;
    return this.#fail("partition has unexpected contents");
  }

  /** Whether what is kept of a source may go with its command. */
  #ownSource(sha1: string): boolean {
    return this.#leftovers?.ownSources.has(sha1) === true;
  }

  /** Saves a source that the command overwrites itself. */
  async #stashOverlap(sha1: string, bytes: Uint8Array): Promise<void> {
    const blocks = bytes.length / BLOCK_SIZE;
    this.#log(`stashing ${blocks} overlapping blocks to ${sha1}`);
    // The name promises the content; a damaged file of that name is written anew.
    const there = async (): Promise<boolean> =>
      (await this.#stash.has(sha1)) && (await this.#loadStash(sha1, true, false)) !== undefined;
    // The original asks for room even for what is there, which a small cache does not have.
    const left = this.#context.profile === "safe" && (await there());
    if (!left && !(await this.#stash.room(bytes.length))) {
      this.#log("not enough space to write stash");
      this.#fail("failed to stash overlapping source blocks");
    }
    const exists = left || (await there());
    if (exists) this.#log(` skipping ${blocks} existing blocks in ${this.#stash.folder}/${sha1}`);
    else if (!(await this.#stash.write(sha1, bytes))) this.#fail("failed to stash overlapping source blocks");
    this.#stashed += blocks;
    if (!exists || this.#ownSource(sha1)) this.#freeAfter = sha1;
  }

  /** Versions 1 and 2: keeps an overwritten source of the command that is under way, and finds it again after a cut. */
  async #protect(bytes: Uint8Array, overlap: boolean): Promise<Uint8Array> {
    if (!overlap || !this.#request.write || this.#context.journal === undefined) return bytes;
    const id = keptSource(this.#line);
    const saved = await this.#stash.read(id, false);
    if (saved !== undefined && saved.length === bytes.length) {
      this.#freeAfter = id;
      return saved;
    }
    if (!(await this.#stash.write(id, bytes))) this.#fail("failed to save overlapping source blocks");
    this.#freeAfter = id;
    return bytes;
  }

  #line = 0;

  async #move(): Promise<void> {
    const { target, bytes, already } = await this.#source(true);
    if (this.#request.write) {
      if (already) this.#log(`skipping ${target.blocks} already moved blocks`);
      else {
        this.#log(`  moving ${target.blocks} blocks`);
        if (bytes.length < target.blocks * BLOCK_SIZE) this.#fail("fewer source than target blocks");
        await this.#write(() => writeBlocks(this.#request.target, target, bytes));
      }
    }
    this.#written += target.blocks;
  }

  async #diff(name: "bsdiff" | "imgdiff"): Promise<void> {
    const missing = `missing patch offset or length for ${name}`;
    if (this.#at + 1 >= this.#words.length) this.#fail(missing);
    const [offsetText, lengthText] = [this.#next(missing), this.#next(missing)];
    const offset = /^\d{1,15}$/.test(offsetText) ? Number(offsetText) : Number.NaN;
    const length = /^\d{1,15}$/.test(lengthText) ? Number(lengthText) : Number.NaN;
    if (Number.isNaN(offset)) this.#fail("invalid patch offset");
    if (Number.isNaN(length)) this.#fail("invalid patch length");
    const { target, bytes, already } = await this.#source(false);
    if (this.#request.write) {
      if (already) {
        this.#log(`skipping ${bytes.length / BLOCK_SIZE} blocks already patched to ${target.blocks}`);
      } else {
        this.#log(`patching ${bytes.length / BLOCK_SIZE} blocks to ${target.blocks}`);
        const made = await this.#patched(name, bytes, { offset, length, size: target.blocks * BLOCK_SIZE });
        await this.#write(() => writeBlocks(this.#request.target, target, made));
      }
    }
    this.#written += target.blocks;
  }

  /** The result of a patch, padded with zeros; whole before anything of it is written. */
  async #patched(
    name: "bsdiff" | "imgdiff",
    source: Uint8Array,
    patch: { offset: number; length: number; size: number },
  ): Promise<Uint8Array> {
    const failed = name === "imgdiff" ? "Failed to apply image patch." : "Failed to apply bsdiff patch.";
    const { patchData } = this.#request;
    if (patch.offset + patch.length > patchData.size) this.#fail(`${failed} It lies outside the patch data.`);
    const out = new Uint8Array(patch.size);
    let at = 0;
    try {
      const slice = sliceReader(patchData, patch.offset, patch.length);
      const old = memoryReader(source);
      const stream = withScratchCore((core) =>
        (name === "imgdiff" ? applyImgdiff2 : applyBsdiff40)(old, slice, { core }),
      );
      for await (const chunk of stream) {
        if (at + chunk.length > out.length) this.#fail(`${failed} It gives more than the target blocks.`);
        out.set(chunk, at);
        at += chunk.length;
      }
    } catch (e) {
      if (e instanceof CommandFailed) throw e;
      failureText(e);
      this.#fail(`${failed} ${isOtaError(e) ? e.message : ""}`);
    }
    if (at < out.length) this.#log("range sink underrun?");
    const wanted = this.#targetHash;
    if (this.#context.profile === "safe" && wanted !== undefined && !this.#verify(wanted, out, true)) {
      this.#fail(`${failed} The result is not the promised one.`);
    }
    return out;
  }

  async #zero(): Promise<void> {
    const set = this.#ranges(this.#next("missing target blocks for zero"));
    this.#log(`  zeroing ${set.blocks} blocks`);
    await this.#write(() => fillBlocks(this.#request.target, set, async (n) => new Uint8Array(n)));
    this.#written += set.blocks;
  }

  async #new(skip: boolean): Promise<void> {
    const set = this.#ranges(this.#next("missing target blocks for new"));
    const take = async (length: number): Promise<Uint8Array> => {
      const bytes = await this.#news.take(length);
      if (bytes.length < length) throw new CommandFailed("the new data ends too early");
      return bytes;
    };
    try {
      if (skip) {
        for (let left = set.blocks * BLOCK_SIZE; left > 0; left -= 1 << 20) await take(Math.min(left, 1 << 20));
      } else {
        this.#log(` writing ${set.blocks} blocks of new data`);
        await fillBlocks(this.#request.target, set, take);
      }
    } catch (e) {
      if (e instanceof CommandFailed) this.#fail(e.message);
      this.#fail(`failed to write new data: ${failureText(e)}`);
    }
    this.#written += set.blocks;
  }

  async #erase(): Promise<void> {
    const { isBlockDevice, target } = this.#request;
    if (!isBlockDevice) this.#fail("not a block device; skipping erase");
    const set = this.#ranges(this.#next("missing target blocks for erase"));
    this.#log(` erasing ${set.blocks} blocks`);
    // A discarded block reads as zeros on the loop devices and cards of the reference; on a board nobody looks at it.
    if (this.#context.device.kind === "board") return;
    await this.#write(() => fillBlocks(target, set, async (n) => new Uint8Array(n)));
  }

  async #stashCommand(): Promise<void> {
    const missing = "missing id and/or src range fields in stash command";
    if (this.#at + 1 >= this.#words.length) this.#fail(missing);
    const id = this.#next(missing);
    const byHash = this.#list.version >= 3;
    if (byHash && (await this.#loadStash(id, true, false)) !== undefined) return;
    const set = this.#ranges(this.#next(missing));
    if (this.#leftovers?.pending?.has(id) === false) return this.#log(`stash ${id} is not needed any more`);
    const bytes = await this.#read(set);
    if (byHash && !this.#verify(id, bytes, true)) {
      // If a later command really needs it, that command fails.
      this.#log(`failed to load source blocks for stash ${id}`);
      return;
    }
    if (!this.#request.write && byHash) {
      this.#remembered.set(id, set);
      return;
    }
    this.#log(`stashing ${set.blocks} blocks to ${id}`);
    this.#stashed += set.blocks;
    if (!(await this.#stash.write(id, bytes))) this.#fail(`failed to write stash ${id}`);
  }

  async #free(): Promise<void> {
    const id = this.#next("missing stash id in free command");
    if (!this.#request.write && this.#remembered.delete(id)) return;
    if (!this.#createdStash && !this.#request.write) return;
    if (!(await this.#stash.remove(id))) this.#fail(`failed to free stash ${id}`);
  }

  async #command(name: string, skip: boolean): Promise<void> {
    const { write } = this.#request;
    if (skip && name !== "new") {
      // Done by an earlier run; a stash of version 2 is still there as a file.
      if (name === "move" || name === "bsdiff" || name === "imgdiff" || name === "zero") {
        this.#written += this.#targetBlocks();
      }
      return;
    }
    switch (name) {
      case "move":
        return this.#move();
      case "bsdiff":
      case "imgdiff":
        return this.#diff(name);
      case "stash":
        return this.#stashCommand();
      case "free":
        return this.#free();
      case "zero":
        return write ? this.#zero() : undefined;
      case "new":
        return write ? this.#new(skip) : undefined;
      case "erase":
        return write ? this.#erase() : undefined;
      default:
        this.#fail(`unexpected command [${name}]`);
    }
  }

  /** Target blocks of the command under way, of version 1 or 2. */
  #targetBlocks(): number {
    const places = commandWords(this.#words[0] as string, this.#list.version);
    return this.#ranges(this.#words[places?.target ?? 0] ?? "").blocks;
  }

  /** What an interrupted run of the script holds on the cache besides this list's stash, bytes. */
  async #heldElsewhere(): Promise<number> {
    const { heldOnCache } = this.#context;
    return heldOnCache === undefined ? 0 : Math.max(0, (await heldOnCache()) - (await this.#stash.used()));
  }

  /** Makes room for the stash; false when there is none. */
  async #openStash(): Promise<boolean> {
    const { write, target } = this.#request;
    const heldElsewhere = await this.#heldElsewhere();
    if (write && this.#context.profile === "safe") {
      this.#leftovers = await takeStock({ ...this.#context, heldElsewhere }, this.#list, this.#stash, target);
    }
    const opened =
      this.#leftovers === undefined
        ? await this.#stash.open(this.#list.maxStashed * BLOCK_SIZE, heldElsewhere)
        : await this.#stash.open(this.#leftovers.room);
    this.#createdStash = opened === "created";
    return opened !== "failed";
  }

  async run(): Promise<boolean> {
    const { version, commands, total } = this.#list;
    const { write, target, name } = this.#request;
    const { journal, dry } = this.#context;
    // Version 1: what a command overwrites of its source.
    const stashing = version >= 2 || (journal !== undefined && write);
    const keepsStash = stashing && dry !== true;
    if (keepsStash && !(await this.#openStash())) return false;
    if (dry === true) this.#createdStash = (await this.#stash.used()) === 0;
    const notes =
      write && journal !== undefined ? new ProgressNotes(this.#context.device, target, this.#list, journal) : undefined;
    const skipTo = (await notes?.begin()) ?? 0;
    let ok = true;
    for (const [line, text] of commands.entries()) {
      this.#context.checkCancel();
      this.#words = text.split(" ");
      this.#at = 1;
      this.#line = line;
      this.#freeAfter = undefined;
      const command = this.#words[0] as string;
      const known = ["move", "bsdiff", "imgdiff", "stash", "free", "zero", "new", "erase"].includes(command);
      try {
        if (line >= skipTo) await notes?.starts(line);
        await this.#command(command, line < skipTo);
        if (write && line >= skipTo) {
          await target.flush();
          await notes?.ends(line);
        }
        if (this.#freeAfter !== undefined) await this.#stash.remove(this.#freeAfter);
      } catch (e) {
        if (!(e instanceof CommandFailed)) throw e;
        if (known) this.#log(`failed to execute command [${text}]`);
        ok = false;
        break;
      }
      if (write) this.#context.pipe(`set_progress ${formatDouble(this.#written / total, 4)}`);
    }
    await this.#news.close();
    if (!ok) {
      if (keepsStash && (this.hopeless || (!write && this.#createdStash))) await this.#stash.clear();
      return false;
    }
    if (write) {
      this.#log(`wrote ${this.#written} blocks; expected ${total}`);
      this.#log(`stashed ${this.#stashed} blocks`);
      const partition = name.slice(name.lastIndexOf("/") + 1);
      if (name.includes("/") && partition !== "") {
        this.#context.pipe(`log bytes_written_${partition}: ${this.#written * BLOCK_SIZE}`);
        this.#context.pipe(`log bytes_stashed_${partition}: ${this.#stashed * BLOCK_SIZE}`);
      }
      if (keepsStash) await this.#stash.clear();
    } else {
      this.#log("verified partition contents; update may be resumed");
      if (keepsStash && this.#createdStash) await this.#stash.clear();
    }
    return true;
  }
}

/** Runs a transfer list over a device, or only looks whether it could be run. */
export async function runBlockUpdate(
  context: BlockUpdateContext,
  request: BlockUpdateRequest,
): Promise<BlockUpdateResult> {
  context.log(request.write ? "performing update\n" : "performing verification\n");
  const list = parseTransferList(request.transferList, (line) => context.log(`${line}\n`));
  const result = { done: false, readError: false, malformedRange: false, unexpected: false };
  if ("problem" in list) {
    context.log(`${list.problem}\n`);
    return result;
  }
  if (list.total === 0) return { ...result, done: true };
  const { target, newSize: newData, patchData, write } = request;
  const around = { device: target.size, newData, patchData: patchData.size };
  const problem = context.profile === "safe" && write ? listProblem(list, around) : undefined;
  if (problem !== undefined) {
    context.log(`${problem}; nothing was written\n`);
    return result;
  }
  const withoutJournal = list.version >= 3 || context.profile === "vendor";
  const { journal: _, ...bare } = context;
  const run = new BlockRun(withoutJournal ? bare : context, request, list);
  try {
    const done = await run.run();
    return { ...result, done, readError: run.readError, unexpected: run.hopeless };
  } catch (e) {
    if (!(e instanceof MalformedRange)) throw e;
    return { ...result, malformedRange: true };
  }
}
