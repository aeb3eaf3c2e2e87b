/** Makes `otaforge` deltas. */
import { concatBytes, readU16, readU32, readU64 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel, readReusing } from "../../core/streams.ts";
import { CoverList } from "../cover-list.ts";
import { encodeBlock, type BlockEncoder } from "./block-encoder.ts";
import { encodeCovers, mappedRangeFor, MAX_COVERS, MAX_MAPPED, shiftMapOf } from "./covers.ts";
import { FORGE_HEADER, FORGE_MAGIC, FORGE_VERSION, PART_DIGEST_SIZE } from "./layout.ts";
import {
  BASE_UNIT,
  LARGEST_BLOCK,
  defaultBlockFor,
  grainBitsFor,
  memoryOf,
  planWindows,
  stripsOf,
  tableBitsFor,
  type PlannedWindow,
} from "./plan.ts";
import { insideRepackers, RepackerSet, type Repacker } from "./repack.ts";
import type { PartFinder } from "./scan.ts";
import { writeSegments } from "./segments.ts";
import { encodeSmall } from "./small-data.ts";
import { joinStrips } from "./strips.ts";
import { VarintWriter } from "./varint.ts";
import { unpackBudget } from "./view-reader.ts";
import { closedPair, openPair, type OpenedPair } from "./views.ts";

/**
 * Finds covers of two files (here: of their views), any order of old, ascending and not overlapping in new. Readers are read
 * from anywhere; what reaches outside old is left out by the caller.
 */
export type CoverFinder = (old: RandomReader, fresh: RandomReader) => CoverList | Promise<CoverList>;

export interface ForgeMakeOptions {
  readonly digests: Digests;
  readonly covers: CoverFinder;
  /** Re-packers the patch may ask for; default: those inside the toolkit. Empty: nothing is opened. */
  readonly repackers?: readonly Repacker[];
  /** Finders of streams of re-packers beyond the toolkit. */
  readonly finders?: readonly PartFinder[];
  /** Bytes of new's view in one block, which is what an interrupted apply repeats: 1 byte to 256 MiB. Default: 1 to 8 MiB, by the size of new. */
  readonly blockSize?: number;
  /** Base 2 logarithm of the models' slots, 12 to 22; memory and a little size. Default by the size of new. */
  readonly tableBits?: number;
  /** Codes blocks elsewhere, several at once; default: here, one after the other. The bytes are the same. */
  readonly encoder?: BlockEncoder;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** A finished delta. */
export interface ForgeDelta {
  /** Size, bytes. */
  readonly size: number;
  /** Its bytes in order, in parts; they can be read again and again. */
  readonly parts: readonly Uint8Array[];
  /** Numbers of the re-packers a device needs. */
  readonly needs: readonly number[];
  /** Packed parts of new that are made by packing again. */
  readonly opened: number;
  readonly blocks: number;
  /** Memory a device needs beside its buffers for reading and writing, bytes. */
  readonly memoryBytes: number;
}

/** The parts of a delta as a stream. */
export async function* streamParts(delta: ForgeDelta): ByteStream {
  yield* delta.parts;
}

/** Covers as they may stand in a patch: what bsdiff takes from outside old is zero there and literal here. */
function coversInside(found: CoverList, oldSize: number): CoverList {
  const covers = new CoverList();
  for (let i = 0; i < found.count; i++) {
    const cut = Math.max(0, -found.oldAt(i));
    const size = Math.min(found.size(i), oldSize - found.oldAt(i)) - cut;
    if (size > 0) covers.append(found.newAt(i) + cut, found.oldAt(i) + cut, size);
  }
  return covers;
}

/** More covers than a window may have: the shortest become literals. */
function atMost(covers: CoverList, count: number): CoverList {
  if (covers.count <= count) return covers;
  const sizes = Float64Array.from({ length: covers.count }, (_, i) => covers.size(i)).sort();
  const least = sizes[covers.count - count] as number;
  const out = new CoverList();
  for (let i = 0; i < covers.count && out.count < count; i++) {
    if (covers.size(i) > least) out.add(covers.newAt(i), covers.oldAt(i), covers.size(i));
  }
  return out;
}

/** Programs looked at for {@link absoluteBaseOf}, at most. */
const MOST_PROGRAMS = 64;

/** Address minus position of the first loadable segment of the largest ELF file that begins a part of old's view; 0: none. */
async function absoluteBaseOf({ oldSegments, oldView }: OpenedPair): Promise<number> {
  const largest = [...oldSegments.items].sort((a, b) => b.viewSize - a.viewSize).slice(0, MOST_PROGRAMS);
  for (const { viewAt, viewSize } of largest) {
    if (viewSize < 64) break;
    const bytes = await oldView.read(viewAt, Math.min(viewSize, 4096));
    if (readU32(bytes, 0) !== 0x464c457f || bytes[5] !== 1) continue;
    const wide = bytes[4] === 2;
    const table = wide ? readU64(bytes, 32) : readU32(bytes, 28);
    const entry = readU16(bytes, wide ? 54 : 42);
    for (let i = 0; i < readU16(bytes, wide ? 56 : 44); i++) {
      const row = table + i * entry;
      if (!(row + 56 <= bytes.length)) break;
      if (readU32(bytes, row) !== 1) continue;
      const offset = readU32(bytes, row + (wide ? 8 : 4));
      const address = readU32(bytes, row + (wide ? 16 : 8));
      return (address - offset - viewAt) >>> 0;
    }
  }
  return 0;
}

/** Bytes read at once while digests are made. */
const PIECE = 1024 * 1024;

/** Digests of a file: of all of it, and of parts of it in order. */
class FileDigests {
  readonly parts: Uint8Array[] = [];
  whole = new Uint8Array(0);

