/**
 * Reading SigmaStar packages: one forward pass over any byte stream, everything checked on the way (specification sections
 * 1 and 2), bounded memory, total on any bytes.
 *
 * What is proven when: the header and both scripts before {@link readPackage} returns; a record's payload (and, in v1.6, its
 * head) when its payload stream has ended; the package as a whole when `records()` has ended. An installer therefore runs
 * over the package once without acting (`verifyPackage`), and a second time over the same open file to act.
 */
import { equalBytes, hexOffset, readU32, toHex } from "../core/bytes.ts";
import { byteSum } from "../core/checksums.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Cancel, Digests, RandomReader } from "../core/ports.ts";
import { StreamTaker, checkCancel, streamRange } from "../core/streams.ts";
import { headerSum, md5Of } from "./integrity.ts";
import { FORMATS, MAX_DESTINATIONS, OPT, destinationsOf, operationOf } from "./layout.ts";
import type { Destination, Generation, GenerationFormat, PackageHeader, RecordHead } from "./layout.ts";

/** Largest begin or end script: scripts are held in memory to be given to `sh` at once. */
export const MAX_SCRIPT_BYTES = 16 * 1024 * 1024;

/** Most records of a package: far beyond any real device, small enough to hold every head in memory. */
export const MAX_RECORDS = 65_536;

const LONGEST_HEADER = 128;

export interface ReadOptions {
  /** Size of the plain package where it is known: sizes that reach past it are refused at once. */
  readonly sizeBytes?: number;
  readonly cancel?: Cancel;
}

/** A record as it comes by. */
export interface PackageRecord {
  /** 0-based number. */
  readonly index: number;
  /** Offset of the head in the plain package. */
  readonly offset: number;
  readonly payloadOffset: number;
  readonly head: RecordHead;
  readonly headBytes: Uint8Array;
  readonly destinations: readonly Destination[];
  /**
   * The payload, once, before the next record is asked for; what is left unread is read and checked then. Throws
   * SIGMASTAR_TRUNCATED or SIGMASTAR_RECORD_DAMAGED instead of ending when the payload is not what the head promises.
   */
  readonly payload: ByteStream;
}

export interface PackageReader {
  readonly generation: Generation;
  readonly format: GenerationFormat;
  readonly header: PackageHeader;
  readonly headerBytes: Uint8Array;
  readonly beginScript: Uint8Array;
  readonly endScript: Uint8Array;
  /** The records in order, once. Ending without an error proves counts, total size, every check value and that nothing follows. */
  records(): AsyncGenerator<PackageRecord, void, void>;
  /** Tells the source that nothing more is wanted. */
  close(): Promise<void>;
}

function truncated(what: string, offset: number, missing: { expected: number; found: number }): OtaError {
  return new OtaError("SIGMASTAR_TRUNCATED", {
    what: `the package ends inside ${what}`,
    where: `offset ${hexOffset(offset)}`,
    expected: `${missing.expected} bytes`,
    found: missing.found,
    hint: "Copy or download it again.",
  });
}

function checkRoom(options: ReadOptions, what: string, offset: number, need: number): void {
  const { sizeBytes } = options;
  if (sizeBytes !== undefined && offset + need > sizeBytes) {
    throw truncated(what, offset, { expected: need, found: Math.max(0, sizeBytes - offset) });
  }
}

async function takeExactly(taker: StreamTaker, what: string, length: number): Promise<Uint8Array> {
  const offset = taker.offset;
  const bytes = await taker.take(length);
  if (bytes.length < length) throw truncated(what, offset, { expected: length, found: bytes.length });
  return bytes;
}

function notPackage(first: Uint8Array): OtaError {
  const gzip = first[0] === 0x1f && first[1] === 0x8b;
  const blank = first.length < 20;
  return new OtaError("SIGMASTAR_NOT_PACKAGE", {
    what: "no SigmaStar package, or its header is damaged",
    where: "offset 0x0",
    expected: "a v0.2, v0.3, v0.4 or v1.6 header",
    found: blank ? `${first.length} bytes` : toHex(first.subarray(0, 16)),
    ...(gzip ? { hint: "It is gzip data; unpack it first." } : {}),
  });
}

