/** How the loader loads one entry of the table of contents (specification section 5.1). */
import { Inflate } from "pako";
import { hexOffset, readU32, readU32be } from "../core/bytes.ts";
import type { RandomReader } from "../core/ports.ts";
import { verifyFirmware } from "./firmware.ts";
import type { FirmwareCrypto, FirmwareTrust } from "./firmware.ts";
import {
  FIRMWARE_HEADER,
  FIRMWARE_HEADER_SIZE,
  FIRMWARE_MAGIC,
  SECTOR_SIZE,
  UIMAGE_HEADER,
  UIMAGE_MAGIC,
} from "./layouts.ts";
import type { UimageHeader } from "./layouts.ts";
import type { TocEntry } from "./toc.ts";

export interface LoadOptions {
  readonly crypto: FirmwareCrypto;
  /** What the device has burnt in; what is not given is assumed to fit and said so. */
  readonly trust?: FirmwareTrust;
  /** First byte of the DRAM. */
  readonly dramBase: number;
  /** Bytes of DRAM. */
  readonly dramSize: number;
}

export type LoadResult =
  | {
      readonly ok: true;
      /** Where the image lies when it is started. */
      readonly address: number;
      /** Bytes at that address. */
      readonly size: number;
      /** Name in the U-Boot image header. */
      readonly name: string;
      /** Checks left out for want of a key. */
      readonly assumed?: string;
    }
  | { readonly ok: false; readonly reason: string };

const COMPRESSION_NONE = 0;
const COMPRESSION_GZIP = 1;
const TYPE_MULTI = 4;
/** What the loader takes for the size of a gzip stream that says 0. */
const UNKNOWN_SIZE = 96 * 1024 * 1024;
const VERSION_WORD = 4;

const page = (address: number): number => Math.floor(address / 4096) * 4096;

/** Where the loader puts things, from the DRAM's place and size. */
export function dramPlan(dramBase: number, dramSize: number): { load: number; decrypt: number; rtapp: number } {
  const third = Math.floor(dramSize / 3);
  return {
    load: page(dramBase + dramSize - 2 * third),
    decrypt: page(dramBase + Math.floor(dramSize / 2)),
    rtapp: page(dramBase + dramSize - third),
  };
}

const fail = (reason: string): LoadResult => ({ ok: false, reason });

/** Reads sectors as the loader does; undefined past the end of the medium. */
async function readSectors(medium: RandomReader, sector: number, length: number): Promise<Uint8Array | undefined> {
  const bytes = Math.ceil(length / SECTOR_SIZE) * SECTOR_SIZE;
  return sector * SECTOR_SIZE + bytes <= medium.size ? medium.read(sector * SECTOR_SIZE, bytes) : undefined;
}

/** Loads the image of `entry`, or says why the loader cannot. */
export async function loadFirmware(medium: RandomReader, entry: TocEntry, options: LoadOptions): Promise<LoadResult> {
  const { dramBase, dramSize } = options;
  const plan = dramPlan(dramBase, dramSize);
  if (entry.size <= FIRMWARE_HEADER_SIZE) return fail(`its partition has only ${entry.size} bytes`);
  const sector = Math.floor(entry.offset / SECTOR_SIZE);
  const head = await readSectors(medium, sector, FIRMWARE_HEADER_SIZE);
  if (head === undefined) return fail("its partition lies past the end of the medium");
  const { magic, length } = FIRMWARE_HEADER.decode(head);
  if (magic !== FIRMWARE_MAGIC) return fail(`no firmware header, magic is ${hexOffset(magic)}`);
  const limit = Math.min(entry.size, plan.decrypt - plan.load) - FIRMWARE_HEADER_SIZE;
  if (length > limit) return fail(`payload of ${length} bytes is larger than the limit of ${limit}`);
  const bytes = await readSectors(medium, sector, FIRMWARE_HEADER_SIZE + length);
  if (bytes === undefined) return fail("its payload reaches past the end of the medium");
  const report = verifyFirmware(bytes, options.crypto, options.trust);
  if (!report.ok) return fail(report.problem?.message ?? "firmware is damaged");
  const assumed = report.unchecked.join("; ");
  if (report.image === undefined) return { ok: true, address: 0, size: 0, name: "", assumed };
  const source = report.cryptoType === 0 ? plan.load + FIRMWARE_HEADER_SIZE : plan.decrypt;
  const result = startImage(report.image, source + VERSION_WORD, options);
  return result.ok && assumed !== "" ? { ...result, assumed } : result;
}

