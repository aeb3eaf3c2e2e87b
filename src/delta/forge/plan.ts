/** How new's view is cut into windows and blocks, and what a patch costs a device. */
import type { SegmentList } from "./segments.ts";
import { KEPT_UNPACKED } from "./view-reader.ts";

/** Bytes of old under one base digest. */
export const BASE_UNIT = 1024 * 1024;
/** Bytes of new's view in a block, unless the caller says otherwise, at most and at least. */
const MOST_DEFAULT_BLOCK = 8 * 1024 * 1024;
const LEAST_DEFAULT_BLOCK = 1024 * 1024;
/** Blocks that give two threads even work. */
const FEW_BLOCKS = 4;
/** Bytes of new's view in a strip, at most. */
const STRIP = 8 * 1024 * 1024;
/** Blocks a caller may ask for; a packed part in one may make it larger. */
export const LARGEST_BLOCK = 256 * 1024 * 1024;
/** Bytes of new's view in a window: its covers and its map of old are all a device holds of either. */
const WINDOW = 128 * 1024 * 1024;
/** Entries of a window's map of old: grains grow so that a device needs no more, 16 MiB. */
const MOST_GRAINS = 4 * 1024 * 1024;
const LEAST_GRAIN_BITS = 5;

/** A stretch of new's view. */
export interface ViewRange {
  readonly viewAt: number;
  readonly viewSize: number;
}

/**
 * Block size of a view when nobody asks for one: small files are cut as well, so that they are coded and decoded on several
 * threads; models that begin anew cost libc and libcrypto 1 to 3 %, and btrfs.ko gains 2 %.
 */
export function defaultBlockFor(viewSize: number): number {
  const most = Math.max(LEAST_DEFAULT_BLOCK, Math.min(MOST_DEFAULT_BLOCK, viewSize / FEW_BLOCKS));
  return Math.max(1, Math.ceil(viewSize / Math.max(1, Math.ceil(viewSize / most))));
}

/** Strips of a block: all of one size but the last. A block that a large packed part makes large is coded on several threads by them. */
export function stripsOf({ viewAt, viewSize }: ViewRange): ViewRange[] {
  const size = Math.ceil(viewSize / Math.max(1, Math.ceil(viewSize / STRIP)));
  const strips: ViewRange[] = [];
  for (let done = 0; done < viewSize; done += size) {
    strips.push({ viewAt: viewAt + done, viewSize: Math.min(size, viewSize - done) });
  }
  return strips.length > 0 ? strips : [{ viewAt, viewSize }];
}

export interface PlannedBlock extends ViewRange {
  readonly fileAt: number;
  readonly fileSize: number;
}

export interface PlannedWindow {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly blocks: readonly PlannedBlock[];
}

/** Blocks end between segments or inside plain ones; a packed part is never cut. */
function planBlocks(segments: SegmentList, blockSize: number): PlannedBlock[] {
  const blocks: PlannedBlock[] = [];
  let viewAt = 0;
  let fileAt = 0;
  let viewSize = 0;
  let fileSize = 0;
  const close = (): void => {
    if (fileSize === 0) return;
    blocks.push({ viewAt, viewSize, fileAt, fileSize });
    viewAt += viewSize;
    fileAt += fileSize;
    viewSize = fileSize = 0;
  };
  for (const segment of segments.items) {
    if (segment.repacker !== 0) {
      if (viewSize > 0 && viewSize + segment.viewSize > blockSize) close();
      viewSize += segment.viewSize;
      fileSize += segment.fileSize;
      if (viewSize >= blockSize) close();
      continue;
    }
    for (let left = segment.viewSize; left > 0;) {
      const n = Math.min(left, Math.max(1, blockSize - viewSize));
      viewSize += n;
      fileSize += n;
      left -= n;
      if (viewSize >= blockSize) close();
    }
  }
  close();
  return blocks;
}

/** Windows of whole blocks, at most {@link WINDOW} large unless a single block is larger. */
export function planWindows(segments: SegmentList, blockSize: number): PlannedWindow[] {
  const windows: { viewAt: number; viewSize: number; blocks: PlannedBlock[] }[] = [];
  for (const block of planBlocks(segments, blockSize)) {
    const last = windows.at(-1);
    if (last !== undefined && last.viewSize + block.viewSize <= WINDOW) {
      last.blocks.push(block);
      last.viewSize += block.viewSize;
    } else windows.push({ viewAt: block.viewAt, viewSize: block.viewSize, blocks: [block] });
  }
  return windows;
}

/** Slots of the models by the largest block: no more than it has use for. */
export function tableBitsFor(windows: readonly PlannedWindow[]): number {
  const largest = windows.flatMap((w) => w.blocks).reduce((m, b) => Math.max(m, b.viewSize), 0);
  return Math.max(14, Math.min(20, Math.ceil(Math.log2(largest + 1)) - 3));
}

export function grainBitsFor(mapSize: number): number {
  let bits = LEAST_GRAIN_BITS;
  while (mapSize / 2 ** bits > MOST_GRAINS) bits++;
  return bits;
}

/** What of a patch decides how much memory a device needs. */
export interface MemoryShape {
  readonly tableBits: number;
  readonly grainBits: number;
  readonly oldSegments: SegmentList;
  readonly newSegments: SegmentList;
  readonly windows: readonly { readonly mapSize: number; readonly coverCount: number; readonly coversSize: number }[];
  readonly blocks: readonly { readonly fileSize: number; readonly storedSize: number }[];
}

/** Bytes of the models beside their slots, of buffers, and of tables that every device holds. */
const FIXED = 4 * 1024 * 1024;

/**
 * Memory a device needs, bytes: models, a window's map and covers, one block of new as stored and as written, one packed part
 * of either file with its content, and the list of segments.
 */
export function memoryOf({ tableBits, grainBits, oldSegments, newSegments, windows, blocks }: MemoryShape): number {
  const models = 2 * 4 * 2 ** tableBits + 12 * 4 * 2 ** Math.max(8, Math.min(18, tableBits - 3));
  const largest = (list: SegmentList) =>
    list.items.reduce((m, s) => Math.max(m, s.repacker === 0 ? 0 : s.viewSize + s.fileSize), 0);
  const window = windows.reduce(
    (m, w) => Math.max(m, 4 * Math.ceil(w.mapSize / 2 ** grainBits) + 28 * w.coverCount + w.coversSize),
    0,
  );
  const block = blocks.reduce((m, b) => Math.max(m, b.fileSize + b.storedSize), 0);
  const unpacked = largest(oldSegments);
  // A list entry is an object of six fields.
  const lists = 96 * (oldSegments.items.length + newSegments.items.length) + 160 * blocks.length;
  const packing = 2 * largest(newSegments);
  return FIXED + models + window + block + packing + unpacked + (unpacked > 0 ? KEPT_UNPACKED : 0) + lists;
}
