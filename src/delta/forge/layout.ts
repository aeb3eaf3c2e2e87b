/**
 * The `otaforge` delta format, version 1: its fixed header. `docs/delta-format.md` describes the whole; its table of the header
 * is made from this one.
 *
 * File: header, base digests, table, windows; a window is its covers and its blocks. A *view* is a file with its packed parts
 * unpacked; covers and blocks speak of views. The first three parts are the *frame*.
 */
import { layout, raw, text, u16, u32, u64, u8 } from "../../core/layout.ts";

export const FORGE_MAGIC = "OTADELTA";
export const FORGE_VERSION = 1;

/** Bytes kept of each SHA-256 of a unit of old and of a block of new. */
export const PART_DIGEST_SIZE = 16;

export const FORGE_HEADER = layout("otaforge delta header", 176, {
  magic: text(0, 8, { meaning: "`OTADELTA`" }),
  version: u16(8, { meaning: "format version, 1" }),
  tableBits: u8(10, { meaning: "base 2 logarithm of the slots of each byte model, 12 to 22" }),
  grainBits: u8(11, {
    meaning: "base 2 logarithm of the bytes of a grain of the shift maps, 5 to 16; 0: references are not followed",
  }),
  windowCount: u32(12, { meaning: "number of windows" }),
  oldSize: u64(16, { meaning: "size of old", unit: "bytes" }),
  newSize: u64(24, { meaning: "size of new", unit: "bytes" }),
  oldViewSize: u64(32, { meaning: "size of old's view", unit: "bytes" }),
  newViewSize: u64(40, { meaning: "size of new's view", unit: "bytes" }),
  baseUnit: u32(48, { meaning: "bytes of old under one base digest", unit: "bytes" }),
  absoluteBase: u32(52, {
    meaning: "taken from a word modulo 2^32 to make an address a position in old's view",
    hex: true,
  }),
  tableSize: u32(56, { meaning: "size of the table as stored", unit: "bytes" }),
  tableRawSize: u32(60, { meaning: "size of the table decoded", unit: "bytes" }),
  bodySize: u64(64, { meaning: "size of the windows, which end the file", unit: "bytes" }),
  memoryBytes: u64(72, { meaning: "memory a device needs beside its buffers for reading and writing", unit: "bytes" }),
  newDigest: raw(80, 32, { meaning: "SHA-256 of new" }),
  bodyDigest: raw(112, 32, { meaning: "SHA-256 of the windows" }),
  frameDigest: raw(144, 32, { meaning: "SHA-256 of everything in front of the windows, this field zero" }),
});
