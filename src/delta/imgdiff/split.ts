/**
 * Splits a file at its deflate streams: gzip members of an image, or deflated entries of a zip (`formats/android.md`
 * section 6.5). Whatever is no well-formed stream stays plain bytes.
 */
import { crc32 } from "../../core/checksums.ts";
import { readU16, readU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { decodeText } from "../../core/text.ts";
import { inflateRawPrefix } from "../deflate/inflate.ts";

/** A range of a file: plain bytes, or a deflate stream with its content. */
export interface Piece {
  readonly start: number;
  readonly size: number;
  /** Inflated content; absent for plain bytes. */
  readonly expanded?: Uint8Array;
  /** Entry name, in zips. */
  readonly name?: string;
}

const GZIP_HEADER = 10;
const GZIP_TRAILER = 8;

/** Adjacent plain pieces joined. */
export function mergePlain(pieces: readonly Piece[]): Piece[] {
  const out: Piece[] = [];
  for (const piece of pieces) {
    if (piece.size === 0) continue;
    const last = out.at(-1);
    if (last !== undefined && last.expanded === undefined && piece.expanded === undefined) {
      out[out.length - 1] = { start: last.start, size: last.size + piece.size };
    } else out.push(piece);
  }
  return out;
}

/** Plain bytes and the deflate streams of gzip members without name, comment or extra field (`1F 8B 08 00`). */
export function splitImage(bytes: Uint8Array, maxExpandedBytes: number): Piece[] {
  const pieces: Piece[] = [];
  let plain = 0;
  for (let at = bytes.indexOf(0x1f); at >= 0 && at + GZIP_HEADER <= bytes.length; at = bytes.indexOf(0x1f, at + 1)) {
    if (bytes[at + 1] !== 0x8b || bytes[at + 2] !== 8 || bytes[at + 3] !== 0) continue;
    const start = at + GZIP_HEADER;
    const found = inflateRawPrefix(bytes.subarray(start), maxExpandedBytes);
    if (found === undefined) continue;
    const end = start + found.used;
    // The trailer proves that this is a gzip member and not four bytes that happen to look like one.
    if (end + GZIP_TRAILER > bytes.length || readU32(bytes, end + 4) !== found.data.length % 0x100000000) continue;
    if (readU32(bytes, end) !== crc32(found.data)) continue;
    pieces.push({ start: plain, size: start - plain }, { start, size: found.used, expanded: found.data });
    plain = end;
    at = end - 1;
  }
  pieces.push({ start: plain, size: bytes.length - plain });
  return mergePlain(pieces);
}

interface DeflatedEntry {
  readonly start: number;
  readonly size: number;
  readonly expandedSize: number;
  readonly name: string;
}

const EOCD_SIZE = 22;
const CENTRAL_SIZE = 46;
const LOCAL_SIZE = 30;

function notZip(what: string): OtaError {
  return new OtaError("IMGDIFF_NOT_ZIP", { what, hint: "Leave out --zip for files that are no zip archive." });
}

/** End record of a zip. Zeros behind it are allowed: files are read in whole blocks by block-based updates. */
function endOfDirectory(bytes: Uint8Array): number {
  let content = bytes.length;
  while (content > 0 && bytes[content - 1] === 0 && bytes.length - content < 0xffff) content--;
  for (let at = bytes.length - EOCD_SIZE; at >= 0 && at >= content - EOCD_SIZE - 0xffff; at--) {
    if (readU32(bytes, at) !== 0x06054b50) continue;
    const end = at + EOCD_SIZE + readU16(bytes, at + 20);
    if (end <= bytes.length && end >= content) return at;
  }
  throw notZip("no zip directory at the end");
}

function deflatedEntries(bytes: Uint8Array): DeflatedEntry[] {
  const end = endOfDirectory(bytes);
  const count = readU16(bytes, end + 10);
  const entries: DeflatedEntry[] = [];
  let at = readU32(bytes, end + 16);
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_SIZE > end || readU32(bytes, at) !== 0x02014b50) throw notZip(`zip directory ends at entry ${i}`);
    const nameSize = readU16(bytes, at + 28);
    const name = decodeText(bytes, at + CENTRAL_SIZE, Math.min(end, at + CENTRAL_SIZE + nameSize));
    const local = readU32(bytes, at + 42);
    if (readU16(bytes, at + 10) === 8 && local + LOCAL_SIZE <= end && readU32(bytes, local) === 0x04034b50) {
      const start = local + LOCAL_SIZE + readU16(bytes, local + 26) + readU16(bytes, local + 28);
      const size = readU32(bytes, at + 20);
      if (size > 0 && start + size <= end) entries.push({ start, size, expandedSize: readU32(bytes, at + 24), name });
    }
    at += CENTRAL_SIZE + nameSize + readU16(bytes, at + 30) + readU16(bytes, at + 32);
  }
  return entries.sort((a, b) => a.start - b.start);
}

/**
 * Plain bytes and the deflated entries of a zip, by offset.
 * @throws OtaError IMGDIFF_NOT_ZIP
 */
export function splitZip(bytes: Uint8Array, maxExpandedBytes: number): Piece[] {
  const pieces: Piece[] = [];
  let plain = 0;
  for (const { start, size, expandedSize, name } of deflatedEntries(bytes)) {
    if (start < plain || expandedSize > maxExpandedBytes) continue;
    const found = inflateRawPrefix(bytes.subarray(start, start + size), expandedSize);
    if (found === undefined || found.used !== size || found.data.length !== expandedSize) continue;
    pieces.push({ start: plain, size: start - plain }, { start, size, expanded: found.data, name });
    plain = start + size;
  }
  pieces.push({ start: plain, size: bytes.length - plain });
  return pieces.filter((p) => p.size > 0);
}
