/**
 * How far a version 1 or 2 list is, on the medium. Such a list cannot tell from the blocks what is done, so each command is noted,
 * and with it what it wrote: a record that was left behind by an interrupted run must not be believed when somebody flashed the
 * partition in between.
 */
import type { BlockTarget, Device } from "../../core/ports.ts";
import { hashBlocks } from "./blocks.ts";
import { writtenRanges } from "./check-list.ts";
import { firstBlocks, parseRanges, rangesOverlap, rangesText } from "./ranges.ts";
import type { RangeSet } from "./ranges.ts";
import type { TransferList } from "./transfer-list.ts";

/** Blocks whose contents show that a record speaks of the device it finds. */
export interface BlockProof {
  /** As in transfer lists. */
  readonly ranges: string;
  readonly sha1: string;
}

/** What is remembered of an update that was interrupted. */
export interface BlockProgress {
  /** Commands that are done and on the medium. */
  readonly done: number;
  /** What the last of them that changed anything wrote. */
  readonly proof?: BlockProof;
}

export interface BlockJournal {
  load(): Promise<BlockProgress | undefined>;
  save(progress: BlockProgress): Promise<void>;
}

/** Blocks of a proof: 1 MiB, which costs less than the flush of the command. */
const PROOF_BLOCKS = 256;

/** Notes the commands of one list as they are done. */
export class ProgressNotes {
  readonly #device: Device;
  readonly #target: BlockTarget;
  readonly #list: TransferList;
  readonly #journal: BlockJournal;
  #proof: BlockProof | undefined;
  /** Blocks the command under way is judged by, and what they held before. */
  #watched: { readonly set: RangeSet; readonly sha1: string } | undefined;

  constructor(device: Device, target: BlockTarget, list: TransferList, journal: BlockJournal) {
    this.#device = device;
    this.#target = target;
    this.#list = list;
    this.#journal = journal;
  }

  /** Commands that are done already. After it the medium says that the update has begun. @throws OtaError DEVICE_* */
  async begin(): Promise<number> {
    const before = await this.#journal.load();
    this.#proof = before?.proof;
    // Known before the first block changes: from here on the partition looks like nothing the script expects.
    if (before === undefined) await this.#journal.save({ done: 0 });
    return before?.done ?? 0;
  }

  /** The command of `line` is about to run. @throws OtaError DEVICE_* */
  async starts(line: number): Promise<void> {
    const set = writtenRanges(this.#list.commands[line] as string, this.#list.version);
    this.#watched = undefined;
    if (set === undefined) return;
    const first = firstBlocks(set, PROOF_BLOCKS);
    this.#watched = { set: first, sha1: await hashBlocks(this.#device, this.#target, first) };
    const proven = this.#proof === undefined ? undefined : parseRanges(this.#proof.ranges);
    if (proven === undefined || !rangesOverlap(proven, set)) return;
    // What it proves is about to be overwritten: a cut in this command must not make the record a lie.
    this.#proof = undefined;
    await this.#journal.save({ done: line });
  }

  /** The command of `line` is on the medium. @throws OtaError DEVICE_* */
  async ends(line: number): Promise<void> {
    const watched = this.#watched;
    if (watched !== undefined) {
      const sha1 = await hashBlocks(this.#device, this.#target, watched.set);
      // Blocks that hold what they held before prove nothing.
      if (sha1 !== watched.sha1) this.#proof = { ranges: rangesText(watched.set), sha1 };
    }
    await this.#journal.save({ done: line + 1, ...(this.#proof === undefined ? {} : { proof: this.#proof }) });
  }
}
