/**
 * The kdimg container: header, part table, contents (specification section 1).
 *
 * Reading is split in shape ({@link decodeKdimgHeader}, {@link decodePartTable}) and meaning ({@link checkKdimgLayout}): host
 * readers accept more than an installer may. Not handled: the early "V0" header without a version field, which cannot be told
 * apart safely and fails the CRC checks.
 */
import { concatBytes, hexOffset, toHex, writeU32 } from "../core/bytes.ts";
import { crc32 } from "../core/checksums.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { Digests, RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";
import {
  DELTA_PART_MAGIC,
  KDIMG_CONTENT_START,
  KDIMG_ENTRY_SIZE,
  KDIMG_HEADER,
  KDIMG_HEADER_SIZE,
  KDIMG_MAGIC,
  PART_DELTA,
  PART_MAGIC,
  PART_V1,
  PART_V2,
} from "./layouts.ts";
import type { KdimgHeader } from "./layouts.ts";

/** Parts an installer takes from one image: far more than any medium has partitions, 1 MiB of table. */
export const KDIMG_MAX_PARTS = 4096;

/** Largest patch of one part, bytes: an installer holds it whole, because its digest is checked before it is expanded. */
export const MAX_PATCH_SIZE = 32 * 1024 * 1024;

/** One part, the same for both table versions. Sizes and offsets in bytes. */
export interface KdimgPart {
  readonly name: string;
  /** Destination on the medium, for host flashers; an A/B update ignores it. */
  readonly offset: number;
  readonly size: number;
  readonly eraseSize: number;
  readonly maxSize: number;
  readonly flag: bigint;
  readonly contentOffset: number;
  readonly contentSize: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  /** The content is a patch in the `otaforge` format and not what is installed. */
  readonly delta?: KdimgDelta;
}

/** What a delta part's patch was made against and what it makes. Sizes in bytes, digests 32 bytes. */
export interface KdimgDelta {
  readonly baseSize: number;
  readonly baseSha256: Uint8Array;
  readonly resultSize: number;
  readonly resultSha256: Uint8Array;
}

export interface Kdimg {
  readonly header: KdimgHeader;
  readonly parts: readonly KdimgPart[];
  /** Offset of the first byte behind the part table. */
  readonly tableEnd: number;
}

type Crc = (bytes: Uint8Array) => number;

function headerCrc(bytes: Uint8Array, crc: Crc): number {
  // Not slice(): that of Node's Buffer is a view, and zeroing the field would damage the caller's bytes.
  const copy = concatBytes(bytes.subarray(0, KDIMG_HEADER_SIZE));
  copy.fill(0, 4, 8);
  return crc(copy);
}

/** Whether bytes begin like a kdimg. */
export function looksLikeKdimg(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && KDIMG_HEADER.fields.magic.get(bytes, 0) === KDIMG_MAGIC;
}

/**
 * The header in the first 512 bytes, magic and CRC checked.
 * @throws OtaError LAYOUT_TRUNCATED, KDIMG_BAD_MAGIC, KDIMG_BAD_HEADER_CRC, KDIMG_COMPRESSED
 */
export function decodeKdimgHeader(bytes: Uint8Array, crc: Crc = crc32): KdimgHeader {
  if (bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b) {
    throw new OtaError("KDIMG_COMPRESSED", {
      what: "the file is gzip-compressed",
      where: "offset 0x0",
      hint: "Unpack it first, for example: gunzip -c IMAGE.gz | test_ota -",
    });
  }
  const header = KDIMG_HEADER.decode(bytes);
  if (header.magic !== KDIMG_MAGIC) {
    throw new OtaError("KDIMG_BAD_MAGIC", {
      what: "no kdimg header",
      where: "offset 0x0",
      expected: hexOffset(KDIMG_MAGIC),
      found: hexOffset(header.magic),
    });
  }
  const found = headerCrc(bytes, crc);
  if (found !== header.crc) {
    throw new OtaError("KDIMG_BAD_HEADER_CRC", {
      what: "header CRC does not fit",
      where: "offset 0x4",
      expected: hexOffset(header.crc),
      found: hexOffset(found),
    });
  }
  return header;
}

