/**
 * The records of a zip archive: PKWARE's APPNOTE 6.3.3, sections 4.3.7 to 4.3.16. All numbers are little-endian.
 * Not handled: several disks, encryption, central directory encryption.
 */
import { layout, u16, u32, u64, type LayoutValue } from "../layout.ts";

/** First four bytes of each record, as a little-endian u32. */
export const ZIP_SIGNATURES = Object.freeze({
  local: 0x04034b50, // 'PK\3\4'
  descriptor: 0x08074b50, // 'PK\7\8'
  central: 0x02014b50, // 'PK\1\2'
  end: 0x06054b50, // 'PK\5\6'
  end64: 0x06064b50, // 'PK\6\6'
  locator64: 0x07064b50, // 'PK\6\7'
});

/** Bits of the general purpose flags that change how an entry is read (4.4.4). */
export const ZIP_FLAGS = Object.freeze({ encrypted: 0x0001, descriptor: 0x0008, utf8: 0x0800 });

/** A 32-bit or 16-bit field with all bits set: the value stands in the zip64 field (4.4.1.4). */
export const SATURATED_32 = 0xffffffff;
export const SATURATED_16 = 0xffff;

/** Identifier of the zip64 extra field (4.5.3). */
export const ZIP64_EXTRA = 0x0001;

export const LOCAL_HEADER = layout("zip local header", 30, {
  signature: u32(0, { meaning: "PK 03 04", source: "4.3.7", hex: true }),
  versionNeeded: u16(4, { meaning: "zip version needed to extract, times ten", source: "4.4.3" }),
  flags: u16(6, { meaning: "general purpose flags", source: "4.4.4", hex: true }),
  method: u16(8, { meaning: "0 stored, 8 deflated", source: "4.4.5" }),
  time: u16(10, { meaning: "MS-DOS time", source: "4.4.6", hex: true }),
  date: u16(12, { meaning: "MS-DOS date", source: "4.4.6", hex: true }),
  crc: u32(14, { meaning: "CRC-32 of the content", source: "4.4.7", hex: true }),
  compressedSize: u32(18, { meaning: "size of the data in the archive", unit: "bytes", source: "4.4.8" }),
  size: u32(22, { meaning: "size of the content", unit: "bytes", source: "4.4.9" }),
  nameSize: u16(26, { meaning: "size of the name behind this record", unit: "bytes", source: "4.4.10" }),
  extraSize: u16(28, { meaning: "size of the extra field behind the name", unit: "bytes", source: "4.4.11" }),
});
export type LocalHeader = LayoutValue<typeof LOCAL_HEADER>;

export const CENTRAL_HEADER = layout("zip central directory header", 46, {
  signature: u32(0, { meaning: "PK 01 02", source: "4.3.12", hex: true }),
  versionMadeBy: u16(4, {
    meaning: "zip version of the writer; high byte: system, 3 is Unix",
    source: "4.4.2",
    hex: true,
  }),
  versionNeeded: u16(6, { meaning: "zip version needed to extract, times ten", source: "4.4.3" }),
  flags: u16(8, { meaning: "general purpose flags", source: "4.4.4", hex: true }),
  method: u16(10, { meaning: "0 stored, 8 deflated", source: "4.4.5" }),
  time: u16(12, { meaning: "MS-DOS time", source: "4.4.6", hex: true }),
  date: u16(14, { meaning: "MS-DOS date", source: "4.4.6", hex: true }),
  crc: u32(16, { meaning: "CRC-32 of the content", source: "4.4.7", hex: true }),
  compressedSize: u32(20, { meaning: "size of the data in the archive", unit: "bytes", source: "4.4.8" }),
  size: u32(24, { meaning: "size of the content", unit: "bytes", source: "4.4.9" }),
  nameSize: u16(28, { meaning: "size of the name behind this record", unit: "bytes", source: "4.4.10" }),
  extraSize: u16(30, { meaning: "size of the extra field behind the name", unit: "bytes", source: "4.4.11" }),
  commentSize: u16(32, { meaning: "size of the comment behind the extra field", unit: "bytes", source: "4.4.12" }),
  disk: u16(34, { meaning: "disk the entry starts on", source: "4.4.13" }),
  internalAttributes: u16(36, { meaning: "bit 0: text", source: "4.4.14", hex: true }),
  externalAttributes: u32(38, { meaning: "Unix mode in the upper half", source: "4.4.15", hex: true }),
  offset: u32(42, { meaning: "offset of the local header", unit: "bytes", source: "4.4.16", hex: true }),
});
export type CentralHeader = LayoutValue<typeof CENTRAL_HEADER>;

export const END_RECORD = layout("zip end record", 22, {
  signature: u32(0, { meaning: "PK 05 06", source: "4.3.16", hex: true }),
  disk: u16(4, { meaning: "number of this disk", source: "4.4.19" }),
  directoryDisk: u16(6, { meaning: "disk of the central directory", source: "4.4.20" }),
  diskEntries: u16(8, { meaning: "entries on this disk", source: "4.4.21" }),
  entries: u16(10, { meaning: "entries in the archive", source: "4.4.22" }),
  directorySize: u32(12, { meaning: "size of the central directory", unit: "bytes", source: "4.4.23" }),
  directoryOffset: u32(16, { meaning: "offset of the central directory", unit: "bytes", source: "4.4.24", hex: true }),
  commentSize: u16(20, { meaning: "size of the comment behind this record", unit: "bytes", source: "4.4.25" }),
});
export type EndRecord = LayoutValue<typeof END_RECORD>;

export const END64_RECORD = layout("zip64 end record", 56, {
  signature: u32(0, { meaning: "PK 06 06", source: "4.3.14", hex: true }),
  recordSize: u64(4, { meaning: "size of the record behind this field", unit: "bytes", source: "4.3.14.1" }),
  versionMadeBy: u16(12, { meaning: "zip version of the writer", source: "4.4.2", hex: true }),
  versionNeeded: u16(14, { meaning: "zip version needed, times ten", source: "4.4.3" }),
  disk: u32(16, { meaning: "number of this disk", source: "4.4.19" }),
  directoryDisk: u32(20, { meaning: "disk of the central directory", source: "4.4.20" }),
  diskEntries: u64(24, { meaning: "entries on this disk", source: "4.4.21" }),
  entries: u64(32, { meaning: "entries in the archive", source: "4.4.22" }),
  directorySize: u64(40, { meaning: "size of the central directory", unit: "bytes", source: "4.4.23" }),
  directoryOffset: u64(48, { meaning: "offset of the central directory", unit: "bytes", source: "4.4.24", hex: true }),
});

export const LOCATOR64 = layout("zip64 end locator", 20, {
  signature: u32(0, { meaning: "PK 06 07", source: "4.3.15", hex: true }),
  disk: u32(4, { meaning: "disk of the zip64 end record", source: "4.3.15" }),
  offset: u64(8, { meaning: "offset of the zip64 end record", unit: "bytes", source: "4.3.15", hex: true }),
  disks: u32(16, { meaning: "number of disks", source: "4.3.15" }),
});
