/**
 * The K230's binary structures as declared tables. Decoding, encoding, the inspector's dump and the tables in
 * `docs/k230.md` come from here. All integers are little-endian but those of the U-Boot image header.
 */
import { layout, raw, text, u16, u32, u32be, u64, u64bits, u8 } from "../core/layout.ts";
import type { LayoutValue } from "../core/layout.ts";

/** Numbers of the formats that are not fields. */
export const KDIMG_MAGIC = 0x27cb8f93; // bytes 93 8f cb 27
export const PART_MAGIC = 0x91df6da4; // bytes a4 6d df 91
/** Of entries whose content is a patch: every reader of the vendor's refuses it before it writes anything. */
export const DELTA_PART_MAGIC = 0x91df6dde; // bytes de 6d df 91
export const META_MAGIC = 0x4f544156; // "VATO" on disk
export const FIRMWARE_MAGIC = 0x3033324b; // "K230"
export const UIMAGE_MAGIC = 0x27051956;
export const KDIMG_HEADER_SIZE = 512;
export const KDIMG_ENTRY_SIZE = 256;
/** Where every vendor writer starts the content area; the driver refuses content before it. */
export const KDIMG_CONTENT_START = 0x10000;
export const TOC_OFFSET = 0xe0000;
export const TOC_ENTRY_SIZE = 64;
export const TOC_MAX_ENTRIES = 16;
export const TOC_SIZE = TOC_ENTRY_SIZE * TOC_MAX_ENTRIES;
export const SECTOR_SIZE = 512;
export const FIRMWARE_HEADER_SIZE = 528;

export const KDIMG_HEADER = layout("kdimg header", KDIMG_HEADER_SIZE, {
  magic: u32(0, { meaning: "0x27CB8F93", hex: true, source: "1.1" }),
  crc: u32(4, { meaning: "CRC-32 of the 512 header bytes with this field zero", hex: true, source: "1.1" }),
  flag: u32(8, { meaning: "unused, 0", hex: true, source: "1.1" }),
  version: u32(12, { meaning: "2 and above: V2 entries; 0 and 1: V1 entries", source: "1.1" }),
  partCount: u32(16, { meaning: "number of table entries", source: "1.1" }),
  tableCrc: u32(20, { meaning: "CRC-32 of the whole table", hex: true, source: "1.1" }),
  imageInfo: text(24, 32, { meaning: "text about the image, at most 31 bytes", source: "1.1" }),
  chipInfo: text(56, 32, { meaning: "text about the chip, at most 31 bytes", source: "1.1" }),
  boardInfo: text(88, 64, { meaning: "text about the board, at most 63 bytes", source: "1.1" }),
  reserved: raw(152, 360, { meaning: "zero from writers, ignored by readers", source: "1.1" }),
});
export type KdimgHeader = LayoutValue<typeof KDIMG_HEADER>;

export const PART_V2 = layout("kdimg part entry, version 2 and above", KDIMG_ENTRY_SIZE, {
  magic: u32(0, { meaning: "0x91DF6DA4", hex: true, source: "1.2" }),
  offset: u32(4, { meaning: "destination on the medium for host flashers", unit: "bytes", hex: true, source: "1.2" }),
  size: u32(8, { meaning: "bytes host flashers burn, padded with 0xff", unit: "bytes", source: "1.2" }),
  eraseSize: u32(12, { meaning: "bytes to erase first, 0 = none given", unit: "bytes", source: "1.2" }),
  maxSize: u32(16, { meaning: "size of the partition on the medium", unit: "bytes", source: "1.2" }),
  alignment: u32(20, { meaning: "zero, alignment of the next field", source: "1.2" }),
  flag: u64bits(24, { meaning: "kind, page size, spare size: section 1.4", source: "1.2" }),
  contentOffset: u32(32, { meaning: "where the content begins in the file", unit: "bytes", hex: true, source: "1.2" }),
  contentSize: u32(36, { meaning: "content length", unit: "bytes", source: "1.2" }),
  sha256: raw(40, 32, { meaning: "SHA-256 of the content", source: "1.2" }),
  name: text(72, 32, { meaning: "name of the part, at most 31 bytes", source: "1.2" }),
  reserved: raw(104, 152, { meaning: "zero", source: "1.2" }),
});

