/**
 * Plans an in-place install: in which order blocks are written over old, and which bytes of old are saved before they are
 * destroyed because a later block still reads them. The plan follows from the patch alone, so a resumed run makes the same.
 */
import type { CoverList } from "./cover-list.ts";
import type { ForgeBlock, ForgePatch } from "./forge/read.ts";
import { readsOf } from "./forge/reads.ts";
import { totalOf, unionOf, within, type ByteRange } from "./ranges.ts";

/** Bytes of old kept in the save file. */
export interface SavedPiece extends ByteRange {
  /** Where in the save file. */
  readonly savedAt: number;
  /** Step whose block reads it last. */
  readonly lastStep: number;
}

export interface InPlaceStep {
  /** Number of the block. */
  readonly block: number;
  /** What is saved before the block is written. */
  readonly saves: readonly SavedPiece[];
}

export interface InPlacePlan {
  readonly steps: readonly InPlaceStep[];
  /** Largest size of the save file, bytes. */
  readonly saveFileSize: number;
}

/** Pieces in a save file, with room given back when the last reader is done. */
class SaveFile {
  size = 0;
  #free: ByteRange[] = [];

  take(size: number): number {
    const index = this.#free.findIndex((r) => r.end - r.at >= size);
    if (index < 0) {
      this.size += size;
      return this.size - size;
    }
    const { at, end } = this.#free[index] as ByteRange;
    this.#free.splice(index, 1, ...(end - at > size ? [{ at: at + size, end }] : []));
    return at;
  }

  give(at: number, size: number): void {
    this.#free = unionOf([...this.#free, { at, end: at + size }]);
  }
}

function planOrder(patch: ForgePatch, order: readonly number[], reads: readonly (readonly ByteRange[])[]): InPlacePlan {
  const file = new SaveFile();
  const steps: InPlaceStep[] = [];
  const live: SavedPiece[] = [];
  /** Ranges already destroyed: their bytes are saved or nobody needs them. */
  let gone: ByteRange[] = [];
  order.forEach((index, step) => {
    for (let i = live.length - 1; i >= 0; i--) {
      const piece = live[i] as SavedPiece;
      if (piece.lastStep >= step) continue;
      file.give(piece.savedAt, piece.end - piece.at);
      live.splice(i, 1);
    }
    const block = patch.blocks[index] as ForgeBlock;
    const touched = { at: block.fileAt, end: Math.min(block.fileAt + block.fileSize, patch.header.oldSize) };
    const saves: SavedPiece[] = [];
    // Latest readers first: each byte is kept until its last one.
    const covered: ByteRange[] = [...gone];
    for (let later = order.length - 1; later > step; later--) {
      const wanted = within(reads[order[later] as number] as readonly ByteRange[], touched);
      for (const range of subtract(wanted, unionOf(covered))) {
        const piece = { ...range, savedAt: file.take(range.end - range.at), lastStep: later };
        saves.push(piece);
        live.push(piece);
        covered.push(range);
      }
    }
    gone = unionOf([...gone, touched]);
    steps.push({ block: index, saves });
  });
  return { steps, saveFileSize: file.size };
}

/** The parts of `set` that are not in `other`, both sorted and not touching. */
function subtract(set: readonly ByteRange[], other: readonly ByteRange[]): ByteRange[] {
  const out: ByteRange[] = [];
  for (const range of set) {
    let at = range.at;
    for (const hole of other) {
      if (hole.end <= at) continue;
      if (hole.at >= range.end) break;
      if (hole.at > at) out.push({ at, end: hole.at });
      at = Math.max(at, hole.end);
    }
    if (at < range.end) out.push({ at, end: range.end });
  }
  return out;
}

/** What a plan needs of a decoder. */
export interface PlannedDecoder {
  readonly patch: ForgePatch;
  covers(window: number): Promise<CoverList>;
}

/** The order, upwards or downwards, that saves less. */
export async function planInPlace(decoder: PlannedDecoder): Promise<InPlacePlan> {
  const { patch } = decoder;
  const reads: ByteRange[][] = [];
  for (const block of patch.blocks) reads.push(readsOf(await decoder.covers(block.window), block, patch.oldSegments));
  const up = patch.blocks.map((_, i) => i);
  const upwards = planOrder(patch, up, reads);
  const downwards = planOrder(patch, [...up].reverse(), reads);
  const saved = (plan: InPlacePlan) => plan.steps.reduce((sum, s) => sum + totalOf(s.saves), 0);
  return saved(downwards) < saved(upwards) ? downwards : upwards;
}