/** Entry `index` of a table, by the layout of `version`; undefined when its magic is wrong. */
export function decodePart(table: Uint8Array, index: number, version: number): KdimgPart | undefined {
  const at = index * KDIMG_ENTRY_SIZE;
  const delta = version >= 2 ? decodeDelta(table, at) : undefined;
  // Up to its name a delta entry is laid out as one of version 2.
  const entry = version >= 2 ? PART_V2.decode(table, at) : PART_V1.decode(table, at);
  if (entry.magic !== PART_MAGIC && delta === undefined) return undefined;
  const { name, offset, size, eraseSize, maxSize, contentOffset, contentSize, sha256 } = entry;
  const flag = BigInt(entry.flag);
  const part = { name, offset, size, eraseSize, maxSize, flag, contentOffset, contentSize, sha256 };
  return delta === undefined ? part : { ...part, delta };
}

function decodeDelta(table: Uint8Array, at: number): KdimgDelta | undefined {
  const { magic, baseSize, baseSha256, resultSize, resultSha256 } = PART_DELTA.decode(table, at);
  return magic === DELTA_PART_MAGIC ? { baseSize, baseSha256, resultSize, resultSha256 } : undefined;
}

/**
 * The parts of a complete table, CRC and every magic checked.
 * @throws OtaError KDIMG_BAD_TABLE_CRC, KDIMG_BAD_PART_MAGIC
 */
export function decodePartTable(header: KdimgHeader, table: Uint8Array, crc: Crc = crc32): KdimgPart[] {
  const found = crc(table);
  if (found !== header.tableCrc) {
    const short = findShorterTable(header, table, crc);
    throw new OtaError("KDIMG_BAD_TABLE_CRC", {
      what: "part table CRC does not fit",
      where: `offset ${hexOffset(KDIMG_HEADER_SIZE)}`,
      expected: hexOffset(header.tableCrc),
      found: hexOffset(found),
      ...(short === undefined
        ? {}
        : {
            hint: `The CRC fits the first ${short} of ${header.partCount} entries: a packer up to SDK v1.6 counted partitions without image. Pack it again.`,
          }),
    });
  }
  return Array.from({ length: header.partCount }, (_, i) => {
    const part = decodePart(table, i, header.version);
    if (part === undefined) {
      throw new OtaError("KDIMG_BAD_PART_MAGIC", {
        what: `table entry ${i} has no part magic`,
        where: `offset ${hexOffset(KDIMG_HEADER_SIZE + i * KDIMG_ENTRY_SIZE)}`,
        expected: hexOffset(PART_MAGIC),
        found: hexOffset(PART_V2.fields.magic.get(table, i * KDIMG_ENTRY_SIZE)),
      });
    }
    return part;
  });
}

/** How many leading entries the CRC fits, for the recognisable mistake of old packers. */
function findShorterTable(header: KdimgHeader, table: Uint8Array, crc: Crc): number | undefined {
  const most = Math.min(header.partCount - 1, 256);
  for (let n = most; n > 0; n--) if (crc(table.subarray(0, n * KDIMG_ENTRY_SIZE)) === header.tableCrc) return n;
  return undefined;
}

/**
 * Header and parts of a file, as the host readers take it: zero parts are fine, any content offset too.
 * @throws OtaError KDIMG_TRUNCATED and the codes of {@link decodeKdimgHeader} and {@link decodePartTable}
 */