/** The generation whose header the first bytes may be (section 1.2); undefined: v0.2 or nothing. */
function candidate(first: Uint8Array, digests: Digests): Generation | undefined {
  if (first.length >= LONGEST_HEADER) {
    const longest = first.subarray(0, LONGEST_HEADER);
    if (equalBytes(md5Of(digests, longest.subarray(16)), longest.subarray(0, 16))) {
      const major = readU32(first, 32);
      const minor = readU32(first, 36);
      if (major === 1 && minor === 6) return "v1.6";
      throw new OtaError("SIGMASTAR_GENERATION_UNSUPPORTED", {
        what: "the layout of this package version is not known",
        where: "offset 0x20",
        expected: "1.6",
        found: `${major}.${minor}`,
      });
    }
  }
  if (first.length >= 20 && readU32(first, 4) === 0) {
    if (readU32(first, 8) === 4) return "v0.4";
    if (readU32(first, 8) === 3) return "v0.3";
  }
  return undefined;
}

/** Bytes that are v1.6 in everything but their digest: worth a better message than "no package". */
function looksLikeV16(first: Uint8Array): boolean {
  return (
    first.length >= LONGEST_HEADER && readU32(first, 32) === 1 && readU32(first, 36) === 6 && readU32(first, 44) === 0
  );
}

/**
 * Whether bytes may begin a SigmaStar package, for telling families apart: v1.6 by its digest, v0.3 and v0.4 by their
 * version and sizes, v0.2 (which has no magic) only when `bytes` hold header and scripts and the sum is right.
 */
export function detectGeneration(bytes: Uint8Array, digests: Digests): Generation | undefined {
  let generation: Generation | undefined;
  try {
    generation = candidate(bytes, digests);
  } catch {
    return undefined;
  }
  if (generation === "v1.6") return generation;
  const format = FORMATS[generation ?? "v0.2"];
  if (bytes.length < format.headerSize) return undefined;
  let header: PackageHeader;
  try {
    header = format.decodeHeader(bytes);
  } catch {
    return undefined;
  }
  const beginEnd = format.headerSize + header.beginScriptSize;
  const end = beginEnd + header.endScriptSize;
  if (end > bytes.length) {
    return generation !== undefined &&
      header.beginScriptSize <= MAX_SCRIPT_BYTES &&
      header.endScriptSize <= MAX_SCRIPT_BYTES
      ? generation
      : undefined;
  }
  const sum = byteSum(bytes.subarray(format.headerSize, end), byteSum(bytes.subarray(4, format.headerSize)));
  return sum === header.checkSum ? format.generation : undefined;
}

interface Opening {
  readonly format: GenerationFormat;
  readonly headerBytes: Uint8Array;
  readonly header: PackageHeader;
  readonly beginScript: Uint8Array;
  readonly endScript: Uint8Array;
}

async function openAs(taker: StreamTaker, generation: Generation, options: ReadOptions): Promise<Opening> {
  const format = FORMATS[generation];
  checkRoom(options, "the header", 0, format.headerSize);
  const headerBytes = (await takeExactly(taker, "the header", format.headerSize)).slice();
  const header = format.decodeHeader(headerBytes);
  const scripts: Uint8Array[] = [];
  for (const [what, size] of [
    ["the begin script", header.beginScriptSize],
    ["the end script", header.endScriptSize],
  ] as const) {
    checkRoom(options, what, taker.offset, size);
    if (size > MAX_SCRIPT_BYTES) {
      throw new OtaError("SIGMASTAR_SCRIPT_TOO_LARGE", {
        what: `${what} is too large`,
        where: `offset ${hexOffset(taker.offset)}`,
        expected: `at most ${MAX_SCRIPT_BYTES} bytes`,
        found: size,
      });
    }
    scripts.push((await takeExactly(taker, what, size)).slice());
  }
  const [beginScript, endScript] = scripts as [Uint8Array, Uint8Array];
  return { format, headerBytes, header, beginScript, endScript };
}

function checkOpening(digests: Digests, o: Opening): void {
  const { header, headerBytes, beginScript, endScript } = o;
  if (o.format.integrity === "sum") {
    const sum = headerSum(headerBytes, beginScript, endScript);
    if (sum !== header.checkSum) {
      throw new OtaError("SIGMASTAR_HEADER_DAMAGED", {
        what: `the checksum of the ${header.generation} header and scripts is wrong`,
        where: "offset 0x0",
        expected: hexOffset(header.checkSum ?? 0),
        found: hexOffset(sum),
      });
    }
    return;
  }
  const md5 = toHex(md5Of(digests, beginScript, endScript));
  const expected = toHex(header.scriptMd5 ?? new Uint8Array(0));
  if (md5 !== expected) {
    throw new OtaError("SIGMASTAR_SCRIPTS_DAMAGED", {
      what: "the MD5 of the begin and end script is wrong",
      where: `offset ${hexOffset(o.format.headerSize)}`,
      expected,
      found: md5,
    });
  }
}

