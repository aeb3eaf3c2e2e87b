/** Makes `otaforge` deltas. */
import { concatBytes, readU16, readU32, readU64 } from "../../core/bytes.ts";
import type { Cancel, Digests, ProgressEvent } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock } from "./block-coder.ts";
import { CoverList, encodeCovers, MAX_COVERS, shiftMapOf } from "./covers.ts";
import { BASE_DIGEST_SIZE, FORGE_HEADER, FORGE_MAGIC, FORGE_VERSION } from "./layout.ts";
import { MemoryView } from "./memory-view.ts";
import { insideRepackers, RepackerSet, type Repacker } from "./repack.ts";
import type { PartFinder } from "./scan.ts";
import { KEPT_UNPACKED, writeSegments, type SegmentList } from "./segments.ts";
import { encodeSmall } from "./small-data.ts";
import { VarintWriter } from "./varint.ts";
import { closedPair, openPair, type OpenedPair } from "./views.ts";

/** A stretch of new that lines up with one of old. */
export interface ForgeCover {
  readonly newAt: number;
  readonly oldAt: number;
  readonly length: number;
}

/** Finds covers: any order of old, ascending and not overlapping in new. */
export type CoverFinder = (
  oldBytes: Uint8Array,
  newBytes: Uint8Array,
) => readonly ForgeCover[] | Promise<readonly ForgeCover[]>;

export interface ForgeMakeOptions {
  readonly digests: Digests;
  readonly covers: CoverFinder;
  /** Re-packers the patch may ask for; default: those inside the toolkit. Empty: nothing is opened. */
  readonly repackers?: readonly Repacker[];
  /** Finders of streams of re-packers beyond the toolkit. */
  readonly finders?: readonly PartFinder[];
  /** Bytes of new's view in one block, which is what an interrupted apply repeats. Default 8 MiB. */
  readonly blockSize?: number;
  /** Base 2 logarithm of the models' slots, 12 to 22; memory and a little size. Default by the size of new. */
  readonly tableBits?: number;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

const DEFAULT_BLOCK = 8 * 1024 * 1024;
const BASE_UNIT = 1024 * 1024;

/** Covers in views: found ones and those of parts that are the same in both, in order of new. */
async function coversOf(pair: OpenedPair, find: CoverFinder): Promise<CoverList> {
  const { oldStretches, newStretches } = pair;
  const found: [newAt: number, oldAt: number, size: number][] = [];
  if (oldStretches.size > 0 && newStretches.size > 0) {
    for (const cover of await find(oldStretches.joined(), newStretches.joined())) {
      // What bsdiff takes from outside old is zero there and literal here.
      const cut = Math.max(0, -cover.oldAt);
      const length = Math.min(cover.length, oldStretches.size - cover.oldAt);
      for (let done = cut; done < length;) {
        const to = newStretches.locate(cover.newAt + done);
        const from = oldStretches.locate(cover.oldAt + done);
        const n = Math.min(length - done, to.together, from.together);
        found.push([to.viewAt, from.viewAt, n]);
        done += n;
      }
    }
  }
  for (const { newViewAt, oldViewAt, size } of pair.same) found.push([newViewAt, oldViewAt, size]);
  found.sort((a, b) => a[0] - b[0]);
  const joined: [number, number, number][] = [];
  for (const next of found) {
    const last = joined.at(-1);
    if (last !== undefined && last[0] + last[2] === next[0] && last[1] + last[2] === next[1]) last[2] += next[2];
    else joined.push(next);
  }
  // More covers than a device should hold: the shortest become literals.
  if (joined.length > MAX_COVERS) {
    const least = joined.map((c) => c[2]).sort((a, b) => b - a)[MAX_COVERS - 1] as number;
    joined.splice(0, joined.length, ...joined.filter((c) => c[2] > least));
  }
  const covers = new CoverList();
  for (const [newAt, oldAt, size] of joined) covers.add(newAt, oldAt, size);
  return covers;
}

interface PlannedBlock {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly fileAt: number;
  readonly fileSize: number;
}

/** Blocks end between segments or inside plain ones; a packed part is never cut. */
function planBlocks(segments: SegmentList, blockSize: number): PlannedBlock[] {
  const blocks: PlannedBlock[] = [];
  let viewAt = 0;
  let fileAt = 0;
  let viewSize = 0;
  let fileSize = 0;
  const close = (): void => {
    if (viewSize + fileSize === 0) return;
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
      const n = Math.min(left, blockSize - viewSize);
      viewSize += n;
      fileSize += n;
      left -= n;
      if (viewSize >= blockSize) close();
    }
  }
  close();
  return blocks;
}

/** Address minus position of the first loadable segment of the largest ELF file in old's view; 0 when there is none. */
function absoluteBaseOf(oldView: MemoryView): number {
  let best = 0;
  let base = 0;
  for (const { at, bytes } of oldView.parts) {
    if (bytes.length < 64 || bytes.length <= best || readU32(bytes, 0) !== 0x464c457f || bytes[5] !== 1) continue;
    best = bytes.length;
    const wide = bytes[4] === 2;
    const table = wide ? readU64(bytes, 32) : readU32(bytes, 28);
    const entry = readU16(bytes, wide ? 54 : 42);
    for (let i = 0; i < readU16(bytes, wide ? 56 : 44); i++) {
      const row = table + i * entry;
      if (!(row + 56 <= bytes.length) || readU32(bytes, row) !== 1) continue;
      const offset = readU32(bytes, row + (wide ? 8 : 4));
      const address = readU32(bytes, row + (wide ? 16 : 8));
      base = (address - offset - at) >>> 0;
      break;
    }
  }
  return base;
}

