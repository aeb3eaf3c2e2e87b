/**
 * A signature inside a gzip file: the extra field of the first member's header (RFC 1952, FLG.FEXTRA), subfield `OF`.
 * Every gunzip skips it, so stock tools see the same package. Coverage `gzip-without-extra`: the digest is over the file as
 * it was before the field was put in, that is with FEXTRA clear and the field gone.
 */
import { concatBytes, readU16, writeU16 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, RandomReader } from "../core/ports.ts";
import { checkRange, sliceReader, streamRange } from "../core/streams.ts";

/** Bytes of a gzip header before its optional parts. */
const HEADER_SIZE = 10;
const FEXTRA = 4;
/** Subfield id, two letters as RFC 1952 section 2.3.1.1 wants. */
const SUBFIELD = [0x4f, 0x46] as const;
/** The extra field's length is 16 bits, and a subfield has a head of 4 bytes. */
export const MOST_EMBEDDED_BYTES = 0xffff - 4;

export interface GzipEmbedding {
  /** What the subfield holds; absent when there is none. */
  readonly embedded?: Uint8Array;
  /** The file as it is without the subfield. */
  readonly bare: RandomReader;
}

/** Splits a gzip file into its embedded bytes and the file without them. Only a field that holds nothing else is ours. */
export async function readGzipEmbedding(file: RandomReader): Promise<GzipEmbedding> {
  if (file.size < HEADER_SIZE + 6) return { bare: file };
  const head = await file.read(0, HEADER_SIZE + 6);
  const extraSize = readU16(head, HEADER_SIZE);
  const ours =
    head[0] === 0x1f &&
    head[1] === 0x8b &&
    ((head[3] as number) & FEXTRA) !== 0 &&
    head[HEADER_SIZE + 2] === SUBFIELD[0] &&
    head[HEADER_SIZE + 3] === SUBFIELD[1] &&
    readU16(head, HEADER_SIZE + 4) === extraSize - 4 &&
    HEADER_SIZE + 2 + extraSize <= file.size;
  if (!ours) return { bare: file };
  const embedded = await file.read(HEADER_SIZE + 6, extraSize - 4);
  const header = head.slice(0, HEADER_SIZE);
  header[3] = (header[3] as number) & ~FEXTRA;
  const restOffset = HEADER_SIZE + 2 + extraSize;
  const rest = sliceReader(file, restOffset, file.size - restOffset);
  const size = HEADER_SIZE + rest.size;
  return {
    embedded,
    bare: {
      size,
      async read(offset, length) {
        checkRange(size, offset, length);
        const fromHead = header.subarray(offset, offset + length);
        if (fromHead.length === length) return fromHead;
        const restAt = Math.max(0, offset - HEADER_SIZE);
        return concatBytes(fromHead, await rest.read(restAt, length - fromHead.length));
      },
    },
  };
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