export const PART_DELTA = layout("kdimg delta part entry", KDIMG_ENTRY_SIZE, {
  magic: u32(0, { meaning: "0x91DF6DDE: no reader but this one takes it for a part", hex: true, source: "own" }),
  offset: u32(4, { meaning: "as in version 2", unit: "bytes", hex: true, source: "own" }),
  size: u32(8, { meaning: "size of the patch", unit: "bytes", source: "own" }),
  eraseSize: u32(12, { meaning: "as in version 2", unit: "bytes", source: "own" }),
  maxSize: u32(16, { meaning: "as in version 2", unit: "bytes", source: "own" }),
  alignment: u32(20, { meaning: "zero", source: "own" }),
  flag: u64bits(24, { meaning: "as in version 2", source: "own" }),
  contentOffset: u32(32, { meaning: "where the patch begins in the file", unit: "bytes", hex: true, source: "own" }),
  contentSize: u32(36, { meaning: "length of the patch", unit: "bytes", source: "own" }),
  sha256: raw(40, 32, { meaning: "SHA-256 of the patch", source: "own" }),
  name: text(72, 32, { meaning: "name of the part, `rtt` or `rtapp`", source: "own" }),
  baseSize: u32(104, {
    meaning: "bytes of the running slot's partition the patch was made against",
    unit: "bytes",
    source: "own",
  }),
  resultSize: u32(108, { meaning: "size of the content the patch makes", unit: "bytes", source: "own" }),
  baseSha256: raw(112, 32, { meaning: "SHA-256 of the base", source: "own" }),
  resultSha256: raw(144, 32, { meaning: "SHA-256 of the content the patch makes", source: "own" }),
  reserved: raw(176, 80, { meaning: "zero", source: "own" }),
});

export const PART_V1 = layout("kdimg part entry, versions 0 and 1", KDIMG_ENTRY_SIZE, {
  magic: u32(0, { meaning: "0x91DF6DA4", hex: true, source: "1.3" }),
  offset: u32(4, { meaning: "destination on the medium for host flashers", unit: "bytes", hex: true, source: "1.3" }),
  size: u32(8, { meaning: "bytes host flashers burn, padded with 0xff", unit: "bytes", source: "1.3" }),
  eraseSize: u32(12, { meaning: "bytes to erase first, 0 = none given", unit: "bytes", source: "1.3" }),
  maxSize: u32(16, { meaning: "size of the partition on the medium", unit: "bytes", source: "1.3" }),
  flag: u32(20, { meaning: "zero-extended when read", hex: true, source: "1.3" }),
  contentOffset: u32(24, { meaning: "where the content begins in the file", unit: "bytes", hex: true, source: "1.3" }),
  contentSize: u32(28, { meaning: "content length", unit: "bytes", source: "1.3" }),
  sha256: raw(32, 32, { meaning: "SHA-256 of the content", source: "1.3" }),
  name: text(64, 32, { meaning: "name of the part, at most 31 bytes", source: "1.3" }),
  reserved: raw(96, 160, { meaning: "zero", source: "1.3" }),
});

export const TOC_ENTRY = layout("table of contents entry", TOC_ENTRY_SIZE, {
  name: text(0, 32, { meaning: "name of the partition, at most 31 bytes; an empty one ends the table", source: "2" }),
  offset: u64(32, { meaning: "where the partition begins on the medium", unit: "bytes", hex: true, source: "2" }),
  size: u64(40, { meaning: "size of the partition, 0 when the config gave none", unit: "bytes", source: "2" }),
  load: u8(48, { meaning: "non-zero: the loader loads it", source: "2" }),
  boot: u8(49, { meaning: "bit 0: start this image; bits 1-2: core", hex: true, source: "2" }),
  reserved: raw(50, 14, { meaning: "zero on the medium", source: "2" }),
});

export const META_BLOCK = layout("ota_meta version block", SECTOR_SIZE, {
  magic: u32(0, { meaning: '0x4F544156, "VATO" on the medium', hex: true, source: "3" }),
  version: u32(4, { meaning: "the higher one of two valid blocks names the slot that boots", source: "3" }),
  crc: u32(8, { meaning: "CRC-32 of the 512 bytes with this field zero", hex: true, source: "3" }),
  reserved: u32(12, { meaning: "written zero, ignored", source: "3" }),
  padding: raw(16, 496, { meaning: "written zero, ignored", source: "3" }),
});

