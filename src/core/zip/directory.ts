/** The central directory as entries, with the zip64 values put in their places. */
import { hexOffset, readU16, readU64 } from "../bytes.ts";
import { OtaError } from "../errors.ts";
import { decodeText, printable } from "../text.ts";
import type { ZipEntry } from "./entry.ts";
import type { ZipEnd } from "./find-end.ts";
import { CENTRAL_HEADER, SATURATED_16, SATURATED_32, ZIP64_EXTRA, ZIP_FLAGS, ZIP_SIGNATURES } from "./layout.ts";
import { checkZipName } from "./name.ts";

/** A directory entry whose local header was not looked at yet. */
export interface DirectoryEntry extends Omit<ZipEntry, "dataOffset"> {
  /** Size of the name in the archive. */
  readonly nameBytes: number;
}

/** Content of the extra field `id`; undefined when it is not there or the field list is cut. */
export function findExtra(extra: Uint8Array, id: number): Uint8Array | undefined {
  for (let at = 0; at + 4 <= extra.length;) {
    const size = readU16(extra, at + 2);
    if (at + 4 + size > extra.length) return undefined;
    if (readU16(extra, at) === id) return extra.subarray(at + 4, at + 4 + size);
    at += 4 + size;
  }
  return undefined;
}

/** Takes the 64-bit values of a zip64 field in their fixed order, for those of `values` that are saturated. */
export function widen(values: readonly number[], zip64: Uint8Array | undefined): number[] | undefined {
  let at = 0;
  const out: number[] = [];
  for (const value of values) {
    if (value !== SATURATED_32 || zip64 === undefined) {
      out.push(value);
      continue;
    }
    if (at + 8 > zip64.length) return undefined;
    const wide = readU64(zip64, at);
    if (Number.isNaN(wide)) return undefined;
    out.push(wide);
    at += 8;
  }
  return out;
}

/** Largest content a raw deflate stream of `compressedSize` bytes can have: 258 bytes from two bits, and one block's slack. */
function mostInflated(compressedSize: number): number {
  return compressedSize * 1032 + 1032;
}

/**
 * Entries in the order of the directory.
 * @throws OtaError ZIP_DAMAGED, ZIP_NAME, ZIP_UNSUPPORTED, ZIP_ENTRY
 */
export function parseDirectory(bytes: Uint8Array, end: ZipEnd): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  let at = 0;
  for (let i = 0; i < end.entries; i++) {
    const where = `offset ${hexOffset(end.directoryOffset + at)}`;
    if (at + CENTRAL_HEADER.size > bytes.length) {
      throw new OtaError("ZIP_DAMAGED", {
        what: "the central directory is cut short",
        where,
        expected: `${end.entries} entries`,
        found: i,
      });
    }
    const h = CENTRAL_HEADER.decode(bytes, at);
    if (h.signature !== ZIP_SIGNATURES.central) {
      throw new OtaError("ZIP_DAMAGED", { what: "no central directory header", where, found: hexOffset(h.signature) });
    }
    const nameAt = at + CENTRAL_HEADER.size;
    const extraAt = nameAt + h.nameSize;
    const commentAt = extraAt + h.extraSize;
    const next = commentAt + h.commentSize;
    if (next > bytes.length) throw new OtaError("ZIP_DAMAGED", { what: "a central directory header is cut", where });
    const name = decodeText(bytes, nameAt, extraAt);
    const entryName = `entry ${printable(name)}`;
    checkZipName(name);
    const extra = bytes.slice(extraAt, commentAt);
    const wide = widen([h.size, h.compressedSize, h.offset], findExtra(extra, ZIP64_EXTRA));
    if (wide === undefined) throw new OtaError("ZIP_DAMAGED", { what: "bad zip64 extra field", where: entryName });
    const [size, compressedSize, offset] = wide as [number, number, number];
    if ((h.flags & ZIP_FLAGS.encrypted) !== 0) {
      throw new OtaError("ZIP_UNSUPPORTED", { what: "the entry is encrypted", where: entryName });
    }
    if (h.disk !== 0 && h.disk !== SATURATED_16) {
      throw new OtaError("ZIP_UNSUPPORTED", { what: "the entry is on another disk", where: entryName });
    }
    if (h.method !== 0 && h.method !== 8) {
      throw new OtaError("ZIP_UNSUPPORTED", {
        what: "unknown compression method",
        where: entryName,
        expected: "0 (stored) or 8 (deflated)",
        found: h.method,
      });
    }
    if (h.method === 0 ? size !== compressedSize : size > mostInflated(compressedSize)) {
      throw new OtaError("ZIP_ENTRY", {
        what: "the entry lies about its size",
        where: entryName,
        expected: h.method === 0 ? compressedSize : `at most ${mostInflated(compressedSize)}`,
        found: size,
      });
    }
    if (offset + 30 > end.directoryOffset || compressedSize > end.directoryOffset) {
      throw new OtaError("ZIP_DAMAGED", {
        what: "the entry lies outside the archive",
        where: entryName,
        found: hexOffset(offset),
      });
    }
    entries.push({
      name,
      method: h.method,
      flags: h.flags,
      time: h.time,
      date: h.date,
      crc: h.crc,
      compressedSize,
      size,
      versionMadeBy: h.versionMadeBy,
      versionNeeded: h.versionNeeded,
      internalAttributes: h.internalAttributes,
      externalAttributes: h.externalAttributes,
      extra,
      comment: bytes.slice(commentAt, next),
      offset,
      nameBytes: h.nameSize,
    });
    at = next;
  }
  if (at !== bytes.length) {
    throw new OtaError("ZIP_DAMAGED", {
      what: "bytes behind the last entry of the central directory",
      where: `offset ${hexOffset(end.directoryOffset + at)}`,
      expected: `${end.entries} entries`,
    });
  }
  return entries;
}

/** No name twice, and no file where another entry needs a folder. @throws OtaError ZIP_DUPLICATE */
export function checkDistinct(entries: readonly DirectoryEntry[]): void {
  const seen = new Set<string>();
  for (const { name } of entries) {
    if (seen.has(name))
      throw new OtaError("ZIP_DUPLICATE", { what: "duplicate entry", where: `entry ${printable(name)}` });
    seen.add(name);
  }
  for (const { name } of entries) {
    for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      if (seen.has(parent)) {
        throw new OtaError("ZIP_DUPLICATE", {
          what: "an entry is a file and a folder at once",
          where: `entry ${printable(parent)}`,
          found: printable(name),
        });
      }
    }
  }
}