export async function readKdimg(reader: RandomReader, crc: Crc = crc32): Promise<Kdimg> {
  const head = await reader.read(0, Math.min(reader.size, KDIMG_HEADER_SIZE));
  if (head.length < KDIMG_HEADER_SIZE && (looksLikeKdimg(head) || head.length < 4)) {
    throw truncated(KDIMG_HEADER_SIZE, reader.size);
  }
  if (head.length < KDIMG_HEADER_SIZE) {
    throw new OtaError("KDIMG_BAD_MAGIC", {
      what: "no kdimg header",
      where: "offset 0x0",
      found: `${head.length} bytes`,
    });
  }
  const header = decodeKdimgHeader(head, crc);
  const tableEnd = KDIMG_HEADER_SIZE + header.partCount * KDIMG_ENTRY_SIZE;
  if (tableEnd > reader.size) throw truncated(tableEnd, reader.size);
  const table = await reader.read(KDIMG_HEADER_SIZE, tableEnd - KDIMG_HEADER_SIZE);
  return { header, parts: decodePartTable(header, table, crc), tableEnd };
}

export function truncated(expected: number, found: number, what = "the image is cut short"): OtaError {
  return new OtaError("KDIMG_TRUNCATED", { what, expected: `${expected} bytes`, found });
}

/** First byte behind the last content, rounded up to 4 KiB as the packer pads the file. Bytes. */
export function paddedEnd(image: Kdimg): number {
  return Math.ceil(contentEnd(image) / 4096) * 4096;
}

/** First byte behind the last content. */
export function contentEnd(image: Kdimg): number {
  return image.parts.reduce((end, p) => Math.max(end, p.contentOffset + p.contentSize), image.tableEnd);
}

/** Contents in file order; parts that name the very same range share one entry. */
export interface ContentRange {
  readonly offset: number;
  readonly size: number;
  readonly parts: readonly KdimgPart[];
}

/**
 * The rules an image must keep to be installed safely (section 11 with the decisions on parts): at least one part, not
 * more than {@link KDIMG_MAX_PARTS}, unique names, contents behind table and 64 KiB, no overlap but identical ranges.
 *
 * @returns the contents in file order
 * @throws OtaError KDIMG_NO_PARTS, KDIMG_TOO_MANY_PARTS, KDIMG_DUPLICATE_PART, KDIMG_OVERLAP, KDIMG_CONTENT_LOW
 */
export function checkKdimgLayout(image: Kdimg): ContentRange[] {
  const { header, parts, tableEnd } = image;
  if (header.partCount === 0)
    throw new OtaError("KDIMG_NO_PARTS", { what: "the part table is empty", where: "offset 0x10" });
  const seen = new Set<string>();
  for (const { name } of parts) {
    if (seen.has(name))
      throw new OtaError("KDIMG_DUPLICATE_PART", { what: "part occurs twice", where: printable(name) });
    seen.add(name);
  }
  for (const part of parts) {
    if (part.contentSize > 0 && part.contentOffset < tableEnd) {
      throw new OtaError("KDIMG_OVERLAP", {
        what: "content begins inside the part table",
        where: printable(part.name),
        expected: `at or behind ${hexOffset(tableEnd)}`,
        found: hexOffset(part.contentOffset),
      });
    }
    if (part.contentOffset < KDIMG_CONTENT_START) {
      throw new OtaError("KDIMG_CONTENT_LOW", {
        what: "content begins before 64 KiB",
        where: printable(part.name),
        expected: `at or behind ${hexOffset(KDIMG_CONTENT_START)}`,
        found: hexOffset(part.contentOffset),
      });
    }
  }
  return contentRanges(parts);
}

/** @throws OtaError KDIMG_OVERLAP for contents that overlap without being the same range */
export function contentRanges(parts: readonly KdimgPart[]): ContentRange[] {
  const sorted = parts
    .filter((p) => p.contentSize > 0)
    .sort((a, b) => a.contentOffset - b.contentOffset || a.contentSize - b.contentSize);
  const ranges: { offset: number; size: number; parts: KdimgPart[] }[] = [];
  for (const part of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && last.offset === part.contentOffset && last.size === part.contentSize) {
      last.parts.push(part);
    } else if (last !== undefined && part.contentOffset < last.offset + last.size) {
      throw new OtaError("KDIMG_OVERLAP", {
        what: `content overlaps that of ${printable(last.parts[0]?.name ?? "")}`,
        where: printable(part.name),
        expected: `at or behind ${hexOffset(last.offset + last.size)}`,
        found: hexOffset(part.contentOffset),
      });
    } else {
      ranges.push({ offset: part.contentOffset, size: part.contentSize, parts: [part] });
    }
  }
  return ranges;
}

