/**
 * A signature inside a gzip file: the extra field of the first member's header (RFC 1952, FLG.FEXTRA), subfield `OF`.
 * Every gunzip skips it, so stock tools see the same package. Coverage `gzip-without-extra`: the digest is over the file as
 * it was before the field was put in, that is with FEXTRA clear and the field gone.
 */
import { concatBytes, readU16, writeU16 } from "../core/bytes.ts";
import { editedReader, type Edit } from "../core/edits.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";

/** Bytes of a gzip header before its optional parts. */
const HEADER_SIZE = 10;
const FEXTRA = 4;
/** Subfield id, two letters as RFC 1952 section 2.3.1.1 wants. */
const SUBFIELD = [0x4f, 0x46] as const;
/** The extra field's length is 16 bits, and a subfield has a head of 4 bytes. */
export const MOST_EMBEDDED_BYTES = 0xffff - 4;
/** First bytes of a gzip file in which an embedded signature ends. */
export const GZIP_SEAL_HEAD = HEADER_SIZE + 2 + 0xffff;
/** Blocks of a manifest that fits: a digest is 57 bytes of it, and 4 KiB are left for names and signatures. */
export const MOST_EMBEDDED_BLOCKS = 1024;

export interface GzipEmbedding {
  /** What the subfield holds; absent when there is none. */
  readonly embedded?: Uint8Array;
  /** From the file to the file as it is without the subfield. */
  readonly edits: readonly Edit[];
}

/**
 * The embedded bytes of a gzip file. Only a field that holds nothing else is ours. `begin` holds the file's first bytes: up to
 * {@link GZIP_SEAL_HEAD}, less only when the file is smaller.
 */
export function readGzipSeal(begin: Uint8Array): GzipEmbedding {
  if (begin.length < HEADER_SIZE + 6) return { edits: [] };
  const extraSize = readU16(begin, HEADER_SIZE);
  const flags = begin[3] as number;
  const end = HEADER_SIZE + 2 + extraSize;
  const ours =
    begin[0] === 0x1f &&
    begin[1] === 0x8b &&
    (flags & FEXTRA) !== 0 &&
    begin[HEADER_SIZE + 2] === SUBFIELD[0] &&
    begin[HEADER_SIZE + 3] === SUBFIELD[1] &&
    readU16(begin, HEADER_SIZE + 4) === extraSize - 4 &&
    end <= begin.length;
  if (!ours) return { edits: [] };
  return {
    embedded: concatBytes(begin.subarray(HEADER_SIZE + 6, end)),
    edits: [
      { offset: 3, length: 1, bytes: Uint8Array.of(flags & ~FEXTRA) },
      { offset: HEADER_SIZE, length: 2 + extraSize, bytes: new Uint8Array(0) },
    ],
  };
}

/** {@link readGzipSeal} of a file, and the file without the subfield. */
export async function readGzipEmbedding(file: RandomReader): Promise<GzipEmbedding & { readonly bare: RandomReader }> {
  const seal = readGzipSeal(await file.read(0, Math.min(file.size, GZIP_SEAL_HEAD)));
  return { ...seal, bare: editedReader(file, seal.edits) };
}

/** The gzip file `bare` with `embedded` in its header. @throws OtaError TRUST_NO_ROOM */
export async function* embedInGzip(bare: RandomReader, embedded: Uint8Array): ByteStream {
  const header = (await bare.read(0, HEADER_SIZE)).slice();
  if (header[0] !== 0x1f || header[1] !== 0x8b || ((header[3] as number) & FEXTRA) !== 0) {
    throw new OtaError("TRUST_NO_ROOM", "only a gzip file without an extra field of its own can carry a signature");
  }
  if (embedded.length > MOST_EMBEDDED_BYTES) {
    throw new OtaError("TRUST_NO_ROOM", {
      what: "the signature does not fit into a gzip header",
      expected: `at most ${MOST_EMBEDDED_BYTES} bytes`,
      found: embedded.length,
      hint: "Sign with a detached manifest (the default).",
    });
  }
  header[3] = (header[3] as number) | FEXTRA;
  const field = new Uint8Array(6);
  writeU16(field, 0, embedded.length + 4);
  field.set(SUBFIELD, 2);
  writeU16(field, 4, embedded.length);
  yield concatBytes(header, field, embedded);
  yield* streamRange(bare, HEADER_SIZE);
}
