/**
 * Finds packed parts in a file by their own marks, without parsing containers: zlib streams (squashfs, jffs2, ubifs and cramfs
 * blocks, png), gzip members (kernels, initramfs, images), deflated zip entries, and whole payloads of other packers. Each is
 * taken only when it unpacks completely and its checksum agrees.
 */
import { readU16, readU32, readU32be } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";
import { inflateRawPrefix } from "../deflate/inflate.ts";
import { adler32, type RepackerSet } from "./repack.ts";
import { MAX_SEGMENT } from "./segments.ts";

/** A packed part and its content. */
export interface PackedPart {
  readonly at: number;
  readonly size: number;
  readonly repacker: number;
  readonly content: Uint8Array;
}

/** Finders of packers that the toolkit only has through programs or ports: where a stream at `at` ends, and its content. */
export interface PartFinder {
  /** First byte of a stream. */
  readonly firstByte: number;
  readonly repacker: number;
  find(bytes: Uint8Array, at: number): Promise<{ size: number; content: Uint8Array } | undefined>;
}

/** Shorter contents are not worth a segment of their own. */
const LEAST_CONTENT = 64;

const DEFLATE = 1;
const ZLIB = 2;
const GZIP = 3;

function zlibAt(bytes: Uint8Array, at: number): PackedPart | undefined {
  if (readU16(bytes, at) === 0 || (((bytes[at] as number) << 8) | (bytes[at + 1] as number)) % 31 !== 0)
    return undefined;
  // Head bytes other than zlib's own cannot be made again.
  if (![0x01, 0x5e, 0x9c, 0xda].includes(bytes[at + 1] as number)) return undefined;
  const found = inflateRawPrefix(bytes.subarray(at + 2), MAX_SEGMENT);
  if (found === undefined || found.data.length < LEAST_CONTENT) return undefined;
  const end = at + 2 + found.used;
  if (end + 4 > bytes.length || readU32be(bytes, end) !== adler32(found.data)) return undefined;
  return { at, size: end + 4 - at, repacker: ZLIB, content: found.data };
}

/** Size of a gzip header with its optional fields; undefined when it is none. */
function gzipHeaderSize(bytes: Uint8Array, at: number): number | undefined {
  if (at + 18 > bytes.length || bytes[at + 1] !== 0x8b || bytes[at + 2] !== 8) return undefined;
  const flags = bytes[at + 3] as number;
  if ((flags & 0xe0) !== 0) return undefined;
  let end = at + 10;
  if ((flags & 4) !== 0) end += 2 + (end + 2 <= bytes.length ? readU16(bytes, end) : 0);
  for (const bit of [8, 16]) {
    if ((flags & bit) === 0) continue;
    const zero = bytes.indexOf(0, end);
    if (zero < 0) return undefined;
    end = zero + 1;
  }
  if ((flags & 2) !== 0) end += 2;
  return end - at;
}

function gzipAt(bytes: Uint8Array, at: number): PackedPart | undefined {
  const header = gzipHeaderSize(bytes, at);
  if (header === undefined) return undefined;
  const start = at + header;
  const found = inflateRawPrefix(bytes.subarray(start), MAX_SEGMENT);
  if (found === undefined || found.data.length < LEAST_CONTENT) return undefined;
  const end = start + found.used;
  if (end + 8 > bytes.length || readU32(bytes, end) !== crc32(found.data)) return undefined;
  if (readU32(bytes, end + 4) !== found.data.length % 0x100000000) return undefined;
  return { at: start, size: end + 8 - start, repacker: GZIP, content: found.data };
}

function zipEntryAt(bytes: Uint8Array, at: number): PackedPart | undefined {
  if (at + 30 > bytes.length || readU32(bytes, at) !== 0x04034b50 || readU16(bytes, at + 8) !== 8) return undefined;
  const start = at + 30 + readU16(bytes, at + 26) + readU16(bytes, at + 28);
  if (start >= bytes.length) return undefined;
  const found = inflateRawPrefix(bytes.subarray(start), MAX_SEGMENT);
  if (found === undefined || found.data.length < LEAST_CONTENT) return undefined;
  // With bit 3 the checksum stands behind the data; a stream that inflates to its end is proof enough then.
  const noted = readU32(bytes, at + 14);
  if ((readU16(bytes, at + 6) & 8) === 0 && noted !== crc32(found.data)) return undefined;
  return { at: start, size: found.used, repacker: DEFLATE, content: found.data };
}

/**
 * Packed parts of `bytes` in order, not overlapping, that the given re-packers can unpack.
 * @param finders packers beyond the toolkit
 */
export async function scanPacked(
  bytes: Uint8Array,
  repackers: RepackerSet,
  finders: readonly PartFinder[] = [],
): Promise<PackedPart[]> {
  const allowed = new Set(repackers.all.map((r) => r.id));
  const byFirst = new Map<number, PartFinder>();
  for (const finder of finders) if (allowed.has(finder.repacker)) byFirst.set(finder.firstByte, finder);
  const wanted = new Uint8Array(256);
  if (allowed.has(ZLIB)) wanted[0x78] = 1;
  if (allowed.has(GZIP)) wanted[0x1f] = 2;
  if (allowed.has(DEFLATE)) wanted[0x50] = 3;
  for (const first of byFirst.keys()) wanted[first] = 4;
  const parts: PackedPart[] = [];
  for (let at = 0; at + 8 < bytes.length; at++) {
    const kind = wanted[bytes[at] as number] as number;
    if (kind === 0) continue;
    let part: PackedPart | undefined;
    if (kind === 1) part = zlibAt(bytes, at);
    else if (kind === 2) part = gzipAt(bytes, at);
    else if (kind === 3) part = zipEntryAt(bytes, at);
    else {
      const finder = byFirst.get(bytes[at] as number) as PartFinder;
      const found = await finder.find(bytes, at);
      if (found !== undefined && found.content.length >= LEAST_CONTENT)
        part = { at, repacker: finder.repacker, ...found };
    }
    if (part === undefined) continue;
    parts.push(part);
    at = part.at + part.size - 1;
  }
  return parts;
}