/** @throws OtaError KDIMG_BAD_DIGEST, where a digest differs from what a part declares */
export function checkContentDigest(part: KdimgPart, found: Uint8Array): void {
  if (toHex(found) === toHex(part.sha256)) return;
  throw new OtaError("KDIMG_BAD_DIGEST", {
    what: "content does not match its SHA-256",
    where: printable(part.name),
    expected: toHex(part.sha256),
    found: toHex(found),
  });
}

/**
 * Whether a part's content is there and fits its digest.
 * @returns `undefined` when it does, otherwise what is wrong (KDIMG_TRUNCATED, KDIMG_BAD_DIGEST)
 */
export async function verifyPart(
  reader: RandomReader,
  part: KdimgPart,
  digests: Digests,
): Promise<OtaError | undefined> {
  const end = part.contentOffset + part.contentSize;
  if (end > reader.size)
    return truncated(end, reader.size, `the image ends inside the content of ${printable(part.name)}`);
  const digest = digests.create("sha256");
  for await (const chunk of streamRange(reader, part.contentOffset, part.contentSize)) digest.update(chunk);
  try {
    checkContentDigest(part, digest.digest());
    return undefined;
  } catch (e) {
    if (e instanceof OtaError) return e;
    throw e;
  }
}

/** What {@link encodeKdimgHead} needs beside the parts. Texts are cut as the vendor's packer cuts them. */
export interface KdimgTexts {
  readonly imageInfo: string;
  readonly chipInfo: string;
  readonly boardInfo: string;
}

/**
 * Header and V2 part table, `512 + 256 * parts` bytes.
 * @throws OtaError LAYOUT_VALUE_RANGE for sizes beyond 32 bits, LAYOUT_TEXT_TOO_LONG
 */
export function encodeKdimgHead(texts: KdimgTexts, parts: readonly KdimgPart[], crc: Crc = crc32): Uint8Array {
  const out = new Uint8Array(KDIMG_HEADER_SIZE + parts.length * KDIMG_ENTRY_SIZE);
  parts.forEach((part, i) => {
    const { delta } = part;
    const entry =
      delta === undefined
        ? PART_V2.encode({ ...part, magic: PART_MAGIC, alignment: 0, reserved: new Uint8Array(152) })
        : PART_DELTA.encode({ ...part, ...delta, magic: DELTA_PART_MAGIC, alignment: 0, reserved: new Uint8Array(80) });
    out.set(entry, KDIMG_HEADER_SIZE + i * KDIMG_ENTRY_SIZE);
  });
  const header = KDIMG_HEADER.encode({
    ...texts,
    magic: KDIMG_MAGIC,
    crc: 0,
    flag: 0,
    version: 2,
    partCount: parts.length,
    tableCrc: crc(out.subarray(KDIMG_HEADER_SIZE)),
    reserved: new Uint8Array(360),
  });
  writeU32(header, 4, crc(header));
  out.set(header, 0);
  return out;
}

/** `part_flag` taken apart (section 1.4). */
export function describeFlag(flag: bigint): { kind: number; pageSize: number; spareSize: number } {
  return {
    kind: Number(flag >> 48n),
    pageSize: Number((flag >> 16n) & 0xffffffffn),
    spareSize: Number(flag & 0xffffn),
  };
}

/** Kind of a part that carries NAND pages with their spare bytes. */
export const FLAG_KIND_OOB = 0x400;

/** Largest part table the kernel driver finds memory for, bytes; a count beyond it fails there as well. */
export const KDIMG_VENDOR_TABLE_LIMIT = 64 * 1024 * 1024;
