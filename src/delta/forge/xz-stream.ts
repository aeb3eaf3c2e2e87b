/** XZ streams from outside: where one ends, which filters it says it was made with, and whether its block notes its own sizes. */
import { concatBytes, readU32, writeU32 } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";
import type { ScanSource } from "./scan.ts";

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const HEADER_SIZE = 12;
const FOOTER_SIZE = 12;
/** Largest block header. */
const MAX_BLOCK_HEADER = 1024;
const LZMA2 = 0x21;

/** Branch filters of xz by number, as the program's options name them. */
export const XZ_BRANCH_FILTERS: Readonly<Record<number, string>> = Object.freeze({
  4: "x86",
  5: "powerpc",
  6: "ia64",
  7: "arm",
  8: "armthumb",
  9: "sparc",
  10: "arm64",
  11: "riscv",
});

/** Checks by number. */
export const XZ_CHECKS: Readonly<Record<number, string>> = Object.freeze({
  0: "none",
  1: "crc32",
  4: "crc64",
  10: "sha256",
});
const CHECK_SIZES: Readonly<Record<number, number>> = Object.freeze({ 0: 0, 1: 4, 4: 8, 10: 32 });

/** What makes a stream of one block besides its content. */
export interface XzStream {
  /** Size of the whole stream, bytes. */
  readonly size: number;
  /** Number of the check. */
  readonly check: number;
  /** Number of the branch filter in front of LZMA2; 0: none. */
  readonly branch: number;
  /** Dictionary of LZMA2, bytes. */
  readonly dictionary: number;
  /** Size of the block header when that notes the block's sizes (the library's one-call encoder); 0: it does not. */
  readonly sizedHeader: number;
  /** Whether the block header fits, whatever it says of sizes: length of the coded data, without padding and check. */
  readonly dataSize: number;
}

function readU16be(b: Uint8Array, at: number): number {
  return ((b[at] as number) << 8) | (b[at + 1] as number);
}

/** An integer of xz: seven bits a byte, lowest first. */
function vliAt(bytes: Uint8Array, at: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return { value, end: at + i + 1 };
  }
  return undefined;
}

function vli(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128);
  return [...out, rest];
}

interface BlockHeader {
  readonly size: number;
  readonly sized: boolean;
  /** The filters' bytes, from behind the sizes. */
  readonly filters: Uint8Array;
  readonly branch: number;
  readonly dictionary: number;
}

function blockHeaderOf(bytes: Uint8Array): BlockHeader | undefined {
  const size = ((bytes[0] ?? 0) + 1) * 4;
  if (bytes[0] === 0 || size > bytes.length) return undefined;
  if (readU32(bytes, size - 4) !== crc32(bytes.subarray(0, size - 4))) return undefined;
  const flags = bytes[1] as number;
  if ((flags & 0x3c) !== 0) return undefined;
  // Both sizes or none: nobody writes one.
  const sized = (flags & 0xc0) === 0xc0;
  if (!sized && (flags & 0xc0) !== 0) return undefined;
  let p = 2;
  for (let i = sized ? 2 : 0; i > 0; i--) {
    const number = vliAt(bytes, p);
    if (number === undefined) return undefined;
    p = number.end;
  }
  const start = p;
  let branch = 0;
  for (let left = (flags & 3) + 1; left > 0; left--) {
    const id = bytes[p] as number;
    const properties = bytes[p + 1] as number;
    if (id === LZMA2 && properties === 1 && left === 1) {
      const bits = bytes[p + 2] as number;
      if (bits > 36) return undefined;
      const dictionary = (2 + (bits & 1)) * 2 ** ((bits >> 1) + 11);
      return { size, sized, filters: bytes.slice(start, p + 3), branch, dictionary };
    }
    if (XZ_BRANCH_FILTERS[id] === undefined || properties !== 0 || branch !== 0) return undefined;
    branch = id;
    p += 2;
  }
  return undefined;
}