/** A stream that gives `first`, then the rest of `taker`. */
async function* putBack(first: Uint8Array, taker: StreamTaker): ByteStream {
  if (first.length > 0) yield first;
  yield* taker.pass(Number.POSITIVE_INFINITY);
}

/**
 * Opens a package: finds the generation and checks the header and both scripts. The source is read forward only, once.
 *
 * @throws OtaError SIGMASTAR_NOT_PACKAGE, SIGMASTAR_GENERATION_UNSUPPORTED, SIGMASTAR_HEADER_DAMAGED,
 *   SIGMASTAR_SCRIPTS_DAMAGED, SIGMASTAR_SCRIPT_TOO_LARGE, SIGMASTAR_TRUNCATED, LAYOUT_SIZE_UNSAFE
 */
export async function readPackage(
  source: ByteStream,
  digests: Digests,
  options: ReadOptions = {},
): Promise<PackageReader> {
  const outer = new StreamTaker(source);
  try {
    const first = (await outer.take(LONGEST_HEADER)).slice();
    const taker = new StreamTaker(putBack(first, outer));
    let opening: Opening;
    const known = candidate(first, digests);
    if (known !== undefined) {
      opening = await openAs(taker, known, options);
      checkOpening(digests, opening);
    } else {
      opening = await openV02(first, taker, digests, options);
    }
    return makeReader(opening, taker, { digests, options, outer });
  } catch (e) {
    await outer.close();
    throw e;
  }
}

/** v0.2 has no magic: whatever fails while opening means that it is none, or damaged beyond telling. */
async function openV02(
  first: Uint8Array,
  taker: StreamTaker,
  digests: Digests,
  options: ReadOptions,
): Promise<Opening> {
  let reason: OtaError;
  try {
    const opening = await openAs(taker, "v0.2", options);
    checkOpening(digests, opening);
    return opening;
  } catch (e) {
    if (!(e instanceof OtaError) || !e.code.startsWith("SIGMASTAR_")) throw e;
    reason = e;
  }
  if (looksLikeV16(first)) {
    throw new OtaError("SIGMASTAR_HEADER_DAMAGED", {
      what: "the MD5 of the v1.6 header is wrong",
      where: "offset 0x0",
      expected: toHex(first.subarray(0, 16)),
      found: toHex(md5Of(digests, first.subarray(16, LONGEST_HEADER))),
    });
  }
  const error = notPackage(first);
  throw new OtaError(error.code, error.details, reason);
}

function badField(
  index: number,
  offset: number,
  d: { what: string; expected: string | number; found: string | number },
) {
  return new OtaError("SIGMASTAR_RECORD_INVALID", {
    what: d.what,
    where: `record ${index}, head at ${hexOffset(offset)}`,
    expected: d.expected,
    found: d.found,
  });
}

/** The rules a record head keeps in every package a packer writes. */
function checkHead(format: GenerationFormat, head: RecordHead, index: number, offset: number): void {
  const operation = operationOf(head.opt);
  if (operation === undefined || (head.opt === OPT.SCRIPT_EXEC && !format.scriptRecords)) {
    const most = format.scriptRecords ? OPT.SCRIPT_EXEC : OPT.FILE_DIFF;
    throw badField(index, offset, {
      what: `the operation is unknown in ${format.generation}`,
      expected: `0 to ${most}`,
      found: head.opt,
    });
  }
  if (head.opt === OPT.FILE_DELETE && head.fileSize !== 0) {
    throw badField(index, offset, { what: "a delete record has a payload", expected: 0, found: head.fileSize });
  }
}

