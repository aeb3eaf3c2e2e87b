/**
 * Finds packed parts in a file by their own marks, without parsing containers: zlib streams (squashfs, jffs2, ubifs and cramfs
 * blocks, png), gzip members (kernels, initramfs, images) and deflated zip entries. Each is taken only when it unpacks completely
 * and its checksum agrees. Files are read forwards, a few MiB at a time.
 */
import { readU16, readU32, readU32be } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";
import type { Cancel, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { inflateRawFrom } from "../deflate/inflate.ts";
import { mayBeDeflate } from "../deflate/start.ts";
import { DEFLATE, GNU_GZIP, GZIP, ZLIB } from "./packed-with.ts";
import { adler32 } from "./repack.ts";

/** A packed part and its content. */
export interface PackedPart {
  readonly at: number;
  readonly size: number;
  /** Numbers of re-packers that may have made it, the likeliest first; each of them unpacks it. */
  readonly repackers: readonly number[];
  readonly content: Uint8Array;
}

/** Finds parts of one kind. */
export interface PartFinder {
  /** First byte of what it looks for. */
  readonly firstByte: number;
  /** Re-packers of the parts it gives; one of them must be allowed for it to be asked at all. */
  readonly repackers: readonly number[];
  /** Whether `bytes[at..]` (at least 32 more bytes, unless the file ends) may be a beginning; a quick test. */
  plausible(bytes: Uint8Array, at: number): boolean;
  /** The parts of what begins at `at`, in order; one after the other, so that only one content is held. */
  find(source: ScanSource, at: number): AsyncIterable<PackedPart>;
}

/** Shorter contents are not worth a segment of their own. */
export const LEAST_CONTENT = 64;
/** Bytes searched at a time, and how many more a quick test may look at. */
const STEP = 1024 * 1024;
const LOOK = 64;
const BUFFER = 4 * 1024 * 1024;

/** Content that is opened however small its packed bytes are, and how many bytes of content a packed byte may give beyond it. */
const SURE_CONTENT = 32 * 1024 * 1024;
const LIKELY_RATIO = 40;
/** Larger contents stay packed: a device would hold them whole. */
const LARGEST_CONTENT = 256 * 1024 * 1024;

/** A file as finders read it. */
export class ScanSource {
  readonly #reader: RandomReader;
  #start = 0;
  #buffer: Uint8Array = new Uint8Array(0);
  /** What attempts may still unpack in vain, bytes: a file made of beginnings of bombs is given up on. */
  #patience: number;

  constructor(reader: RandomReader) {
    this.#reader = reader;
    this.#patience = 8 * SURE_CONTENT + 4 * reader.size;
  }

  get size(): number {
    return this.#reader.size;
  }

  /** Up to `length` bytes at `at`; fewer only where the file ends. Valid until the caller lets go of it. */
  async bytes(at: number, length: number): Promise<Uint8Array> {
    const n = Math.min(length, this.size - at);
    // Headers may point behind the end of the file.
    if (n <= 0) return new Uint8Array(0);
    const inside = at - this.#start;
    if (inside >= 0 && inside + n <= this.#buffer.length) return this.#buffer.subarray(inside, inside + n);
    if (n > BUFFER) return this.#reader.read(at, n);
    this.#buffer = await this.#reader.read(at, Math.min(BUFFER, this.size - at));
    this.#start = at;
    return this.#buffer.subarray(0, n);
  }

  /** Bytes a part at `at` may unpack to: no more than a likely part of what is left of the file, so that bombs stay small. */
  limit(at: number): number {
    const likely = SURE_CONTENT + LIKELY_RATIO * (this.size - at);
    return Math.max(0, Math.min(LARGEST_CONTENT, likely, this.#patience));
  }

  /** Notes an attempt that came to nothing after `bytes` of content. */
  failed(bytes: number): void {
    this.#patience -= bytes;
  }

  /** The raw deflate stream at `at`, and where it ends. */
  async inflate(at: number): Promise<{ content: Uint8Array; end: number } | undefined> {
    const found = await inflateRawFrom((done) => {
      // Most false beginnings fail within a few bytes.
      return this.bytes(at + done, done === 0 ? 1024 : done < 65536 ? 32768 : 262144);
    }, this.limit(at));
    if (found.data === undefined) {
      this.failed(found.size);
      return undefined;
    }
    return { content: found.data, end: at + found.used };
  }
}

const ZLIB_FINDER: PartFinder = {
  firstByte: 0x78,
  repackers: [ZLIB],
  // Head bytes other than zlib's own cannot be made again.
  plausible: (bytes, at) => [0x01, 0x5e, 0x9c, 0xda].includes(bytes[at + 1] ?? 0) && mayBeDeflate(bytes, at + 2),
  async *find(source, at) {
    const found = await source.inflate(at + 2);
    if (found === undefined) return;
    const { content, end } = found;
    const tail = await source.bytes(end, 4);
    if (content.length < LEAST_CONTENT || tail.length < 4 || readU32be(tail, 0) !== adler32(content)) {
      source.failed(content.length);
      return;
    }
    yield { at, size: end + 4 - at, repackers: [ZLIB], content };
  },
};

/** Longest name or comment in a gzip header that is looked through. */
const MAX_GZIP_HEADER = 4096;

/** The magic and method 8, or the 9 by which the K230's SDK marks streams for its hardware; the header stays as it is. */
function startsGzip(bytes: Uint8Array, at: number): boolean {
  return bytes[at + 1] === 0x8b && (bytes[at + 2] === 8 || bytes[at + 2] === 9);
}

/** Size of a gzip header with its optional fields; undefined when it is none. */
function gzipHeaderSize(bytes: Uint8Array): number | undefined {
  if (bytes.length < 18 || !startsGzip(bytes, 0)) return undefined;
  const flags = bytes[3] as number;
  if ((flags & 0xe0) !== 0) return undefined;
  let end = 10;
  if ((flags & 4) !== 0) end += 2 + readU16(bytes, end);
  for (const bit of [8, 16]) {
    if ((flags & bit) === 0) continue;
    const zero = bytes.indexOf(0, end);
    if (zero < 0) return undefined;
    end = zero + 1;
  }
  return (flags & 2) !== 0 ? end + 2 : end;
}

const GZIP_FINDER: PartFinder = {
  firstByte: 0x1f,
  repackers: [GZIP, GNU_GZIP],
  plausible: startsGzip,
  async *find(source, at) {
    const header = gzipHeaderSize(await source.bytes(at, MAX_GZIP_HEADER));
    if (header === undefined) return;
    const found = await source.inflate(at + header);
    if (found === undefined) return;
    const { content, end } = found;
    const tail = await source.bytes(end, 8);
    const right =
      tail.length === 8 && readU32(tail, 0) === crc32(content) && readU32(tail, 4) === content.length % 2 ** 32;
    if (!right || content.length < LEAST_CONTENT) source.failed(content.length);
    else yield { at: at + header, size: end + 8 - at - header, repackers: [GZIP, GNU_GZIP], content };
  },
};

const ZIP_FINDER: PartFinder = {
  firstByte: 0x50,
  repackers: [DEFLATE],
  plausible: (bytes, at) =>
    at + 30 <= bytes.length && readU32(bytes, at) === 0x04034b50 && readU16(bytes, at + 8) === 8,
  async *find(source, at) {
    const head = await source.bytes(at, 30);
    const start = at + 30 + readU16(head, 26) + readU16(head, 28);
    const found = await source.inflate(start);
    if (found === undefined) return;
    const { content, end } = found;
    // With bit 3 the checksum stands behind the data; a stream that inflates to its end is proof enough then.
    const noted = (readU16(head, 6) & 8) === 0 ? readU32(head, 14) : undefined;
    if (content.length < LEAST_CONTENT || (noted !== undefined && noted !== crc32(content))) {
      source.failed(content.length);
    } else yield { at: start, size: end - start, repackers: [DEFLATE], content };
  },
};

export interface ScanOptions {
  /** Numbers of the re-packers that may be used. */
  readonly allowed: ReadonlySet<number>;
  /** Finders beyond the toolkit's own. */
  readonly finders?: readonly PartFinder[];
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** First position from `from` on whose byte is wanted; `end` when there is none. In a function of its own, as generators stay slow. */
function candidate(bytes: Uint8Array, from: number, end: number, wanted: Uint8Array): number {
  let i = from;
  while (i < end && wanted[bytes[i] as number] === 0) i++;
  return i;
}

/** The packed parts of a file in order, not overlapping, that allowed re-packers can unpack. */
export async function* scanPacked(reader: RandomReader, options: ScanOptions): AsyncGenerator<PackedPart> {
  const { allowed, signal, progress } = options;
  const byFirst = new Map<number, PartFinder[]>();
  for (const finder of [...(options.finders ?? []), ZLIB_FINDER, GZIP_FINDER, ZIP_FINDER]) {
    if (!finder.repackers.some((id) => allowed.has(id))) continue;
    byFirst.set(finder.firstByte, [...(byFirst.get(finder.firstByte) ?? []), finder]);
  }
  const wanted = new Uint8Array(256);
  for (const first of byFirst.keys()) wanted[first] = 1;
  const source = new ScanSource(reader);
  const size = byFirst.size === 0 ? 0 : reader.size;
  for (let at = 0; at < size && source.limit(at) > 0;) {
    checkCancel(signal);
    progress?.({ phase: "look for containers", doneBytes: at, totalBytes: size });
    const bytes = await source.bytes(at, STEP + LOOK);
    const end = Math.min(STEP, bytes.length);
    let next = at + end;
    search: for (let i = candidate(bytes, 0, end, wanted); i < end; i = candidate(bytes, i + 1, end, wanted)) {
      for (const finder of byFirst.get(bytes[i] as number) ?? []) {
        if (!finder.plausible(bytes, i)) continue;
        let found = 0;
        for await (const part of finder.find(source, at + i)) {
          found = part.at + part.size;
          const repackers = part.repackers.filter((id) => allowed.has(id));
          if (repackers.length > 0) yield { ...part, repackers };
        }
        if (found === 0) continue;
        next = found;
        break search;
      }
    }
    at = next;
  }
}
