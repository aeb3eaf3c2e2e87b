/**
 * BSDF2 patches (formats/android.md 8.1): BSDIFF40 whose three streams each have a compression of their own. Memory is that
 * of the decompressors and one step; old is read where the patch needs it.
 */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Codecs, RandomReader } from "../../core/ports.ts";
import { checkCancel, sliceReader, StreamTaker, streamRange } from "../../core/streams.ts";
import { readOffset, writeOffset } from "../../delta/bsdiff40/header.ts";
import { ControlChecker } from "../../delta/bsdiff40/streams.ts";
import { decompressBzip2 } from "../../delta/bzip2/decompress.ts";

/** ASCII `BSDF2`; three bytes follow that say how control, difference and extra stream are compressed. */
export const BSDF2_MAGIC: Uint8Array = Uint8Array.of(0x42, 0x53, 0x44, 0x46, 0x32);
export const BSDF2_HEADER_SIZE = 32;

/** Numbers of the streams' compressions. */
export const BSDF2_COMPRESSION = Object.freeze({ none: 0, bzip2: 1, brotli: 2 });
const NAMES = ["none", "bzip2", "brotli"] as const;
export type Bsdf2Compression = (typeof NAMES)[number];

/** Bytes made at a time. */
const STEP = 131072;

export interface Bsdf2Header {
  /** Of control, difference and extra stream. */
  readonly compression: readonly [Bsdf2Compression, Bsdf2Compression, Bsdf2Compression];
  readonly controlSize: number;
  readonly diffSize: number;
  readonly newSize: number;
}

/** Whether the bytes begin as a BSDF2 patch does. */
export function isBsdf2(bytes: Uint8Array): boolean {
  return BSDF2_MAGIC.every((b, i) => bytes[i] === b);
}

/** @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER */
export async function readBsdf2Header(patch: RandomReader): Promise<Bsdf2Header> {
  const head = await patch.read(0, Math.min(patch.size, BSDF2_HEADER_SIZE));
  if (!isBsdf2(head)) {
    throw new OtaError("BSDIFF_MAGIC", { what: "not a BSDF2 patch", where: "0x0", expected: "BSDF2" });
  }
  const bad = (what: string, at: number, found?: number): OtaError =>
    new OtaError("BSDIFF_HEADER", { what, where: hexOffset(at), ...(found === undefined ? {} : { found }) });
  if (head.length < BSDF2_HEADER_SIZE) throw bad("the patch is cut short in its header", head.length);
  const compression = [5, 6, 7].map((at) => {
    const name = NAMES[head[at] as number];
    if (name === undefined) throw bad("a stream has an unknown compression", at, head[at]);
    return name;
  }) as [Bsdf2Compression, Bsdf2Compression, Bsdf2Compression];
  const [controlSize, diffSize, newSize] = [8, 16, 24].map((at) => {
    const value = readOffset(head, at);
    if (!(value >= 0)) throw bad("a size is negative or beyond 2^53-1", at);
    return value;
  }) as [number, number, number];
  const room = patch.size - BSDF2_HEADER_SIZE;
  if (controlSize > room || diffSize > room - controlSize) {
    throw bad("the streams reach past the end of the patch", 8, controlSize + diffSize);
  }
  return { compression, controlSize, diffSize, newSize };
}

/** Header bytes; the streams follow in the order control, difference, extra. */
export function writeBsdf2Header(header: Bsdf2Header): Uint8Array {
  const out = new Uint8Array(BSDF2_HEADER_SIZE);
  out.set(BSDF2_MAGIC);
  header.compression.forEach((name, i) => (out[5 + i] = BSDF2_COMPRESSION[name]));
  writeOffset(out, 8, header.controlSize);
  writeOffset(out, 16, header.diffSize);
  writeOffset(out, 24, header.newSize);
  return out;
}

export interface Bsdf2Options {
  readonly codecs: Pick<Codecs, "brotliDecompress">;
  readonly cancel?: Cancel;
}

/**
 * The new file that `patch` makes of `old`, in order, checked while it is made: for callers who can throw away what they
 * got. Bytes taken from outside old count as 0.
 * @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER, BSDIFF_CONTROL, BSDIFF_STREAM, CODEC_DAMAGED, CODEC_BOMB, CANCELLED
 */
export async function* applyBsdf2(old: RandomReader, patch: RandomReader, options: Bsdf2Options): ByteStream {
  const header = await readBsdf2Header(patch);
  const { newSize } = header;
  // Triples that make bytes are at most newSize, and as many may only seek (ControlChecker).
  const limits = [24 * (2 * newSize + 2), newSize, newSize];
  const sizes = [
    header.controlSize,
    header.diffSize,
    patch.size - BSDF2_HEADER_SIZE - header.controlSize - header.diffSize,
  ];
  let from = BSDF2_HEADER_SIZE;
  const [control, diff, extra] = sizes.map((size, i) => {
    const packed = streamRange(sliceReader(patch, from, size), 0, size, 65536);
    from += size;
    const most = limits[i] as number;
    // An empty stream is written as no bytes at all by some makers, whatever its compression says.
    if (size === 0 || header.compression[i] === "none") return new StreamTaker(packed);
    if (header.compression[i] === "bzip2") return new StreamTaker(decompressBzip2(packed, most));
    return new StreamTaker(options.codecs.brotliDecompress(packed, most));
  }) as [StreamTaker, StreamTaker, StreamTaker];
  const ended = (name: string): OtaError => new OtaError("BSDIFF_STREAM", `the ${name} stream ends early`);
  const position = new ControlChecker(newSize);
  try {
    while (position.newPosition < newSize) {
      checkCancel(options.cancel);
      const bytes = await control.take(24);
      if (bytes.length < 24) throw ended("control");
      const triple = { add: readOffset(bytes, 0), copy: readOffset(bytes, 8), seek: readOffset(bytes, 16) };
      let at = position.oldPosition;
      position.check(triple);
      for (let left = triple.add; left > 0;) {
        const n = Math.min(left, STEP);
        const part = (await diff.take(n)).slice();
        if (part.length < n) throw ended("difference");
        const start = Math.max(0, Math.min(old.size, at));
        const end = Math.max(start, Math.min(old.size, at + n));
        if (end > start) {
          const base = await old.read(start, end - start);
          const shift = start - at;
          for (let i = 0; i < base.length; i++) part[shift + i] = (part[shift + i] as number) + (base[i] as number);
        }
        at += n;
        left -= n;
        yield part;
      }
      for (let left = triple.copy; left > 0;) {
        const part = await extra.take(Math.min(left, STEP));
        if (part.length === 0) throw ended("extra");
        left -= part.length;
        yield part;
      }
    }
    for (const [name, stream] of [
      ["control", control] as const,
      ["difference", diff] as const,
      ["extra", extra] as const,
    ]) {
      if (!(await stream.atEnd())) {
        throw new OtaError("BSDIFF_STREAM", `the ${name} stream goes on behind the end of the new file`);
      }
    }
  } finally {
    for (const stream of [control, diff, extra]) await stream.close();
  }
}