  static async of(
    file: RandomReader,
    sizes: Iterable<number>,
    { digests, signal }: ForgeMakeOptions,
  ): Promise<FileDigests> {
    const out = new FileDigests();
    const whole = digests.create("sha256");
    const buffer = new Uint8Array(Math.min(PIECE, file.size));
    let at = 0;
    for (const size of sizes) {
      const digest = digests.create("sha256");
      for (let done = 0; done < size; done += PIECE) {
        checkCancel(signal);
        const bytes = await readReusing(file, at + done, Math.min(PIECE, size - done), buffer);
        digest.update(bytes);
        whole.update(bytes);
      }
      out.parts.push(digest.digest().slice(0, PART_DIGEST_SIZE));
      at += size;
    }
    out.whole = whole.digest().slice();
    return out;
  }
}

function* unitsOf(size: number, unit: number): Iterable<number> {
  for (let at = 0; at < size; at += unit) yield Math.min(unit, size - at);
}

/** A window with its covers and blocks coded. */
interface CodedWindow {
  readonly planned: PlannedWindow;
  readonly mapAt: number;
  readonly mapSize: number;
  readonly coverCount: number;
  readonly covers: Uint8Array;
  readonly blocks: readonly Uint8Array[];
}

interface CodingShape {
  readonly tableBits: number;
  readonly grainBits: number;
  readonly absoluteBase: number;
}

async function codeWindows(
  pair: OpenedPair,
  windows: readonly PlannedWindow[],
  shape: CodingShape,
  options: ForgeMakeOptions,
): Promise<CodedWindow[]> {
  const { signal, progress, encoder = encodeBlock } = options;
  const { oldView, newView, oldSegments } = pair;
  const found = coversInside(await options.covers(oldView, newView), oldView.size);
  checkCancel(signal);
  const out: CodedWindow[] = [];
  let coded = 0;
  for (const planned of windows) {
    const covers = atMost(found.between(planned.viewAt, planned.viewAt + planned.viewSize), MAX_COVERS);
    const range = mappedRangeFor(covers, oldView.size);
    const map = shiftMapOf(covers, range, shape.grainBits);
    const blocks: Promise<Uint8Array>[] = [];
    for (const block of planned.blocks) {
      const strips: Promise<Uint8Array>[] = [];
      for (const strip of stripsOf(block)) {
        checkCancel(signal);
        // Half of what a device allows: it may begin with this strip and have nothing unpacked yet.
        oldView.allow(unpackBudget(strip.viewSize, oldSegments, 0.5));
        const cancel = signal === undefined ? {} : { signal };
        const { done } = await encoder({ covers, map, shape, strip, oldView, newView, ...cancel });
        const counted = done.then((bytes) => {
          coded += strip.viewSize;
          progress?.({ phase: "code", doneBytes: coded, totalBytes: newView.size });
          return bytes;
        });
        // Failures are met below, when the results are wanted.
        counted.catch(() => undefined);
        strips.push(counted);
      }
      const joined = Promise.all(strips).then(joinStrips);
      joined.catch(() => undefined);
      blocks.push(joined);
    }
    out.push({
      planned,
      ...range,
      coverCount: covers.count,
      covers: encodeCovers(covers, planned.viewAt),
      blocks: await Promise.all(blocks),
    });
  }
  return out;
}

function tableOf(
  pair: OpenedPair,
  windows: readonly CodedWindow[],
  needs: readonly number[],
  digests: readonly Uint8Array[],
): Uint8Array {
  const table = new VarintWriter();
  table.number(needs.length);
  for (const id of needs) table.number(id);
  writeSegments(table, pair.oldSegments);
  writeSegments(table, pair.newSegments);
  let index = 0;
  for (const { planned, mapAt, mapSize, coverCount, covers, blocks } of windows) {
    for (const n of [mapAt, mapSize, coverCount, covers.length, blocks.length]) table.number(n);
    for (const [i, { viewSize, fileSize }] of planned.blocks.entries()) {
      for (const n of [viewSize, fileSize, (blocks[i] as Uint8Array).length]) table.number(n);
      table.bytes(digests[index++] as Uint8Array);
    }
  }
  return table.finish();
}

async function makeOf(
  pair: OpenedPair,
  [old, fresh]: readonly [RandomReader, RandomReader],
  options: ForgeMakeOptions,
): Promise<ForgeDelta> {
  const planned = planWindows(
    pair.newSegments,
    Math.min(LARGEST_BLOCK, options.blockSize ?? defaultBlockFor(pair.newView.size)),
  );
  const shape = {
    tableBits: options.tableBits ?? tableBitsFor(planned),
    grainBits: grainBitsFor(Math.min(pair.oldView.size, MAX_MAPPED)),
    absoluteBase: await absoluteBaseOf(pair),
  };
  const windows = await codeWindows(pair, planned, shape, options);
  const blocks = planned.flatMap((w) => w.blocks);
  const oldDigests = await FileDigests.of(old, unitsOf(old.size, BASE_UNIT), options);
  const newDigests = await FileDigests.of(
    fresh,
    blocks.map((b) => b.fileSize),
    options,
  );
  const ids = [...pair.oldSegments.items, ...pair.newSegments.items].map((s) => s.repacker);
  const needs = [...new Set(ids)].filter((id) => id !== 0).sort((a, b) => a - b);
  const table = tableOf(pair, windows, needs, newDigests.parts);
  const tableStored = encodeSmall(table);
  const body = windows.flatMap((w) => [w.covers, ...w.blocks]);
  const bodyDigest = options.digests.create("sha256");
  for (const part of body) bodyDigest.update(part);
  const memoryBytes = memoryOf({
    tableBits: shape.tableBits,
    grainBits: shape.grainBits,
    oldSegments: pair.oldSegments,
    newSegments: pair.newSegments,
    windows: windows.map((w) => ({ ...w, coversSize: w.covers.length })),
    blocks: windows.flatMap((w) =>
      w.planned.blocks.map(({ fileSize }, i) => ({ fileSize, storedSize: (w.blocks[i] as Uint8Array).length })),
    ),
  });
  const header = {
    magic: FORGE_MAGIC,
    version: FORGE_VERSION,
    ...shape,
    windowCount: windows.length,
    oldSize: old.size,
    newSize: fresh.size,
    oldViewSize: pair.oldView.size,
    newViewSize: pair.newView.size,
    baseUnit: BASE_UNIT,
    tableSize: tableStored.length,
    tableRawSize: table.length,
    bodySize: body.reduce((sum, part) => sum + part.length, 0),
    memoryBytes,
    newDigest: newDigests.whole,
    bodyDigest: bodyDigest.digest().slice(),
    frameDigest: new Uint8Array(32),
  };
  const bases = concatBytes(...oldDigests.parts);
  const frameDigest = options.digests.create("sha256");
  for (const part of [FORGE_HEADER.encode(header), bases, tableStored]) frameDigest.update(part);
  const parts = [FORGE_HEADER.encode({ ...header, frameDigest: frameDigest.digest() }), bases, tableStored, ...body];
  return {
    size: parts.reduce((sum, part) => sum + part.length, 0),
    parts,
    needs,
    opened: pair.newSegments.items.filter((s) => s.repacker !== 0).length,
    blocks: blocks.length,
    memoryBytes,
  };
}

/**
 * An `otaforge` delta from old to new; the same bytes for the same inputs and options.
 *
 * Both files are read from anywhere, several times, and never held whole; what is held is the delta itself, and whatever the
 * finder of covers needs.
 * @throws OtaError CANCELLED, and what the readers and the finder throw
 */
export async function makeForge(
  old: RandomReader,
  fresh: RandomReader,
  options: ForgeMakeOptions,
): Promise<ForgeDelta> {
  const { digests, signal, finders, progress } = options;
  const repackers = new RepackerSet(options.repackers ?? insideRepackers());
  const pair =
    repackers.all.length === 0
      ? closedPair(old, fresh)
      : await openPair(old, fresh, {
          repackers,
          digests,
          ...(finders === undefined ? {} : { finders }),
          ...(signal === undefined ? {} : { signal }),
          ...(progress === undefined ? {} : { progress }),
        });
  checkCancel(signal);
  try {
    return await makeOf(pair, [old, fresh], options);
  } catch (e) {
    // Covers that jump between packed parts would have a device unpack them far too often: then nothing is opened.
    if (!(e instanceof OtaError) || e.code !== "FORGE_DAMAGED") throw e;
    return makeOf(closedPair(old, fresh), [old, fresh], options);
  }
}