export const MBR_ENTRY = layout("MBR partition entry", 16, {
  status: u8(0, { meaning: "0x80 = bootable", hex: true, source: "6.1" }),
  firstChs: raw(1, 3, { meaning: "head, sector and cylinder of the first sector", source: "6.1" }),
  type: u8(4, { meaning: "partition type", hex: true, source: "6.1" }),
  lastChs: raw(5, 3, { meaning: "head, sector and cylinder of the last sector", source: "6.1" }),
  startLba: u32(8, { meaning: "first sector", unit: "sectors", source: "6.1" }),
  sectors: u32(12, { meaning: "length", unit: "sectors", source: "6.1" }),
});

export const MBR_TAIL = layout("MBR behind the boot code", 72, {
  diskSignature: u32(0, { meaning: "disk signature", hex: true, source: "6.1" }),
  zero: u16(4, { meaning: "zero", source: "6.1" }),
  entries: raw(6, 64, { meaning: "four partition entries", source: "6.1" }),
  signature: u16(70, { meaning: "0xAA55", hex: true, source: "6.1" }),
});

export const FIRMWARE_HEADER = layout("firmware header", FIRMWARE_HEADER_SIZE, {
  magic: u32(0, { meaning: '"K230"', hex: true, source: "7" }),
  length: u32(4, { meaning: "length of the payload behind the header", unit: "bytes", source: "7" }),
  cryptoType: u32(8, { meaning: "0 none, 1 SM4-CBC + SM2, 2 AES-256-GCM + RSA-2048", source: "7" }),
  verification: raw(12, 516, { meaning: "digest, or keys and signature, by type", source: "7" }),
});

export const FIRMWARE_TYPE_0 = layout("verification block, type 0", 516, {
  sha256: raw(0, 32, { meaning: "SHA-256 of the payload", source: "7" }),
  zero: raw(32, 484, { meaning: "zero", source: "7" }),
});

export const FIRMWARE_TYPE_1 = layout("verification block, type 1", 516, {
  idLength: u32(0, { meaning: "length of the signer's id", unit: "bytes", source: "7" }),
  id: raw(4, 384, { meaning: "signer's id, zero padded", source: "7" }),
  x: raw(388, 32, { meaning: "SM2 public key, x", source: "7" }),
  y: raw(420, 32, { meaning: "SM2 public key, y", source: "7" }),
  r: raw(452, 32, { meaning: "signature, r", source: "7" }),
  s: raw(484, 32, { meaning: "signature, s", source: "7" }),
});

export const FIRMWARE_TYPE_2 = layout("verification block, type 2", 516, {
  modulus: raw(0, 256, { meaning: "RSA modulus, big-endian", source: "7" }),
  exponent: u32(256, { meaning: "RSA public exponent", source: "7" }),
  signature: raw(260, 256, { meaning: "PKCS#1 v1.5 SHA-256 signature over the GCM tag", source: "7" }),
});

export const UIMAGE_HEADER = layout("legacy U-Boot image header", 64, {
  magic: u32be(0, { meaning: "0x27051956; the only field the loader checks", hex: true, source: "5.1" }),
  headerCrc: u32be(4, { meaning: "CRC-32 of the header, not checked by the loader", hex: true, source: "5.1" }),
  time: u32be(8, { meaning: "build time", unit: "seconds since 1970", source: "5.1" }),
  size: u32be(12, { meaning: "length of the data behind the header", unit: "bytes", source: "5.1" }),
  load: u32be(16, { meaning: "load address", hex: true, source: "5.1" }),
  entry: u32be(20, { meaning: "entry point", hex: true, source: "5.1" }),
  dataCrc: u32be(24, { meaning: "CRC-32 of the data, not checked by the loader", hex: true, source: "5.1" }),
  os: u8(28, { meaning: "operating system", source: "5.1" }),
  arch: u8(29, { meaning: "architecture", source: "5.1" }),
  type: u8(30, { meaning: "4 = several images, 5 = firmware", source: "5.1" }),
  compression: u8(31, { meaning: "0 = none, 1 = gzip", source: "5.1" }),
  name: text(32, 32, { meaning: "image name; the loader moves `rtapp` to its own place", source: "5.1" }),
});
export type UimageHeader = LayoutValue<typeof UIMAGE_HEADER>;

/** Every table, in the order of the documentation. */
export const K230_LAYOUTS = [
  KDIMG_HEADER,
  PART_V2,
  PART_V1,
  PART_DELTA,
  TOC_ENTRY,
  META_BLOCK,
  MBR_TAIL,
  MBR_ENTRY,
  FIRMWARE_HEADER,
  FIRMWARE_TYPE_0,
  FIRMWARE_TYPE_1,
  FIRMWARE_TYPE_2,
  UIMAGE_HEADER,
] as const;
