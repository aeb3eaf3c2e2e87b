/**
 * Writing SigmaStar packages: create, and append in place (specification sections 1.1, 2.4, 3.1 and 3.2).
 *
 * Append writes the new records behind the old end and the header last. Whatever fails in between, the caller's cancel
 * included, is rolled back: the file is cut to its old size and its old header put back, so the package is exactly as it was.
 * Payloads are streamed; hashing, reading ahead and writing overlap.
 */
import { concatBytes, hexOffset, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { Cancel, Digests, OpenFile, ProgressSink, RandomReader } from "../core/ports.ts";
import { checkCancel, checkRange } from "../core/streams.ts";
import { encodeText, printable } from "../core/text.ts";
import { sealHeader, startRecordCheck } from "./integrity.ts";
import { MAX_DESTINATIONS, OPT, destinationsOf, operationOf } from "./layout.ts";
import type { Generation, GenerationFormat, PackageHeader, RecordHead } from "./layout.ts";
import { storedMask } from "./numbers.ts";
import { MAX_RECORDS, MAX_SCRIPT_BYTES, mapPackage } from "./read.ts";
import type { PackageMap } from "./read.ts";

/** Build id written when none is given: that of the vendor program the vectors were made with. */
export const DEFAULT_BUILD_ID = "3b93edbf0108ecfedd9ac74cc583df842370830b";

/** `safe` refuses what harms a device; `vendor` lets through what the vendor program lets through. */
export type PackProfile = "safe" | "vendor";

export interface CreateOptions {
  readonly generation: Generation;
  readonly beginScript?: Uint8Array;
  readonly endScript?: Uint8Array;
  /** v1.6: text of packGitCommit, at most 64 bytes. */
  readonly buildId?: string;
}

/**
 * The bytes of a package without records.
 *
 * @throws OtaError SIGMASTAR_SCRIPT_TOO_LARGE, LAYOUT_TEXT_TOO_LONG (build id)
 */
export function createPackage(digests: Digests, options: CreateOptions): Uint8Array {
  const begin = options.beginScript ?? new Uint8Array(0);
  const end = options.endScript ?? new Uint8Array(0);
  for (const [what, script] of [
    ["the begin script", begin],
    ["the end script", end],
  ] as const) {
    if (script.length > MAX_SCRIPT_BYTES) {
      throw new OtaError("SIGMASTAR_SCRIPT_TOO_LARGE", {
        what: `${what} is too large`,
        expected: `at most ${MAX_SCRIPT_BYTES} bytes`,
        found: script.length,
      });
    }
  }
  const header: PackageHeader = {
    generation: options.generation,
    recordCount: 0,
    totalSize: 0,
    beginScriptSize: begin.length,
    endScriptSize: end.length,
    ...(options.generation === "v1.6" ? { buildId: options.buildId ?? DEFAULT_BUILD_ID } : {}),
  };
  return concatBytes(sealHeader(digests, header, { begin, end }), begin, end);
}

/** A record to be appended. Nothing is read from `payload` before the checks of the head have passed. */
export interface RecordSpec {
  readonly opt: number;
  /** Text of `-d`; v1.6: several destinations separated by spaces. */
  readonly destination: string;
  /** Stored dstFileSize, bytes; default 0. */
  readonly destinationSize?: number;
  /** Stored mode; default 0. */
  readonly mode?: number;
  /** Content; absent for a delete record. */
  readonly payload?: RandomReader;
  /** v1.6: name of the source. Ignored by generations without the field. */
  readonly sourceName?: string;
  /** v1.6: text of `-l`. */
  readonly log?: string;
  /** v1.6: unsigned masks, one a destination; the first 16 are stored, missing ones are 1. */
  readonly masks?: readonly number[];
}

export interface AppendOptions {
  readonly digests: Digests;
  /** Refused when it is not the generation of the package. */
  readonly generation?: Generation;
  readonly profile?: PackProfile;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

export interface AppendResult {
  readonly format: GenerationFormat;
  readonly header: PackageHeader;
  /** Bytes of the new header. */
  readonly headerBytes: Uint8Array;
  /** Number of the first record that was appended. */
  readonly firstIndex: number;
  /** Heads of the appended records, as they are in the file. */
  readonly heads: readonly Uint8Array[];
}

function limitText(format: GenerationFormat, what: string, value: string): void {
  const most = format.destinationBytes - 1;
  const found = encodeText(value).length;
  if (found > most || value.includes("\0")) {
    throw new OtaError("SIGMASTAR_TEXT_TOO_LONG", {
      what: found > most ? `${what} is too long for ${format.generation}` : `${what} holds a NUL`,
      where: printable(value.slice(0, 60)),
      expected: `at most ${most} bytes`,
      found,
    });
  }
}

function sizeLimit(format: GenerationFormat, what: string, found: number): OtaError {
  return new OtaError("SIGMASTAR_SIZE_LIMIT", {
    what: `${what} does not fit the field of ${format.generation}`,
    expected: `at most ${format.maxSize} bytes`,
    found,
    hint: "Generations v0.4 and v1.6 have 64-bit sizes.",
  });
}

/** The head of a record that keeps every rule of `format`, without its check value. */
function headOf(format: GenerationFormat, spec: RecordSpec, profile: PackProfile): RecordHead {
  const operation = operationOf(spec.opt);
  if (operation === undefined || (spec.opt === OPT.SCRIPT_EXEC && !format.scriptRecords)) {
    throw new OtaError("SIGMASTAR_OPERATION", {
      what: `${format.generation} does not have this operation`,
      found: operation?.name ?? spec.opt,
    });
  }
  if (spec.destination === "") {
    throw new OtaError("SIGMASTAR_DESTINATION_MISSING", { what: "the destination is missing", expected: "-d PATH" });
  }
  limitText(format, "the destination", spec.destination);
  const head: RecordHead = {
    opt: spec.opt,
    fileSize: spec.payload?.size ?? 0,
    destination: spec.destination,
    destinationSize: spec.destinationSize ?? 0,
    mode: spec.mode ?? 0,
  };
  if (head.fileSize > format.maxSize) throw sizeLimit(format, "the source", head.fileSize);
  if (head.destinationSize > format.maxSize) throw sizeLimit(format, "the destination size", head.destinationSize);
  const raw = spec.opt === OPT.BLK_UPDATE || spec.opt === OPT.UBI_UPDATE;
  if (raw && profile === "safe" && head.destinationSize !== 0 && head.fileSize > head.destinationSize) {
    throw new OtaError("SIGMASTAR_SOURCE_TOO_LARGE", {
      what: "the source is larger than the destination size",
      where: printable(spec.destination),
      expected: `at most ${head.destinationSize} bytes`,
      found: head.fileSize,
    });
  }
  if (format.generation !== "v1.6") return head;
  limitText(format, "the log", spec.log ?? "");
  limitText(format, "the source name", spec.sourceName ?? "");
  const masks = Array.from({ length: MAX_DESTINATIONS }, (_, i) => storedMask(spec.masks?.[i] ?? 1));
  const full = { ...head, sourceName: spec.sourceName ?? "", log: spec.log ?? "", masks };
  const count = destinationsOf(format.generation, full).length;
  if (count === 0 || count > MAX_DESTINATIONS) {
    throw new OtaError(count === 0 ? "SIGMASTAR_DESTINATION_MISSING" : "SIGMASTAR_TEXT_TOO_LONG", {
      what: count === 0 ? "the destination is blank" : "too many destinations",
      where: "-d",
      expected: `1 to ${MAX_DESTINATIONS} separated by spaces`,
      found: count,
    });
  }
  return full;
}

/** Size of one read and write, bytes: large enough to keep disk and digest busy, two of them are in memory. */
const COPY_BYTES = 1024 * 1024;

/** A payload that can fill an array of the caller's: saves the collector a gibibyte of garbage for each one packed. */
export interface ReusingReader extends RandomReader {
  /** Fills all of `target` from `offset`. */
  readInto(offset: number, target: Uint8Array): Promise<void>;
}

function isReusing(reader: RandomReader): reader is ReusingReader {
  return "readInto" in reader;
}

/** Reads chunks of a payload in turn; a chunk is good until the one after the next is read. */
function chunkReader(payload: RandomReader): (offset: number) => Promise<Uint8Array | undefined> {
  const { size } = payload;
  if (!isReusing(payload)) {
    return async (offset) => (offset < size ? payload.read(offset, Math.min(COPY_BYTES, size - offset)) : undefined);
  }
  const room = Math.min(COPY_BYTES, size);
  const buffers = [new Uint8Array(room), new Uint8Array(room)] as const;
  let turn = 0;
  return async (offset) => {
    if (offset >= size) return undefined;
    turn = 1 - turn;
    const target = (buffers[turn] as Uint8Array).subarray(0, Math.min(COPY_BYTES, size - offset));
    await payload.readInto(offset, target);
    return target;
  };
}

interface Copy {
  readonly file: OpenFile;
  readonly at: number;
  readonly payload: RandomReader;
  readonly onBytes: (bytes: Uint8Array) => void;
}

/** Copies a payload: while one chunk is hashed, it is being written and the next one read. */
async function copyPayload({ file, at, payload, onBytes }: Copy): Promise<void> {
  const readAt = chunkReader(payload);
  let offset = 0;
  let chunk = await readAt(0);
  while (chunk !== undefined) {
    const bytes: Uint8Array = chunk;
    const writing = file.write(at + offset, bytes);
    const reading = readAt(offset + bytes.length);
    let failure: unknown;
    try {
      onBytes(bytes);
    } catch (e) {
      failure = e;
    }
    // Both are waited for, whatever fails: a rollback must not race with a write.
    const [written, read] = await Promise.allSettled([writing, reading]);
    if (failure !== undefined) throw failure as Error;
    if (written.status === "rejected") throw written.reason as Error;
    if (read.status === "rejected") throw read.reason as Error;
    offset += bytes.length;
    chunk = read.value;
  }
}

async function roll(file: OpenFile, map: PackageMap, cause: unknown): Promise<void> {
  try {
    await file.truncate(map.endOffset);
    await file.write(0, map.headerBytes);
  } catch (e) {
    throw new OtaError(
      "DEVICE_IO",
      {
        what: "the package could not be put back as it was",
        expected: `its first ${map.endOffset} bytes`,
        hint: `Cut it to ${map.endOffset} bytes. ${cause instanceof Error ? cause.message : ""}`,
      },
      e,
    );
  }
}

/**
 * Appends records to the package in `file`, whose structure (header, scripts, record chain, end) is checked first.
 *
 * `specs` may be a generator that opens payloads as it goes; a payload is finished with when the next spec is asked for. After
 * any failure the package is what it was.
 *
 * @throws OtaError the codes of `mapPackage`; SIGMASTAR_GENERATION_MISMATCH, SIGMASTAR_OPERATION,
 *   SIGMASTAR_DESTINATION_MISSING, SIGMASTAR_TEXT_TOO_LONG, SIGMASTAR_SIZE_LIMIT, SIGMASTAR_SOURCE_TOO_LARGE; CANCELLED
 */
export async function appendRecords(
  file: OpenFile,
  specs: Iterable<RecordSpec> | AsyncIterable<RecordSpec>,
  options: AppendOptions,
): Promise<AppendResult> {
  const { digests, cancel, profile = "safe" } = options;
  const map = await mapPackage(file, digests, cancel === undefined ? {} : { cancel });
  const { format } = map;
  if (options.generation !== undefined && options.generation !== format.generation) {
    throw new OtaError("SIGMASTAR_GENERATION_MISMATCH", {
      what: "the package is of another generation",
      expected: options.generation,
      found: format.generation,
      hint: "Append takes the generation from the package.",
    });
  }
  let { recordCount, totalSize } = map.header;
  let end = map.endOffset;
  const heads: Uint8Array[] = [];
  try {
    for await (const spec of specs) {
      checkCancel(cancel);
      const head = headOf(format, spec, profile);
      totalSize += head.fileSize;
      recordCount += 1;
      if (totalSize > format.maxSize) throw sizeLimit(format, "the total size", totalSize);
      if (recordCount > MAX_RECORDS) {
        throw new OtaError("SIGMASTAR_TOO_MANY_RECORDS", {
          what: "too many records",
          expected: `at most ${MAX_RECORDS}`,
          found: recordCount,
        });
      }
      const check = startRecordCheck(digests, format, head);
      const index = map.header.recordCount + heads.length + 1;
      let done = 0;
      if (spec.payload !== undefined) {
        await copyPayload({
          file,
          at: end + format.recordSize,
          payload: spec.payload,
          onBytes(bytes) {
            checkCancel(cancel);
            check.update(bytes);
            done += bytes.length;
            const event = { phase: "pack", item: spec.destination, index, doneBytes: done, totalBytes: head.fileSize };
            options.progress?.progress(event);
          },
        });
      }
      const headBytes = check.seal();
      await file.write(end, headBytes);
      heads.push(headBytes);
      end += format.recordSize + head.fileSize;
    }
    checkCancel(cancel);
    const header: PackageHeader = { ...map.header, recordCount, totalSize };
    const headerBytes = sealHeader(digests, header, { begin: map.beginScript, end: map.endScript });
    await file.write(0, headerBytes);
    const firstIndex = map.header.recordCount;
    return { format, header: format.decodeHeader(headerBytes), headerBytes, firstIndex, heads };
  } catch (e) {
    await roll(file, map, e);
    throw e;
  }
}

/** An open file in memory: packages as bytes. `bytes()` is what it holds. */
export function memoryFile(content: Uint8Array = new Uint8Array(0)): OpenFile & { bytes(): Uint8Array } {
  let data = content.slice();
  let size = data.length;
  const grow = (need: number): void => {
    if (need <= data.length) return;
    const larger = new Uint8Array(Math.max(need, data.length * 2));
    larger.set(data.subarray(0, size));
    data = larger;
  };
  return {
    get size() {
      return size;
    },
    async read(offset, length) {
      checkRange(size, offset, length);
      return data.slice(offset, offset + length);
    },
    async write(offset, bytes) {
      grow(offset + bytes.length);
      data.set(bytes, offset);
      size = Math.max(size, offset + bytes.length);
    },
    async truncate(length) {
      grow(length);
      if (length < size) data.fill(0, length, size);
      size = length;
    },
    async sync() {},
    async close() {},
    bytes: () => data.slice(0, size),
  };
}

/** A whole package from bytes to bytes. @throws OtaError as {@link createPackage} and {@link appendRecords} */
export async function packBytes(
  digests: Digests,
  options: CreateOptions & { readonly profile?: PackProfile },
  specs: Iterable<RecordSpec> | AsyncIterable<RecordSpec>,
): Promise<Uint8Array> {
  const file = memoryFile(createPackage(digests, options));
  await appendRecords(file, specs, {
    digests,
    generation: options.generation,
    ...(options.profile === undefined ? {} : { profile: options.profile }),
  });
  return file.bytes();
}

/** The lines the vendor program prints after a successful append (section 3.2). */
export function appendSummary(result: AppendResult): string[] {
  const { header, format } = result;
  const check =
    format.integrity === "sum"
      ? [`Header checksum: ${hexOffset(header.checkSum ?? 0)}`]
      : [
          `Header Md5: ${toHex(header.headerMd5 ?? new Uint8Array(0))}`,
          `Script Md5: ${toHex(header.scriptMd5 ?? new Uint8Array(0))}`,
        ];
  return [...check, `Header BlkCnt: ${header.recordCount}`, `Total size: ${hexOffset(header.totalSize)}`];
}
