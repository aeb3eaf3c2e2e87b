/**
 * A package read twice from one open file: once to prove it, once to act.
 *
 * The first pass checks everything the format can say (`read.ts`) and keeps a SHA-256 of every 256 KiB of every payload. In
 * the second pass each piece is compared with its digest before anybody sees it, so a file that is replaced, rewritten or
 * truncated in between never gets a byte onto a target. A compressed package is unpacked twice.
 */
import { concatBytes, equalBytes, hexOffset, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Codecs, Digests, RandomReader } from "../../core/ports.ts";
import { StreamTaker, readReusing, streamRange } from "../../core/streams.ts";
import type { Destination, Generation, PackageHeader, RecordHead } from "../layout.ts";
import { readPackage } from "../read.ts";

/** Bytes of one checked piece: large enough to be cheap, small enough to be held a few times on any board. */
export const PIECE = 256 * 1024;

/** Bytes a compressed package may unpack to at most; the sizes in its header stop it long before. */
const MAX_PLAIN_BYTES = 2 ** 42;

/** Where a package is read from. */
export interface PackageSource {
  /** One open file. It is not opened a second time. */
  readonly file: RandomReader;
  /** `gzip`: unpacked on the way; `plain`; `detect` looks at the first two bytes. */
  readonly compression: "gzip" | "plain" | "detect";
  /** Nobody else can change the bytes (they lie in this program's memory): the second reading needs no digest. */
  readonly unchangeable?: boolean;
}

/** A record whose payload was checked. */
export interface VerifiedRecord {
  readonly index: number;
  readonly head: RecordHead;
  readonly destinations: readonly Destination[];
  /** Offset of the payload in the plain package. */
  readonly payloadOffset: number;
  /** SHA-256 of every {@link PIECE} of the payload, one behind the other. */
  readonly pieces: Uint8Array;
}

/** A package that was read completely and found whole. */
export interface VerifiedPackage {
  readonly source: PackageSource;
  readonly compressed: boolean;
  readonly generation: Generation;
  readonly header: PackageHeader;
  readonly beginScript: Uint8Array;
  readonly endScript: Uint8Array;
  readonly records: readonly VerifiedRecord[];
  /** Hex SHA-256 over header, scripts, record heads and payload pieces: which package this is. */
  readonly id: string;
}

/** The package's bytes. Of an uncompressed one every chunk is valid until the next is asked for. */
function plainStream(source: PackageSource, compressed: boolean, codecs: Codecs): ByteStream {
  return compressed ? codecs.gunzip(streamRange(source.file), MAX_PLAIN_BYTES) : reusedStream(source.file);
}

async function* reusedStream(reader: RandomReader): ByteStream {
  const buffer = new Uint8Array(Math.min(PIECE, reader.size));
  for (let at = 0; at < reader.size; at += PIECE) {
    yield await readReusing(reader, at, Math.min(PIECE, reader.size - at), buffer);
  }
}

async function isCompressed(source: PackageSource): Promise<boolean> {
  if (source.compression !== "detect") return source.compression === "gzip";
  if (source.file.size < 2) return false;
  const magic = await source.file.read(0, 2);
  return magic[0] === 0x1f && magic[1] === 0x8b;
}

export interface VerifyOptions {
  readonly cancel?: Cancel;
  readonly onProgress?: (doneBytes: number, totalBytes: number, recordIndex: number, recordCount: number) => void;
}

/** Digests of a payload's pieces, whatever the sizes of the chunks it comes in. */
async function digestPieces(payload: ByteStream, digests: Digests, onBytes: (n: number) => void): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let digest = digests.create("sha256");
  let filled = 0;
  for await (const chunk of payload) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + PIECE - filled);
      digest.update(part);
      filled += part.length;
      at += part.length;
      if (filled === PIECE) {
        pieces.push(digest.digest());
        digest = digests.create("sha256");
        filled = 0;
      }
    }
    onBytes(chunk.length);
  }
  if (filled > 0) pieces.push(digest.digest());
  return concatBytes(...pieces);
}

/**
 * Reads a package completely and checks everything in it; nothing is acted on.
 *
 * @throws OtaError SIGMASTAR_* of the reader, CODEC_DAMAGED for cut, damaged or followed-by-garbage gzip
 */
export async function verifySource(
  source: PackageSource,
  ports: { readonly digests: Digests; readonly codecs: Codecs },
  options: VerifyOptions = {},
): Promise<VerifiedPackage> {
  const { digests, codecs } = ports;
  const compressed = await isCompressed(source);
  const reader = await readPackage(plainStream(source, compressed, codecs), digests, {
    ...(compressed ? {} : { sizeBytes: source.file.size }),
    ...(options.cancel === undefined ? {} : { cancel: options.cancel }),
  });
  try {
    const { header } = reader;
    const id = digests.create("sha256");
    id.update(reader.headerBytes);
    id.update(reader.beginScript);
    id.update(reader.endScript);
    const records: VerifiedRecord[] = [];
    let done = 0;
    options.onProgress?.(0, header.totalSize, 0, header.recordCount);
    for await (const record of reader.records()) {
      const pieces = await digestPieces(record.payload, digests, (n) => {
        done += n;
        options.onProgress?.(done, header.totalSize, record.index, header.recordCount);
      });
      id.update(record.headBytes);
      id.update(pieces);
      const { index, head, destinations, payloadOffset } = record;
      records.push({ index, head, destinations, payloadOffset, pieces });
    }
    return {
      source,
      compressed,
      generation: reader.generation,
      header,
      beginScript: reader.beginScript,
      endScript: reader.endScript,
      records,
      id: toHex(id.digest()),
    };
  } finally {
    await reader.close();
  }
}

