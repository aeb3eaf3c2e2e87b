/** Walks a block of new's view, cover by cover, through the model; the same walk encodes and decodes. */
import type { BinaryCoder } from "./arithmetic.ts";
import { BlockModel, MARGIN } from "./block-model.ts";
import type { CoverList } from "../cover-list.ts";
import { References, type ShiftMap } from "./references.ts";

/** Bytes coded at a time: what the caller gives or gets, and what of old is held. */
const PIECE = 64 * 1024;

/** Old's view, as a block coder reads it. */
export interface ViewSource {
  copy(out: Uint8Array, at: number, from: number, length: number): Promise<void>;
}

/** What a patch's header says about its models. */
export interface ModelShape {
  readonly tableBits: number;
  readonly absoluteBase: number;
}

export interface BlockWalk {
  readonly coder: BinaryCoder;
  readonly old: ViewSource;
  readonly covers: CoverList;
  readonly map: ShiftMap | undefined;
  readonly shape: ModelShape;
}

/**
 * Codes new's view from `start` to `end`. `piece(at, size)` gives the buffer of the next bytes, filled when encoding; `done` is
 * called when they are coded.
 */
export async function codeBlock(
  walk: BlockWalk,
  [start, end]: readonly [number, number],
  piece: (at: number, size: number) => Uint8Array | Promise<Uint8Array>,
  done: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const { coder, old, covers, map, shape } = walk;
  const model = new BlockModel(
    coder,
    new References(map, shape.absoluteBase, end - start),
    shape.tableBits,
    end - start,
  );
  const lined = new Uint8Array(PIECE + 2 * MARGIN);
  const behind = new Uint8Array(PIECE);
  const ahead = new Uint8Array(PIECE);
  let at = start;
  let index = covers.firstEndingBehind(start);
  // Where old would go on behind the cover before the literals.
  let oldEnd =
    index > 0 ? covers.oldAt(index - 1) + covers.size(index - 1) + (start - covers.newEnd(index - 1)) : start;
  const literals = async (to: number, oldNext: number): Promise<void> => {
    while (at < to) {
      const size = Math.min(PIECE, to - at);
      await old.copy(behind, 0, oldEnd, size);
      await old.copy(ahead, 0, oldNext - (to - at), size);
      const bytes = await piece(at, size);
      model.codeLiterals(bytes, [0, size], behind, ahead);
      at += size;
      oldEnd += size;
      await done(bytes);
    }
  };
  for (; index < covers.count && covers.newAt(index) < end; index++) {
    const newAt = covers.newAt(index);
    const shift = newAt - covers.oldAt(index);
    if (newAt > at) await literals(newAt, newAt - shift);
    const stop = Math.min(end, covers.newEnd(index));
    model.startCover(covers.size(index));
    while (at < stop) {
      const size = Math.min(PIECE, stop - at);
      await old.copy(lined, 0, at - shift - MARGIN, size + 2 * MARGIN);
      const bytes = await piece(at, size);
      model.codeCover(bytes, [0, size], lined, [at - shift, shift]);
      at += size;
      await done(bytes);
    }
    oldEnd = stop - shift;
  }
  const next = index < covers.count ? covers.oldAt(index) - (covers.newAt(index) - end) : oldEnd + (end - at);
  await literals(end, next);
}