function makeReader(
  opening: Opening,
  taker: StreamTaker,
  port: { digests: Digests; options: ReadOptions; outer: StreamTaker },
): PackageReader {
  const { format, header } = opening;
  const { digests, options } = port;
  let started = false;

  async function* payloadOf(head: RecordHead, bytes: Uint8Array, at: { index: number; offset: number }): ByteStream {
    const sum = format.integrity === "sum";
    const digest = sum ? undefined : digests.create("md5");
    digest?.update(bytes.subarray(16));
    let total = 0;
    let left = head.fileSize;
    const start = taker.offset;
    for await (const chunk of taker.pass(left)) {
      checkCancel(options.cancel);
      if (digest === undefined) total = byteSum(chunk, total);
      else digest.update(chunk);
      left -= chunk.length;
      // The last chunk is held back until the check value is known to be right.
      if (left === 0) checkEnd(digest === undefined ? total : digest.digest());
      yield chunk;
    }
    if (left > 0) {
      const found = head.fileSize - left;
      throw truncated(`the payload of record ${at.index}`, start, { expected: head.fileSize, found });
    }
    if (head.fileSize === 0) checkEnd(digest === undefined ? total : digest.digest());

    function checkEnd(value: number | Uint8Array): void {
      const found = typeof value === "number" ? hexOffset(value) : toHex(value);
      const stored =
        typeof value === "number" ? hexOffset(head.checkSum ?? 0) : toHex(head.md5 ?? bytes.subarray(0, 16));
      if (found === stored) return;
      throw new OtaError("SIGMASTAR_RECORD_DAMAGED", {
        what: `the ${sum ? "checksum of the payload" : "MD5 of head and payload"} is wrong`,
        where: `record ${at.index}, head at ${hexOffset(at.offset)}`,
        expected: stored,
        found,
      });
    }
  }

  async function* records(): AsyncGenerator<PackageRecord, void, void> {
    if (started) throw new RangeError("records() of a package reader runs once");
    started = true;
    const { recordCount } = header;
    if (recordCount > MAX_RECORDS) {
      throw new OtaError("SIGMASTAR_TOO_MANY_RECORDS", {
        what: "too many records",
        expected: `at most ${MAX_RECORDS}`,
        found: recordCount,
      });
    }
    let payloads = 0;
    for (let index = 0; index < recordCount; index++) {
      checkCancel(options.cancel);
      const offset = taker.offset;
      const what = `the head of record ${index}`;
      checkRoom(options, what, offset, format.recordSize);
      const headBytes = (await takeExactly(taker, what, format.recordSize)).slice();
      const head = format.decodeRecord(headBytes);
      checkHead(format, head, index, offset);
      const destinations = destinationsOf(format.generation, head);
      if (destinations.length > MAX_DESTINATIONS) {
        throw badField(index, offset, {
          what: "too many destinations",
          expected: `at most ${MAX_DESTINATIONS}`,
          found: destinations.length,
        });
      }
      payloads += head.fileSize;
      if (payloads > header.totalSize) throw totalError(payloads);
      checkRoom(options, `the payload of record ${index}`, taker.offset, head.fileSize);
      const payloadOffset = taker.offset;
      const stream = payloadOf(head, headBytes, { index, offset })[Symbol.asyncIterator]();
      let taken = false;
      let failure: unknown;
      // A generator that threw is finished; the failure must not be lost when a consumer swallows it.
      const next = async (): Promise<IteratorResult<Uint8Array, unknown>> => {
        if (failure !== undefined) throw failure as Error;
        try {
          return await stream.next();
        } catch (e) {
          failure = e;
          throw e;
        }
      };
      const payload: ByteStream = {
        [Symbol.asyncIterator]() {
          if (taken) throw new RangeError("the payload of a record is read once");
          taken = true;
          // Without return(): a reader that stops early leaves the rest to the next record, which must still be checked.
          return { next };
        },
      };
      yield { index, offset, payloadOffset, head, headBytes, destinations, payload };
      while ((await next()).done !== true);
    }
    if (payloads !== header.totalSize) throw totalError(payloads);
    if (!(await taker.atEnd())) {
      throw new OtaError("SIGMASTAR_TRAILING", {
        what: "bytes follow the last record",
        where: `offset ${hexOffset(taker.offset)}`,
        expected: "the end of the package",
      });
    }
  }

  function totalError(found: number): OtaError {
    return new OtaError("SIGMASTAR_TOTAL_SIZE", {
      what: "the header's total size is not the sum of the payload sizes",
      where: "header",
      expected: header.totalSize,
      found,
    });
  }

  return {
    generation: format.generation,
    format,
    header,
    headerBytes: opening.headerBytes,
    beginScript: opening.beginScript,
    endScript: opening.endScript,
    records,
    async close() {
      await taker.close();
      await port.outer.close();
    },
  };
}

