/**
 * Applies an `otaforge` delta to the raw target that holds old: new is written over old, block by block, and a cut at any
 * moment is resumed by running it again.
 *
 * Before the first write the base and every block are checked. Before a block is written, what later blocks still read of the place
 * it takes is in the save file, and the block itself is in the block file, both flushed, and the journal says so. After it, it has been
 * read back. So at any moment either old is whole, or journal, save file and block file make the rest of new.
 */
import { equalBytes, hexOffset, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { BlockTarget, Cancel, Digests, FileStore, OpenFile, ProgressEvent, RandomReader } from "../core/ports.ts";
import { checkCancel, checkRange } from "../core/streams.ts";
import { openForge, type ForgeDecoder } from "./forge/apply.ts";
import type { ForgeBlock } from "./forge/read.ts";
import type { Repacker } from "./forge/repack.ts";
import { planInPlace, type InPlacePlan, type InPlaceStep, type SavedPiece } from "./in-place-plan.ts";

/** What the journal of an in-place install holds. */
export interface InPlaceState {
  /** SHA-256 of the patch, hex: another patch must not continue this one's work. */
  readonly patch: string;
  /** Blocks written, in the plan's order. */
  readonly step: number;
  /** The block of this step is in the block file and may be half written. */
  readonly ready: boolean;
  /** Everything is written and checked; only the files are left to remove. */
  readonly done: boolean;
}

/** A state record; the journal of `device/` is one. */
export interface InPlaceJournal {
  load(): Promise<InPlaceState | undefined>;
  save(state: InPlaceState): Promise<void>;
  clear(): Promise<void>;
}

export interface InPlaceOptions {
  readonly digests: Digests;
  readonly journal: InPlaceJournal;
  /** Where save file and block file go: on a medium that keeps them, never on the target. */
  readonly store: FileStore;
  /** Path both begin with, in an existing folder. Default `/in-place`. */
  readonly path?: string;
  readonly repackers?: readonly Repacker[];
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

export interface InPlaceResult {
  /** `patched` in one run, `resumed` after a cut, or `already` new when it began. */
  readonly outcome: "patched" | "resumed" | "already";
  /** Largest size of the save file and of the block file, bytes. */
  readonly savedBytes: number;
  readonly blockBytes: number;
}

/** Bytes moved at a time. */
const PIECE = 1024 * 1024;

function folderOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

/** Old as it can still be read: the target, and the save file where the target was written over. */
class KeptOld implements RandomReader {
  readonly size: number;
  readonly #target: BlockTarget;
  readonly #file: OpenFile;
  /** Pieces in force. */
  pieces: SavedPiece[] = [];

  constructor(target: BlockTarget, size: number, file: OpenFile) {
    this.#target = target;
    this.size = size;
    this.#file = file;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this.size, offset, length);
    const out = (await this.#target.read(offset, length)).slice();
    for (const { at, end, savedAt } of this.pieces) {
      const from = Math.max(at, offset);
      const to = Math.min(end, offset + length);
      if (to > from) out.set(await this.#file.read(savedAt + from - at, to - from), from - offset);
    }
    return out;
  }
}

class InPlaceRun {
  readonly #target: BlockTarget;
  readonly #options: InPlaceOptions;
  readonly #path: string;
  #saveFile!: OpenFile;
  #blockFile!: OpenFile;

  constructor(target: BlockTarget, options: InPlaceOptions) {
    this.#target = target;
    this.#options = options;
    this.#path = options.path ?? "/in-place";
  }

  async run(patch: RandomReader): Promise<InPlaceResult> {
    const { journal, store } = this.#options;
    const state = await journal.load();
    const early = await openForge(this.#target, patch, this.#options);
    const id = toHex(early.patch.header.frameDigest);
    if (state !== undefined && state.patch !== id) {
      throw new OtaError("INPLACE_JOURNAL", {
        what: "another patch was begun on this target and is not finished",
        where: this.#target.path,
        expected: state.patch.slice(0, 16),
        found: id.slice(0, 16),
        hint: "Run that one again first, or write a full image.",
      });
    }
    const plan = await planInPlace(early);
    const blockBytes = early.patch.blocks.reduce((m, b) => Math.max(m, this.#widened(b).size), 0);
    const result = { savedBytes: plan.saveFileSize, blockBytes };
    if (state?.done === true) {
      await this.#removeFiles();
      return { outcome: "resumed", ...result };
    }
    if (state === undefined) {
      const { oldSize, newSize } = early.patch.header;
      if (Math.max(oldSize, newSize) > this.#target.size) {
        throw new OtaError("DEVICE_TOO_SMALL", {
          what: "old or new does not fit the target",
          where: this.#target.path,
          expected: Math.max(oldSize, newSize),
          found: this.#target.size,
        });
      }
      if (await this.#isNew(early)) return { outcome: "already", ...result };
      await early.checkBase();
      for (let i = 0; i < early.patch.blocks.length; i++) await early.decode(i);
      await this.#checkSpace(plan.saveFileSize + blockBytes);
      await this.#checkBadBlocks(newSize);
    }
    this.#saveFile = await store.open(`${this.#path}.saved`, state === undefined ? "create" : "update");
    try {
      this.#blockFile = await store.open(`${this.#path}.block`, state === undefined ? "create" : "update");
      try {
        await store.syncFolder(folderOf(this.#path));
        const old = new KeptOld(this.#target, Math.min(early.patch.header.oldSize, this.#target.size), this.#saveFile);
        // A decoder of its own: it reads old through the save file, and keeps nothing read before.
        const decoder = await openForge(old, patch, this.#options);
        await this.#steps(decoder, old, plan, state ?? { patch: id, step: 0, ready: false, done: false });
      } finally {
        await this.#blockFile.close();
      }
    } finally {
      await this.#saveFile.close();
    }
    if (!(await this.#isNew(early))) {
      throw new OtaError("DEVICE_IO", {
        what: "the target reads back other bytes than were written",
        where: this.#target.path,
      });
    }
    await journal.save({ patch: id, step: plan.steps.length, ready: false, done: true });
    await this.#removeFiles();
    return { outcome: state === undefined ? "patched" : "resumed", ...result };
  }

  async #steps(decoder: ForgeDecoder, old: KeptOld, plan: InPlacePlan, begun: InPlaceState): Promise<void> {
    const { journal, signal, progress } = this.#options;
    const { blocks, header } = decoder.patch;
    let written = 0;
    for (const [step, planned] of plan.steps.entries()) {
      checkCancel(signal);
      const block = blocks[planned.block] as ForgeBlock;
      // Pieces whose last reader is done may be overwritten by this step's.
      old.pieces = old.pieces.filter((p) => p.lastStep >= step);
      if (step < begun.step) old.pieces.push(...planned.saves);
      else {
        if (step > begun.step || !begun.ready) {
          await this.#prepare(decoder, old, planned, block);
          await journal.save({ patch: begun.patch, step, ready: true, done: false });
        }
        old.pieces.push(...planned.saves);
        await this.#write(block);
        await journal.save({ patch: begun.patch, step: step + 1, ready: false, done: false });
      }
      written += block.fileSize;
      progress?.({ phase: "patch in place", doneBytes: written, totalBytes: header.newSize });
    }
  }

  /** Decodes a block and puts it and what it will destroy on a safe medium. */
  async #prepare(decoder: ForgeDecoder, old: KeptOld, planned: InPlaceStep, block: ForgeBlock): Promise<void> {
    const bytes = await decoder.decode(planned.block);
    for (const { at, end, savedAt } of planned.saves) {
      for (let done = 0; done < end - at; done += PIECE) {
        const n = Math.min(PIECE, end - at - done);
        await this.#saveFile.write(savedAt + done, await old.read(at + done, n));
      }
    }
    if (planned.saves.length > 0) await this.#saveFile.sync();
    // On flash whole erase blocks are written: their other bytes come along.
    const { at, size } = this.#widened(block);
    const before = await this.#target.read(at, block.fileAt - at);
    if (before.length > 0) await this.#blockFile.write(0, before);
    await this.#blockFile.write(before.length, bytes);
    const end = block.fileAt + block.fileSize;
    if (at + size > end) await this.#blockFile.write(end - at, await this.#target.read(end, at + size - end));
    await this.#blockFile.sync();
  }

  async #write(block: ForgeBlock): Promise<void> {
    const target = this.#target;
    const { at, size } = this.#widened(block);
    if (target.eraseSize !== undefined) await target.erase?.(at, size);
    for (let done = 0; done < size; done += PIECE) {
      const n = Math.min(PIECE, size - done);
      await target.write(at + done, await this.#blockFile.read(done, n));
    }
    await target.flush();
    for (let done = 0; done < size; done += PIECE) {
      const n = Math.min(PIECE, size - done);
      if (!equalBytes(await target.read(at + done, n), await this.#blockFile.read(done, n))) {
        throw new OtaError("DEVICE_IO", {
          what: "the target reads back other bytes than were written",
          where: `${target.path} ${hexOffset(at + done)}`,
        });
      }
    }
  }

  /** The range a block's write touches. */
  #widened(block: ForgeBlock): { at: number; size: number } {
    const unit = this.#target.eraseSize ?? 1;
    const at = Math.floor(block.fileAt / unit) * unit;
    const end = Math.min(this.#target.size, Math.ceil((block.fileAt + block.fileSize) / unit) * unit);
    return { at, size: end - at };
  }

  async #isNew(decoder: ForgeDecoder): Promise<boolean> {
    const { newSize, newDigest } = decoder.patch.header;
    const digest = this.#options.digests.create("sha256");
    for (let at = 0; at < newSize; at += PIECE) {
      checkCancel(this.#options.signal);
      digest.update(await this.#target.read(at, Math.min(PIECE, newSize - at)));
    }
    return equalBytes(digest.digest(), newDigest);
  }

  async #checkSpace(need: number): Promise<void> {
    const { freeBytes, volatile } = await this.#options.store.space(folderOf(this.#path));
    const where = this.#path;
    if (volatile) {
      throw new OtaError("INPLACE_SPACE", {
        what: "the files of an in-place install would be forgotten at a power cut",
        where,
        hint: "Name a folder on a medium that keeps them, not a tmpfs.",
      });
    }
    if (freeBytes < need) {
      throw new OtaError("INPLACE_SPACE", {
        what: "too little room for what an in-place install saves",
        where,
        expected: `${need} bytes`,
        found: freeBytes,
        hint: "Make the patch with smaller blocks.",
      });
    }
  }

  async #checkBadBlocks(size: number): Promise<void> {
    const { eraseSize } = this.#target;
    if (eraseSize === undefined || this.#target.isBad === undefined) return;
    for (let at = 0; at < size; at += eraseSize) {
      if (!(await this.#target.isBad(at))) continue;
      throw new OtaError("DEVICE_BAD_BLOCK", {
        what: "an in-place patch cannot go around a bad erase block",
        where: `${this.#target.path} ${hexOffset(at)}`,
      });
    }
  }

  async #removeFiles(): Promise<void> {
    const { store, journal } = this.#options;
    for (const path of [`${this.#path}.saved`, `${this.#path}.block`]) {
      if ((await store.stat(path)) !== undefined) await store.remove(path);
    }
    await store.syncFolder(folderOf(this.#path));
    await journal.clear();
  }
}

/**
 * Patches a raw target in place; run again after a cut, it finishes.
 * @throws OtaError before the first write: FORGE_DAMAGED, FORGE_VERSION, FORGE_BASE (the target is neither old nor new),
 * FORGE_REPACKER, INPLACE_JOURNAL, INPLACE_SPACE, DEVICE_TOO_SMALL, DEVICE_BAD_BLOCK; later DEVICE_* and CANCELLED, to be resumed
 */
export async function applyInPlace(
  target: BlockTarget,
  patch: RandomReader,
  options: InPlaceOptions,
): Promise<InPlaceResult> {
  return new InPlaceRun(target, options).run(patch);
}