/** Where the LZMA2 chunks at `at` end: their headers say how long they are. */
async function lzma2End(source: ScanSource, at: number): Promise<number | undefined> {
  for (let p = at; ;) {
    const head = await source.bytes(p, 6);
    const control = head[0];
    if (control === 0) return p + 1;
    if (control === undefined || head.length < 6) return undefined;
    if (control === 1 || control === 2) p += 3 + readU16be(head, 1) + 1;
    else if (control >= 0x80) p += (control >= 0xc0 ? 6 : 5) + readU16be(head, 3) + 1;
    else return undefined;
    if (p > source.size) return undefined;
  }
}

const padded = (size: number): number => Math.ceil(size / 4) * 4;

/** The stream of one block that begins at `at`; undefined when there is none, or one that the program would not make. */
export async function xzStreamAt(source: ScanSource, at: number): Promise<XzStream | undefined> {
  const head = await source.bytes(at, HEADER_SIZE + MAX_BLOCK_HEADER);
  if (head.length < HEADER_SIZE + 8 || MAGIC.some((b, i) => head[i] !== b)) return undefined;
  const check = head[7] as number;
  const checkSize = CHECK_SIZES[check];
  if (head[6] !== 0 || checkSize === undefined) return undefined;
  if (readU32(head, 8) !== crc32(head.subarray(6, 8))) return undefined;
  const block = blockHeaderOf(head.subarray(HEADER_SIZE));
  if (block === undefined) return undefined;
  const dataAt = at + HEADER_SIZE + block.size;
  const end = await lzma2End(source, dataAt);
  if (end === undefined) return undefined;
  const dataSize = end - dataAt;
  // The index: its mark, one record (sizes of the block without padding, and of its content), padding, checksum.
  const indexAt = dataAt + padded(dataSize) + checkSize;
  const index = await source.bytes(indexAt, 32);
  if (index[0] !== 0 || index[1] !== 1) return undefined;
  const unpadded = vliAt(index, 2);
  const content = unpadded === undefined ? undefined : vliAt(index, unpadded.end);
  if (unpadded?.value !== block.size + dataSize + checkSize || content === undefined) return undefined;
  const size = indexAt - at + padded(content.end) + 4 + FOOTER_SIZE;
  const footer = await source.bytes(at + size - FOOTER_SIZE, FOOTER_SIZE);
  if (footer.length < FOOTER_SIZE || footer[10] !== 0x59 || footer[11] !== 0x5a || footer[9] !== check)
    return undefined;
  const { branch, dictionary } = block;
  return { size, check, branch, dictionary, sizedHeader: block.sized ? block.size : 0, dataSize };
}

/**
 * A stream of the program with the sizes of its block noted in a block header of `headerSize` bytes: what the library's one-call
 * encoder writes, which squashfs uses. Undefined when they do not fit.
 */
export function withSizes(
  stream: Uint8Array,
  from: XzStream,
  contentSize: number,
  headerSize: number,
): Uint8Array | undefined {
  const block = blockHeaderOf(stream.subarray(HEADER_SIZE));
  if (block === undefined || block.sized || headerSize % 4 !== 0 || headerSize > MAX_BLOCK_HEADER) return undefined;
  const flags = (stream[HEADER_SIZE + 1] as number) | 0xc0;
  const header = new Uint8Array(headerSize);
  const fields = Uint8Array.from([
    headerSize / 4 - 1,
    flags,
    ...vli(from.dataSize),
    ...vli(contentSize),
    ...block.filters,
  ]);
  if (fields.length + 4 > headerSize) return undefined;
  header.set(fields);
  writeU32(header, headerSize - 4, crc32(header.subarray(0, headerSize - 4)));
  const checkSize = CHECK_SIZES[from.check] as number;
  const dataAt = HEADER_SIZE + block.size;
  const data = stream.subarray(dataAt, dataAt + padded(from.dataSize) + checkSize);
  const record = [0, 1, ...vli(headerSize + from.dataSize + checkSize), ...vli(contentSize)];
  const index = new Uint8Array(padded(record.length) + 4);
  index.set(record);
  writeU32(index, index.length - 4, crc32(index.subarray(0, index.length - 4)));
  const footer = stream.slice(stream.length - FOOTER_SIZE);
  writeU32(footer, 4, index.length / 4 - 1);
  writeU32(footer, 0, crc32(footer.subarray(4, 10)));
  return concatBytes(stream.subarray(0, HEADER_SIZE), header, data, index, footer);
}