/** Memory a device needs: models, map, covers, one block of new, one unpacked part of either file. */
function memoryOf(bits: number, covers: number, pair: OpenedPair, blocks: readonly PlannedBlock[]): number {
  const models = 2 * 4 * 2 ** bits + 9 * 4 * 2 ** Math.max(12, Math.min(18, bits - 3)) + 3 * 1024 * 1024;
  const grains = Math.ceil(pair.oldSegments.viewSize / 32) * 5;
  const largest = (list: SegmentList) =>
    list.items.reduce((m, s) => Math.max(m, s.repacker === 0 ? 0 : s.viewSize + s.fileSize), 0);
  const block = blocks.reduce((m, b) => Math.max(m, b.fileSize), 0);
  const unpacked = largest(pair.oldSegments);
  return (
    models + grains + 28 * covers + block + largest(pair.newSegments) + unpacked + (unpacked > 0 ? KEPT_UNPACKED : 0)
  );
}

/**
 * An `otaforge` delta from old to new. Both are held in memory, with the contents of the parts that are opened.
 * @throws OtaError CANCELLED
 */
export async function makeForge(
  oldBytes: Uint8Array,
  newBytes: Uint8Array,
  options: ForgeMakeOptions,
): Promise<Uint8Array> {
  const { digests, signal, blockSize = DEFAULT_BLOCK } = options;
  const repackers = new RepackerSet(options.repackers ?? insideRepackers());
  const pair =
    repackers.all.length === 0
      ? closedPair(oldBytes, newBytes)
      : await openPair(oldBytes, newBytes, {
          repackers,
          ...(options.finders === undefined ? {} : { finders: options.finders }),
          ...(signal === undefined ? {} : { signal }),
        });
  checkCancel(signal);
  const covers = await coversOf(pair, options.covers);
  const oldView = MemoryView.ofStretches(pair.oldStretches, pair, oldBytes);
  const newView = MemoryView.ofContents(pair.newSegments, pair.newContents, newBytes);
  const blocks = planBlocks(pair.newSegments, blockSize);
  const largest = blocks.reduce((m, b) => Math.max(m, b.viewSize), 0);
  const tableBits = options.tableBits ?? Math.max(14, Math.min(20, Math.ceil(Math.log2(largest + 1)) - 3));
  const absoluteBase = absoluteBaseOf(oldView);
  const map = shiftMapOf(covers, pair.oldSegments.viewSize, pair.newSegments.viewSize);

  const coded: Uint8Array[] = [];
  for (const block of blocks) {
    const coder = new BinaryCoder();
    await codeBlock(
      { coder, old: oldView, covers, map, shape: { tableBits, absoluteBase } },
      [block.viewAt, block.viewAt + block.viewSize],
      (at, size) => newView.slice(at, size),
      (bytes) => {
        checkCancel(signal);
        options.progress?.({ phase: "code", doneBytes: bytes.length, totalBytes: pair.newSegments.viewSize });
      },
    );
    coded.push(coder.finish());
  }

  const sha256 = (bytes: Uint8Array): Uint8Array => {
    const digest = digests.create("sha256");
    digest.update(bytes);
    return digest.digest();
  };
  const bases: Uint8Array[] = [];
  for (let at = 0; at < oldBytes.length; at += BASE_UNIT) {
    bases.push(sha256(oldBytes.subarray(at, at + BASE_UNIT)).slice(0, BASE_DIGEST_SIZE));
  }
  const table = new VarintWriter();
  const needs = [...new Set([...pair.oldSegments.items, ...pair.newSegments.items].map((s) => s.repacker))];
  const used = needs.filter((id) => id !== 0).sort((a, b) => a - b);
  table.number(used.length);
  for (const id of used) table.number(id);
  writeSegments(table, pair.oldSegments);
  writeSegments(table, pair.newSegments);
  for (const [i, block] of blocks.entries()) {
    table.number(block.viewSize);
    table.number(block.fileSize);
    table.number((coded[i] as Uint8Array).length);
    table.bytes(sha256(newBytes.subarray(block.fileAt, block.fileAt + block.fileSize)));
  }
  const tableRaw = table.finish();
  const tableStored = encodeSmall(tableRaw);
  const coversStored = encodeCovers(covers);
  const body = concatBytes(...bases, tableStored, coversStored, ...coded);
  const header = {
    magic: FORGE_MAGIC,
    version: FORGE_VERSION,
    tableBits,
    references: map === undefined ? 0 : 1,
    blockCount: blocks.length,
    oldSize: oldBytes.length,
    newSize: newBytes.length,
    oldViewSize: pair.oldSegments.viewSize,
    newViewSize: pair.newSegments.viewSize,
    baseUnit: BASE_UNIT,
    absoluteBase,
    tableSize: tableStored.length,
    tableRawSize: tableRaw.length,
    coversSize: coversStored.length,
    coverCount: covers.count,
    memoryBytes: memoryOf(tableBits, covers.count, pair, blocks),
    bodySize: body.length,
    newDigest: sha256(newBytes),
    patchDigest: new Uint8Array(32),
  };
  const digest = digests.create("sha256");
  digest.update(FORGE_HEADER.encode(header));
  digest.update(body);
  return concatBytes(FORGE_HEADER.encode({ ...header, patchDigest: digest.digest() }), body);
}
