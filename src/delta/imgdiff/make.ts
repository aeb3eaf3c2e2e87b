/**
 * Makes IMGDIFF2 patches (`formats/android.md` section 6.5): deflate streams that vanilla zlib reproduces at level 6 or 9 are
 * patched as their contents; everything else as it is. Each re-packing is proven here, byte for byte, before it is used.
 */
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { deflateReproduces, zlibDefaults } from "../deflate/deflate.ts";
import { CHUNK_TYPE, DEFLATE_RECORD, IMGDIFF2_MAGIC, IMGDIFF_HEADER, NORMAL_RECORD, RAW_RECORD } from "./layout.ts";
import { mergePlain, splitImage, splitZip, type Piece } from "./split.ts";

/** Makes one BSDIFF40 patch. */
export type BsdiffMaker = (oldBytes: Uint8Array, newBytes: Uint8Array) => Uint8Array | Promise<Uint8Array>;

export interface ImgdiffMakeOptions {
  /** What makes the BSDIFF40 patches inside. */
  readonly bsdiff: BsdiffMaker;
  /** Both files are zips: entries are matched by name (`-z`). Default: gzip members of images, matched by order. */
  readonly zip?: boolean;
  /** Data the device appends to the inflated source of chunk 1 (`-b`). Not with `zip`. */
  readonly bonus?: Uint8Array;
  /** Streams that expand to more stay packed; what the device must hold at once. Default 512 MiB. */
  readonly maxExpandedBytes?: number;
  readonly signal?: Cancel;
}

/** Default of `maxExpandedBytes`, for making and applying. */
export const IMGDIFF_MAX_EXPANDED = 512 * 1024 * 1024;

/** Up to here plain bytes are cheaper stored than patched, whatever the patch. */
const RAW_AT_MOST = 160;

/** A piece of new beside what it is patched from. */
interface Pair {
  readonly target: Piece;
  readonly source: Piece;
  /** Deflate level that reproduces the target; absent for plain pieces. */
  readonly level?: number;
}

function provenLevel(piece: Piece, bytes: Uint8Array): number | undefined {
  const { expanded, start, size } = piece;
  if (expanded === undefined) return undefined;
  const packed = bytes.subarray(start, start + size);
  return [6, 9].find((level) => deflateReproduces(expanded, packed, zlibDefaults(level)));
}

function plain({ start, size }: Piece): Piece {
  return { start, size };
}

function cut(bytes: Uint8Array, { start, size }: Piece): Uint8Array {
  return bytes.subarray(start, start + size);
}

function sameKinds(a: readonly Piece[], b: readonly Piece[]): boolean {
  return a.length === b.length && a.every((p, i) => (p.expanded === undefined) === (b[i]?.expanded === undefined));
}

function structureError(source: readonly Piece[], target: readonly Piece[]): OtaError {
  return new OtaError("IMGDIFF_STRUCTURE", {
    what: "old and new are not made of the same sequence of gzip streams",
    expected: `${source.length} pieces`,
    found: `${target.length} pieces`,
    hint: "Use the formats bsdiff40 or otaforge for this pair.",
  });
}

/** Image mode: both files keep the same sequence of kinds, so pairs are found by order. */
function imagePairs(oldBytes: Uint8Array, newBytes: Uint8Array, limit: number): Pair[] {
  let source = splitImage(oldBytes, limit);
  let target = splitImage(newBytes, limit);
  if (!sameKinds(source, target)) throw structureError(source, target);
  const levels = new Map<number, number>();
  for (const [i, piece] of target.entries()) {
    if (piece.expanded === undefined) continue;
    const level = provenLevel(piece, newBytes);
    const from = source[i] as Piece;
    // Equal streams are patched packed: a trivial patch, and the device need not inflate and deflate.
    if (level === undefined || equalBytes(cut(oldBytes, from), cut(newBytes, piece))) {
      source[i] = plain(from);
      target[i] = plain(piece);
    } else levels.set(piece.start, level);
  }
  source = mergePlain(source);
  target = mergePlain(target);
  if (!sameKinds(source, target)) throw structureError(source, target);
  return target.map((piece, i) => {
    const level = levels.get(piece.start);
    return {
      target: piece,
      source: source[i] as Piece,
      ...(level === undefined || piece.expanded === undefined ? {} : { level }),
    };
  });
}