/** {@link readPackage} over something that can be read anywhere: sizes are checked against its end at once. */
export function readPackageAt(
  reader: RandomReader,
  digests: Digests,
  options: ReadOptions = {},
): Promise<PackageReader> {
  return readPackage(streamRange(reader), digests, { ...options, sizeBytes: reader.size });
}

/** What a record is and where it lies, without its payload. */
export interface RecordPlace {
  readonly index: number;
  readonly offset: number;
  readonly payloadOffset: number;
  readonly head: RecordHead;
  readonly headBytes: Uint8Array;
  readonly destinations: readonly Destination[];
}

/** A package whose structure is known. Payloads have not been read. */
export interface PackageMap {
  readonly generation: Generation;
  readonly format: GenerationFormat;
  readonly header: PackageHeader;
  readonly headerBytes: Uint8Array;
  readonly beginScript: Uint8Array;
  readonly endScript: Uint8Array;
  readonly records: readonly RecordPlace[];
  /** Where the last record ends: the size of the package. */
  readonly endOffset: number;
}

/**
 * The structure of a package, by seeking from head to head: header, scripts, counts, sizes and the end are checked; payloads
 * are neither read nor checked.
 *
 * @throws OtaError as {@link readPackage} and {@link PackageReader.records}, but never SIGMASTAR_RECORD_DAMAGED
 */
export async function mapPackage(
  reader: RandomReader,
  digests: Digests,
  options: ReadOptions = {},
): Promise<PackageMap> {
  const opened = await readPackageAt(reader, digests, options);
  await opened.close();
  const { format, header } = opened;
  const start = format.headerSize + header.beginScriptSize + header.endScriptSize;
  const limits: ReadOptions = { ...options, sizeBytes: reader.size };
  if (header.recordCount > MAX_RECORDS) {
    throw new OtaError("SIGMASTAR_TOO_MANY_RECORDS", {
      what: "too many records",
      expected: `at most ${MAX_RECORDS}`,
      found: header.recordCount,
    });
  }
  const records: RecordPlace[] = [];
  let offset = start;
  let payloads = 0;
  for (let index = 0; index < header.recordCount; index++) {
    checkRoom(limits, `the head of record ${index}`, offset, format.recordSize);
    const headBytes = (await reader.read(offset, format.recordSize)).slice();
    const head = format.decodeRecord(headBytes);
    checkHead(format, head, index, offset);
    const payloadOffset = offset + format.recordSize;
    checkRoom(limits, `the payload of record ${index}`, payloadOffset, head.fileSize);
    const destinations = destinationsOf(format.generation, head);
    records.push({ index, offset, payloadOffset, head, headBytes, destinations });
    payloads += head.fileSize;
    offset = payloadOffset + head.fileSize;
  }
  if (payloads !== header.totalSize) {
    throw new OtaError("SIGMASTAR_TOTAL_SIZE", {
      what: "the header's total size is not the sum of the payload sizes",
      where: "header",
      expected: header.totalSize,
      found: payloads,
    });
  }
  if (offset !== reader.size) {
    throw new OtaError("SIGMASTAR_TRAILING", {
      what: "bytes follow the last record",
      where: `offset ${hexOffset(offset)}`,
      expected: "the end of the package",
      found: `${reader.size - offset} bytes`,
    });
  }
  return {
    generation: format.generation,
    format,
    header,
    headerBytes: opened.headerBytes,
    beginScript: opened.beginScript,
    endScript: opened.endScript,
    records,
    endOffset: offset,
  };
}

/** Reads a whole package and acts on nothing. @throws OtaError for the first thing that is wrong */
export async function verifyPackage(
  source: ByteStream,
  digests: Digests,
  options: ReadOptions & { readonly onPayload?: (doneBytes: number, totalBytes: number) => void } = {},
): Promise<{ readonly generation: Generation; readonly header: PackageHeader; readonly heads: readonly RecordHead[] }> {
  const reader = await readPackage(source, digests, options);
  try {
    const heads: RecordHead[] = [];
    let done = 0;
    for await (const record of reader.records()) {
      heads.push(record.head);
      for await (const chunk of record.payload) {
        done += chunk.length;
        options.onPayload?.(done, reader.header.totalSize);
      }
    }
    return { generation: reader.generation, header: reader.header, heads };
  } finally {
    await reader.close();
  }
}
