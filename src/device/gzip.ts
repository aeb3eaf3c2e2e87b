/** gzip members (RFC 1952) around raw deflate: reproducible writing, strict reading. */
import { constants, crc32, createInflateRaw } from "node:zlib";
import { readU16, readU32, writeU32 } from "../core/index.ts";
import type { ByteStream } from "../core/index.ts";
import { InputSource, SMALL_INPUT, SMALL_OUTPUT, bomb, damaged, inflateSmall, runEngine } from "./inflate.ts";

const FLAG_HEADER_CRC = 2;
const FLAG_EXTRA = 4;
const FLAG_NAME = 8;
const FLAG_COMMENT = 16;
/** Names and comments longer than this are no real gzip file, bytes. */
const MAX_HEADER_TEXT = 65536;

/** Header of a member without name and time: level 9, made on Unix, as `gzip -n9` writes it. */
export function gzipHeader(level: number): Uint8Array {
  return Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, level === 9 ? 2 : level === 1 ? 4 : 0, 3);
}

/** CRC-32 and size modulo 2^32 of the content. */
export function gzipTrailer(crc: number, size: number): Uint8Array {
  const out = new Uint8Array(8);
  writeU32(out, 0, crc);
  writeU32(out, 4, size % 0x100000000);
  return out;
}

async function takeText(source: InputSource): Promise<Uint8Array> {
  const text: number[] = [];
  for (;;) {
    const [byte] = await source.take(1);
    if (byte === undefined) throw damaged("gzip header is cut short");
    text.push(byte);
    if (byte === 0) return Uint8Array.from(text);
    if (text.length > MAX_HEADER_TEXT) throw damaged("gzip header has an endless name");
  }
}

/** Reads a member's header; false at the end of the input. @throws OtaError CODEC_DAMAGED */
async function takeHeader(source: InputSource, first: boolean): Promise<boolean> {
  const head = await source.take(10);
  if (head.length === 0 && !first) return false;
  if (head[0] !== 0x1f || head[1] !== 0x8b) {
    throw damaged(first ? "not gzip data" : "garbage behind the gzip data");
  }
  if (head.length < 10) throw damaged("gzip header is cut short");
  const flags = head[3] as number;
  if (head[2] !== 8 || (flags & 0xe0) !== 0) throw damaged("gzip header has an unknown method or flag");
  let crc = crc32(head);
  const take = async (length: number): Promise<Uint8Array> => {
    const bytes = await source.take(length);
    if (bytes.length < length) throw damaged("gzip header is cut short");
    crc = crc32(bytes, crc);
    return bytes;
  };
  if ((flags & FLAG_EXTRA) !== 0) await take(readU16(await take(2), 0));
  if ((flags & FLAG_NAME) !== 0) crc = crc32(await takeText(source), crc);
  if ((flags & FLAG_COMMENT) !== 0) crc = crc32(await takeText(source), crc);
  if ((flags & FLAG_HEADER_CRC) !== 0) {
    const expected = crc & 0xffff;
    if (readU16(await take(2), 0) !== expected) throw damaged("gzip header has a wrong checksum");
  }
  return true;
}

async function* inflateMember(source: InputSource, maxBytes: number): ByteStream {
  const all = await source.takeAllIfSmall(SMALL_INPUT);
  if (all !== undefined) {
    // A last member says its size in its last four bytes: a bomb need not be tried in one piece. They are a hint and no more.
    const hint = all.length < 4 ? 0 : readU32(all, all.length - 4);
    const small = hint > SMALL_OUTPUT ? undefined : inflateSmall(all, maxBytes);
    source.unread(small === undefined ? all : all.subarray(small.used));
    if (small !== undefined) {
      if (small.output.length > 0) yield small.output;
      return;
    }
  }
  yield* runEngine(createInflateRaw({ chunkSize: 65536 }), source, maxBytes);
}

/** All members of `input`. Content beyond `maxBytes` in total is CODEC_BOMB. @throws OtaError CODEC_DAMAGED, CODEC_BOMB */
export async function* readGzip(input: ByteStream, maxBytes: number): ByteStream {
  const source = new InputSource(input);
  let total = 0;
  try {
    for (let first = true; await takeHeader(source, first); first = false) {
      let crc = 0;
      let size = 0;
      for await (const chunk of inflateMember(source, maxBytes - total)) {
        crc = crc32(chunk, crc);
        size += chunk.length;
        yield chunk;
      }
      total += size;
      if (total > maxBytes) throw bomb(maxBytes);
      const trailer = await source.take(8);
      if (trailer.length < 8) throw damaged("gzip data is cut short");
      if (readU32(trailer, 0) !== crc) throw damaged("gzip data has a wrong checksum");
      if (readU32(trailer, 4) !== size % 0x100000000) throw damaged("gzip data has a wrong size");
    }
  } finally {
    await source.close();
  }
}

/** zlib's levels; anything else is clamped, because a level only trades time for size. */
export function deflateLevel(level: number): number {
  return Math.max(constants.Z_BEST_SPEED, Math.min(constants.Z_BEST_COMPRESSION, Math.trunc(level)));
}
