/** Looks through a whole image in one pass, as far as it can be read: what `kdimg info` and `otaforge inspect` show. */
import { concatBytes, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { ByteStream, Digest, Digests } from "../core/ports.ts";
import { StreamTaker } from "../core/streams.ts";
import {
  checkContentDigest,
  contentEnd,
  decodeKdimgHeader,
  decodePart,
  decodePartTable,
  paddedEnd,
  truncated,
} from "./kdimg.ts";
import type { KdimgPart } from "./kdimg.ts";
import { FIRMWARE_HEADER_SIZE, KDIMG_ENTRY_SIZE, KDIMG_HEADER, KDIMG_HEADER_SIZE, KDIMG_MAGIC } from "./layouts.ts";
import type { KdimgHeader } from "./layouts.ts";

export interface ScannedPart extends KdimgPart {
  /** The content is there and fits its digest. */
  readonly dataOk: boolean;
  /** First bytes of the content, at most those of a firmware header. */
  readonly head: Uint8Array;
}

export interface KdimgScan {
  readonly header?: KdimgHeader;
  readonly parts: readonly ScannedPart[];
  readonly tableEnd: number;
  /** Bytes of the file. */
  readonly size: number;
  /** Hex SHA-256 of header and part table, which tells images apart; empty when they are not complete. */
  readonly imageId: string;
  /** Everything that is wrong, in the order it was met. */
  readonly problems: readonly OtaError[];
}

/** A part table longer than this is shown no further, bytes. */
const MAX_TABLE = 64 * 1024 * 1024;

class PartScan {
  readonly part: KdimgPart;
  readonly #digest: Digest;
  readonly #head: Uint8Array[] = [];
  #headSize = 0;
  #seen = 0;

  constructor(part: KdimgPart, digests: Digests) {
    this.part = part;
    this.#digest = digests.create("sha256");
  }

  take(at: number, bytes: Uint8Array): void {
    const { contentOffset, contentSize } = this.part;
    const from = Math.max(at, contentOffset);
    const to = Math.min(at + bytes.length, contentOffset + contentSize);
    if (from >= to) return;
    const piece = bytes.subarray(from - at, to - at);
    this.#digest.update(piece);
    this.#seen += piece.length;
    if (this.#headSize < FIRMWARE_HEADER_SIZE) {
      const first = piece.subarray(0, FIRMWARE_HEADER_SIZE - this.#headSize);
      this.#head.push(concatBytes(first));
      this.#headSize += first.length;
    }
  }

  end(size: number, problems: OtaError[]): ScannedPart {
    const { part } = this;
    const head = concatBytes(...this.#head);
    const found = this.#digest.digest();
    if (this.#seen < part.contentSize) {
      const end = part.contentOffset + part.contentSize;
      problems.push(truncated(end, size, `the image ends inside the content of ${printable(part.name)}`));
      return { ...part, dataOk: false, head };
    }
    try {
      checkContentDigest(part, found);
      return { ...part, dataOk: true, head };
    } catch (e) {
      problems.push(asOtaError(e));
      return { ...part, dataOk: false, head };
    }
  }
}

function asOtaError(e: unknown): OtaError {
  if (e instanceof OtaError) return e;
  throw e;
}

/** Runs a strict reader; what it throws is noted, and the lax one is used. */
function lax<T>(problems: OtaError[], strict: () => T, otherwise: () => T): T {
  try {
    return strict();
  } catch (e) {
    problems.push(asOtaError(e));
    return otherwise();
  }
}

function readableHeader(bytes: Uint8Array): KdimgHeader | undefined {
  if (bytes.length < KDIMG_HEADER_SIZE) return undefined;
  const header = KDIMG_HEADER.decode(bytes);
  return header.magic === KDIMG_MAGIC ? header : undefined;
}

/**
 * Everything that can be read of an image; damage is listed, not thrown.
 * @throws OtaError DEVICE_*, READ_PAST_END when the source itself fails
 */
export async function scanKdimg(stream: ByteStream, digests: Digests): Promise<KdimgScan> {
  const problems: OtaError[] = [];
  const taker = new StreamTaker(stream);
  const crc = (b: Uint8Array): number => digests.crc32(b);
  const head = await taker.take(KDIMG_HEADER_SIZE);
  const header = lax(
    problems,
    () => {
      if (
        head.length < KDIMG_HEADER_SIZE &&
        head.length >= 4 &&
        KDIMG_HEADER.fields.magic.get(head, 0) === KDIMG_MAGIC
      ) {
        throw truncated(KDIMG_HEADER_SIZE, head.length);
      }
      return decodeKdimgHeader(head, crc);
    },
    () => readableHeader(head),
  );
  if (header === undefined) {
    await taker.close();
    return { parts: [], tableEnd: 0, size: head.length, imageId: "", problems };
  }
  const tableSize = header.partCount * KDIMG_ENTRY_SIZE;
  const table = await taker.take(Math.min(tableSize, MAX_TABLE));
  const parts =
    table.length < tableSize
      ? []
      : lax(
          problems,
          () => decodePartTable(header, table, crc),
          () => readableParts(header, table),
        );
  if (table.length < tableSize) {
    problems.push(truncated(KDIMG_HEADER_SIZE + tableSize, taker.offset, "the image ends inside its part table"));
  }
  const tableEnd = KDIMG_HEADER_SIZE + tableSize;
  const scans = parts.map((part) => new PartScan(part, digests));
  // Third-party writers may lay contents anywhere, over the table too.
  for (const scan of scans) {
    scan.take(0, head);
    scan.take(KDIMG_HEADER_SIZE, table);
  }
  let at = taker.offset;
  for await (const bytes of taker.pass(Number.MAX_SAFE_INTEGER)) {
    for (const scan of scans) scan.take(at, bytes);
    at += bytes.length;
  }
  const id = digests.create("sha256");
  id.update(head);
  id.update(table);
  const imageId = table.length < tableSize ? "" : toHex(id.digest());
  return { header, parts: scans.map((s) => s.end(at, problems)), tableEnd, size: at, imageId, problems };
}

function readableParts(header: KdimgHeader, table: Uint8Array): KdimgPart[] {
  const parts: KdimgPart[] = [];
  for (let i = 0; i < header.partCount; i++) {
    const part = decodePart(table, i, header.version);
    if (part !== undefined) parts.push(part);
  }
  return parts;
}

/** Bytes behind the last content and its padding. */
export function trailingBytes(scan: KdimgScan): number {
  if (scan.header === undefined) return 0;
  const image = { header: scan.header, parts: scan.parts, tableEnd: scan.tableEnd };
  return scan.size <= contentEnd(image) ? 0 : Math.max(0, scan.size - paddedEnd(image));
}