/** Number of pieces of a payload. */
export function pieceCount(record: VerifiedRecord): number {
  return record.pieces.length / 32;
}

/** SHA-256 that piece `i` must have. */
export function pieceDigest(record: VerifiedRecord, i: number): Uint8Array {
  return record.pieces.subarray(32 * i, 32 * i + 32);
}

/** Length of piece `i`, bytes. */
export function pieceLength(record: VerifiedRecord, i: number): number {
  return Math.min(PIECE, record.head.fileSize - i * PIECE);
}

export function sha256(digests: Digests, ...parts: readonly Uint8Array[]): Uint8Array {
  const digest = digests.create("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest();
}

/** The second reading: payloads by record, in any order (a compressed package is unpacked again to go back). */
export interface PayloadAccess {
  /**
   * The payload in pieces of exactly {@link PIECE} bytes, the last one shorter; each is checked before it is given out, and
   * valid until the next one is asked for.
   */
  stream(record: VerifiedRecord): ByteStream;
  /** The payload at any offset, where that is possible without unpacking: uncompressed packages only. */
  reader(record: VerifiedRecord): RandomReader | undefined;
  close(): Promise<void>;
}

/** Opens the second reading of a verified package. */
export function openPayloads(
  pkg: VerifiedPackage,
  ports: { readonly digests: Digests; readonly codecs: Codecs },
): PayloadAccess {
  const { source } = pkg;
  const trusted = source.unchangeable === true;
  let taker: StreamTaker | undefined;

  function check(record: VerifiedRecord, i: number, bytes: Uint8Array): Uint8Array {
    const whole = bytes.length === pieceLength(record, i);
    if (whole && (trusted || equalBytes(sha256(ports.digests, bytes), pieceDigest(record, i)))) return bytes;
    throw new OtaError("SIGMASTAR_CHANGED", {
      what: "the package was changed after it had been checked",
      where: `record ${record.index}, payload offset ${hexOffset(i * PIECE)}`,
      hint: "Keep the file as it is while it is installed, and run the command again.",
    });
  }

  async function plainPiece(record: VerifiedRecord, i: number, buffer: Uint8Array): Promise<Uint8Array> {
    const offset = record.payloadOffset + i * PIECE;
    const length = pieceLength(record, i);
    let bytes: Uint8Array;
    try {
      bytes = await readReusing(source.file, offset, length, buffer);
    } catch (e) {
      // The size was right in the first pass: a file cut short since then was changed.
      if (e instanceof OtaError && e.code === "READ_PAST_END") bytes = new Uint8Array(0);
      else throw e;
    }
    return check(record, i, bytes);
  }

  /** Memory for a piece, where the file can be read into it. */
  function pieceBuffer(record: VerifiedRecord): Uint8Array {
    const useful = !pkg.compressed && source.file.readInto !== undefined;
    return new Uint8Array(useful ? Math.min(PIECE, record.head.fileSize) : 0);
  }

  async function seek(offset: number): Promise<StreamTaker> {
    if (taker !== undefined && taker.offset > offset) {
      await taker.close();
      taker = undefined;
    }
    taker ??= new StreamTaker(plainStream(source, true, ports.codecs));
    for await (const _ of taker.pass(offset - taker.offset));
    return taker;
  }

  return {
    async *stream(record) {
      const buffer = pieceBuffer(record);
      for (let i = 0; i < pieceCount(record); i++) {
        if (!pkg.compressed) {
          yield await plainPiece(record, i, buffer);
          continue;
        }
        const at = await seek(record.payloadOffset + i * PIECE);
        yield check(record, i, await at.take(pieceLength(record, i)));
      }
    },
    reader(record) {
      if (pkg.compressed) return undefined;
      const buffer = pieceBuffer(record);
      let held: { readonly i: number; readonly bytes: Uint8Array } | undefined;
      return {
        size: record.head.fileSize,
        async read(offset, length) {
          const parts: Uint8Array[] = [];
          for (let at = offset; at < offset + length;) {
            const i = Math.floor(at / PIECE);
            if (held?.i !== i) held = { i, bytes: await plainPiece(record, i, buffer) };
            const part = held.bytes.subarray(at - i * PIECE, offset + length - i * PIECE);
            if (part.length === 0) throw new OtaError("READ_PAST_END", "read reaches past the end of the payload");
            parts.push(part.slice());
            at += part.length;
          }
          return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts);
        },
      };
    },
    async close() {
      await taker?.close();
      taker = undefined;
    },
  };
}