/** Zip mode: deflated entries are found by name, the rest is patched from the whole old file. */
function zipPairs(oldBytes: Uint8Array, newBytes: Uint8Array, limit: number): Pair[] {
  const whole: Piece = { start: 0, size: oldBytes.length };
  const byName = new Map<string, Piece>();
  for (const piece of splitZip(oldBytes, limit)) {
    if (piece.name !== undefined && !byName.has(piece.name)) byName.set(piece.name, piece);
  }
  const matched = new Map<number, { source: Piece; level: number }>();
  const target = splitZip(newBytes, limit).map((piece) => {
    if (piece.expanded === undefined || piece.name === undefined) return piece;
    const source = byName.get(piece.name);
    if (source === undefined || equalBytes(cut(oldBytes, source), cut(newBytes, piece))) return plain(piece);
    const level = provenLevel(piece, newBytes);
    if (level === undefined) return plain(piece);
    matched.set(piece.start, { source, level });
    return piece;
  });
  return mergePlain(target).map((piece) => {
    const match = piece.expanded === undefined ? undefined : matched.get(piece.start);
    return match === undefined ? { target: plain(piece), source: whole } : { target: piece, ...match };
  });
}

/** A chunk record without its patch offset, and the patch. */
interface MadeChunk {
  readonly size: number;
  readonly patch: Uint8Array;
  encode(patchOffset: number): Uint8Array;
}

function typed(type: number, ...rest: readonly Uint8Array[]): Uint8Array {
  return concatBytes(RAW_RECORD.encode({ size: type }), ...rest);
}

function rawChunk(bytes: Uint8Array): MadeChunk {
  const record = typed(CHUNK_TYPE.RAW, RAW_RECORD.encode({ size: bytes.length }), bytes);
  return { size: record.length, patch: new Uint8Array(0), encode: () => record };
}

async function deflateChunk(
  pair: Pair & { level: number },
  bonus: Uint8Array,
  bsdiff: BsdiffMaker,
): Promise<MadeChunk> {
  const from = concatBytes(pair.source.expanded as Uint8Array, bonus);
  const to = pair.target.expanded as Uint8Array;
  const patch = await bsdiff(from, to);
  const record = {
    sourceStart: pair.source.start,
    sourceSize: pair.source.size,
    sourceExpandedSize: from.length,
    targetExpandedSize: to.length,
    ...zlibDefaults(pair.level),
  };
  return {
    size: 4 + DEFLATE_RECORD.size,
    patch,
    encode: (patchOffset) => typed(CHUNK_TYPE.DEFLATE, DEFLATE_RECORD.encode({ ...record, patchOffset })),
  };
}

/**
 * An IMGDIFF2 patch from old to new. Both are held in memory, and so are the contents of their streams.
 * @throws OtaError IMGDIFF_STRUCTURE (image mode, streams in another order), IMGDIFF_NOT_ZIP, IMGDIFF_BONUS, CANCELLED
 */
export async function makeImgdiff2(
  oldBytes: Uint8Array,
  newBytes: Uint8Array,
  options: ImgdiffMakeOptions,
): Promise<Uint8Array> {
  const { bsdiff, zip = false, bonus, maxExpandedBytes = IMGDIFF_MAX_EXPANDED } = options;
  if (zip && bonus !== undefined) {
    throw new OtaError("IMGDIFF_BONUS", "bonus data belongs to images, not to zips");
  }
  const pairs = (zip ? zipPairs : imagePairs)(oldBytes, newBytes, maxExpandedBytes);
  const chunks: MadeChunk[] = [];
  for (const [i, { source, target, level }] of pairs.entries()) {
    checkCancel(options.signal);
    const extra = i === 1 && bonus !== undefined ? bonus : new Uint8Array(0);
    if (level !== undefined) {
      chunks.push(await deflateChunk({ source, target, level }, extra, bsdiff));
      continue;
    }
    const to = cut(newBytes, target);
    const patch = to.length <= RAW_AT_MOST ? undefined : await bsdiff(cut(oldBytes, source), to);
    if (patch === undefined || patch.length >= to.length) chunks.push(rawChunk(to));
    else {
      const { start: sourceStart, size: sourceSize } = source;
      const encode = (patchOffset: number) =>
        typed(CHUNK_TYPE.NORMAL, NORMAL_RECORD.encode({ sourceStart, sourceSize, patchOffset }));
      chunks.push({ size: 4 + NORMAL_RECORD.size, patch, encode });
    }
  }
  const parts = [IMGDIFF_HEADER.encode({ magic: IMGDIFF2_MAGIC, chunkCount: chunks.length })];
  let patchOffset = IMGDIFF_HEADER.size + chunks.reduce((sum, c) => sum + c.size, 0);
  for (const chunk of chunks) {
    parts.push(chunk.encode(patchOffset));
    patchOffset += chunk.patch.length;
  }
  return concatBytes(...parts, ...chunks.map((c) => c.patch));
}