/** `length` bytes at `at`; memory behind the image reads as zero. */
function memory(image: Uint8Array, at: number, length: number): Uint8Array {
  if (at + length <= image.length) return image.subarray(at, at + length);
  const out = new Uint8Array(Math.max(0, length));
  out.set(image.subarray(Math.min(at, image.length), Math.min(at + length, image.length)));
  return out;
}

interface Data {
  readonly at: number;
  readonly length: number;
}

/** The data of an image, for several images that of the first. */
function imageData(image: Uint8Array, header: UimageHeader): Data | string {
  if (header.type !== TYPE_MULTI) return { at: UIMAGE_HEADER.size, length: header.size };
  let count = 0;
  while (UIMAGE_HEADER.size + 4 * count + 4 <= image.length && readU32be(image, UIMAGE_HEADER.size + 4 * count) !== 0)
    count++;
  if (count === 0) return "its list of images is empty";
  return { at: UIMAGE_HEADER.size + 4 * (count + 1), length: readU32be(image, UIMAGE_HEADER.size) };
}

function startImage(image: Uint8Array, source: number, options: LoadOptions): LoadResult {
  if (image.length < UIMAGE_HEADER.size) return fail("it is too short for a U-Boot image header");
  const header = UIMAGE_HEADER.decode(image);
  if (header.magic !== UIMAGE_MAGIC) return fail(`no U-Boot image header, magic is ${hexOffset(header.magic)}`);
  const data = imageData(image, header);
  if (typeof data === "string") return fail(data);
  if (header.compression !== COMPRESSION_NONE && header.compression !== COMPRESSION_GZIP) {
    return fail(`compression ${header.compression} is not supported`);
  }
  if (data.at + data.length > image.length) return fail("its data reaches past the payload");
  const { dramBase, dramSize } = options;
  const gzip = header.compression === COMPRESSION_GZIP;
  const bytes = memory(image, data.at, data.length);
  const size = gzip ? gzipSize(bytes) : data.length;
  const address = header.name === "rtapp" ? dramPlan(dramBase, dramSize).rtapp : header.load;
  const end = address + size;
  if (address < dramBase || end > dramBase + dramSize) {
    return fail(`load range ${hexOffset(address)} to ${hexOffset(end)} leaves the DRAM`);
  }
  const sourceAt = source + data.at;
  if (gzip && address < sourceAt + data.length && sourceAt < end)
    return fail("load range overlaps the compressed data");
  if (gzip && !gunzips(bytes, size)) return fail("its gzip stream is damaged");
  return { ok: true, address, size, name: header.name };
}

function gzipSize(bytes: Uint8Array): number {
  const size = bytes.length >= 4 ? readU32(bytes, bytes.length - 4) : 0;
  return size === 0 ? UNKNOWN_SIZE : size;
}

const FLAG_EXTRA = 4;
const FLAG_NAME = 8;
const FLAG_COMMENT = 16;
const FLAG_HEADER_CRC = 2;

/** Length of a gzip header as the loader reads it: no magic check, method 8 or the vendor's 9; undefined when it is none. */
function gzipHeaderLength(bytes: Uint8Array): number | undefined {
  const flags = bytes[3];
  if (flags === undefined || (bytes[2] !== 8 && bytes[2] !== 9) || (flags & 0xe0) !== 0) return undefined;
  let at = 10;
  if ((flags & FLAG_EXTRA) !== 0) at += 2 + (bytes[at] ?? 0) + 256 * (bytes[at + 1] ?? 0);
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) === 0) continue;
    const end = bytes.indexOf(0, at);
    if (end < 0) return undefined;
    at = end + 1;
  }
  if ((flags & FLAG_HEADER_CRC) !== 0) at += 2;
  return at < bytes.length ? at : undefined;
}

/** Whether a gzip stream unpacks within `limit` bytes; its CRC is not checked, as in the loader. */
function gunzips(bytes: Uint8Array, limit: number): boolean {
  const start = gzipHeaderLength(bytes);
  if (start === undefined) return false;
  const inflate = new Inflate({ raw: true });
  let total = 0;
  let ended = false;
  inflate.onData = (chunk) => void (total += chunk instanceof ArrayBuffer ? chunk.byteLength : chunk.length);
  inflate.onEnd = (status) => void (ended = status === 0);
  const step = 1 << 16;
  for (let at = start; at < bytes.length && !ended && total <= limit; at += step) {
    if (!inflate.push(bytes.subarray(at, at + step), at + step >= bytes.length)) break;
  }
  return ended && total <= limit;
}
