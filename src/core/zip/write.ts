/**
 * Ordered, reproducible zip writer: entries appear in the order they are added, and nothing of the machine (clock, time
 * zone, user) gets into the bytes. Stored and deflated entries, zip64 where a size needs it, control of the extra fields
 * and of the alignment of data, and an archive comment that may be set afterwards (whole-file signatures live there).
 *
 * ```ts
 * const zip = createZipWriter(openFile, { codecs });
 * await zip.add({ name: "boot.img", method: 0 }, bytes);
 * await zip.finish();
 * ```
 */
import { concatBytes, writeU16, writeU32, writeU64 } from "../bytes.ts";
import { crc32 as coreCrc32 } from "../checksums.ts";
import { OtaError } from "../errors.ts";
import type { ByteStream, Codecs } from "../ports.ts";
import { encodeText, printable } from "../text.ts";
import { toDosTime, type ZipEntry, type ZipMethod, type ZipTime } from "./entry.ts";
import {
  CENTRAL_HEADER,
  END64_RECORD,
  END_RECORD,
  LOCAL_HEADER,
  LOCATOR64,
  SATURATED_16,
  SATURATED_32,
  ZIP64_EXTRA,
  ZIP_FLAGS,
  ZIP_SIGNATURES,
} from "./layout.ts";
import { checkZipName } from "./name.ts";

/** Where an archive is written. Headers are written again once the sizes are known, so it must take any offset. */
export interface ZipSink {
  write(offset: number, bytes: Uint8Array): Promise<void>;
}

/** What is said of an entry; everything but the name has a reproducible default. */
export interface ZipEntryInput {
  readonly name: string;
  /** 0 stored, 8 deflated (default). */
  readonly method?: ZipMethod;
  /** Date and time without a zone, or the raw MS-DOS fields; default 2009-01-01 00:00:00. */
  readonly when?: ZipTime | { readonly time: number; readonly date: number };
  /** Unix mode in the upper half; default 0o644 without a file type. */
  readonly externalAttributes?: number;
  readonly internalAttributes?: number;
  /** Default 0x0314: Unix, version 2.0. */
  readonly versionMadeBy?: number;
  /** Extra fields of the central directory; default none. */
  readonly extra?: Uint8Array;
  /** Extra fields of the local header; default none. */
  readonly localExtra?: Uint8Array;
  /** The data begins at a multiple of this; the local extra field is filled up with zeros, as Android's signer does. */
  readonly align?: number;
}

export interface ZipWriteOptions {
  readonly codecs: Pick<Codecs, "deflateRaw">;
  /** A faster CRC-32, with zlib's meaning of its second argument. */
  readonly crc32?: (bytes: Uint8Array, crc?: number) => number;
  /** Deflate level, default 9. */
  readonly level?: number;
}

/** Checksum and sizes of data that is already in its final form. */
export interface ZipRawData {
  readonly crc: number;
  readonly size: number;
  readonly compressedSize: number;
  readonly data: ByteStream;
}

export interface ZipWriter {
  /** Bytes written so far: the offset of the next local header. */
  readonly offset: number;
  /**
   * Adds an entry. A stream's `size` must be told and is checked.
   * @throws OtaError ZIP_NAME, ZIP_DUPLICATE, ZIP_ENTRY (a stream of another size)
   */
  add(
    input: ZipEntryInput,
    content: Uint8Array | { readonly size: number; readonly data: ByteStream },
  ): Promise<ZipEntry>;
  /** Adds data as it stands, for instance from another archive. The caller answers for checksum and sizes. */
  addRaw(input: ZipEntryInput, raw: ZipRawData): Promise<ZipEntry>;
  /** Writes the central directory and the end record. */
  finish(comment?: Uint8Array): Promise<{ readonly endOffset: number; readonly size: number }>;
}

const DEFAULT_TIME: ZipTime = { year: 2009, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
const UNIX_20 = 0x0314;

/** A sink in memory; `bytes()` gives what was written. */
export function memorySink(): ZipSink & { bytes(): Uint8Array } {
  let buffer = new Uint8Array(1024);
  let size = 0;
  return {
    async write(offset, bytes) {
      const end = offset + bytes.length;
      if (end > buffer.length) {
        const grown = new Uint8Array(Math.max(end, buffer.length * 2));
        grown.set(buffer.subarray(0, size));
        buffer = grown;
      }
      buffer.set(bytes, offset);
      size = Math.max(size, end);
    },
    bytes: () => buffer.slice(0, size),
  };
}

/** Largest a deflate stream of `size` bytes can become: stored blocks, and some room. */
function mostDeflated(size: number): number {
  return size + Math.ceil(size / 1024) + 64;
}

function zip64Extra(values: readonly number[]): Uint8Array {
  if (values.length === 0) return new Uint8Array(0);
  const out = new Uint8Array(4 + values.length * 8);
  writeU16(out, 0, ZIP64_EXTRA);
  writeU16(out, 2, values.length * 8);
  values.forEach((v, i) => writeU64(out, 4 + i * 8, v));
  return out;
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false;
  return true;
}

/** Everything of an entry's headers that does not depend on its data. */
interface Prepared {
  readonly entry: Omit<ZipEntry, "crc" | "size" | "compressedSize">;
  readonly name: Uint8Array;
  readonly localExtra: Uint8Array;
  /** The local header has 64-bit sizes. */
  readonly wide: boolean;
}

function prepare(input: ZipEntryInput, offset: number, mostSize: number): Prepared {
  checkZipName(input.name);
  const name = encodeText(input.name);
  if (name.length > 0xffff) throw new OtaError("ZIP_NAME", { what: "the name is too long", found: name.length });
  const when = input.when ?? DEFAULT_TIME;
  const dos = "year" in when ? toDosTime(when) : when;
  const wide = mostSize >= SATURATED_32;
  const fixed = concatBytes(wide ? zip64Extra([0, 0]) : new Uint8Array(0), input.localExtra ?? new Uint8Array(0));
  const unaligned = offset + LOCAL_HEADER.size + name.length + fixed.length;
  const align = input.align ?? 1;
  const localExtra = concatBytes(fixed, new Uint8Array((align - (unaligned % align)) % align));
  return {
    entry: {
      name: input.name,
      method: input.method ?? 8,
      flags: isAscii(input.name) ? 0 : ZIP_FLAGS.utf8,
      time: dos.time,
      date: dos.date,
      versionMadeBy: input.versionMadeBy ?? UNIX_20,
      versionNeeded: wide ? 45 : 20,
      internalAttributes: input.internalAttributes ?? 0,
      externalAttributes: input.externalAttributes ?? 0o644 * 0x10000,
      extra: input.extra ?? new Uint8Array(0),
      comment: new Uint8Array(0),
      offset,
      dataOffset: offset + LOCAL_HEADER.size + name.length + localExtra.length,
    },
    name,
    localExtra,
    wide,
  };
}

function localHeader(
  p: Prepared,
  { crc, size, compressedSize }: Pick<ZipEntry, "crc" | "size" | "compressedSize">,
): Uint8Array {
  const extra = p.localExtra.slice();
  if (p.wide) {
    writeU64(extra, 4, size);
    writeU64(extra, 12, compressedSize);
  }
  const head = LOCAL_HEADER.encode({
    ...p.entry,
    signature: ZIP_SIGNATURES.local,
    crc,
    size: p.wide ? SATURATED_32 : size,
    compressedSize: p.wide ? SATURATED_32 : compressedSize,
    nameSize: p.name.length,
    extraSize: extra.length,
  });
  return concatBytes(head, p.name, extra);
}

function centralHeader(e: ZipEntry): Uint8Array {
  const clip = (v: number): number => Math.min(v, SATURATED_32);
  const wide = [e.size, e.compressedSize, e.offset].filter((v) => v >= SATURATED_32);
  const extra = concatBytes(zip64Extra(wide), e.extra);
  const name = encodeText(e.name);
  const head = CENTRAL_HEADER.encode({
    ...e,
    signature: ZIP_SIGNATURES.central,
    versionNeeded: wide.length > 0 ? 45 : e.versionNeeded,
    size: clip(e.size),
    compressedSize: clip(e.compressedSize),
    offset: clip(e.offset),
    nameSize: name.length,
    extraSize: extra.length,
    commentSize: e.comment.length,
    disk: 0,
  });
  return concatBytes(head, name, extra, e.comment);
}

function endRecords(entries: number, directoryOffset: number, directorySize: number): Uint8Array {
  const wide = entries >= SATURATED_16 || directoryOffset >= SATURATED_32 || directorySize >= SATURATED_32;
  const end = END_RECORD.encode({
    signature: ZIP_SIGNATURES.end,
    disk: 0,
    directoryDisk: 0,
    diskEntries: Math.min(entries, SATURATED_16),
    entries: Math.min(entries, SATURATED_16),
    directorySize: Math.min(directorySize, SATURATED_32),
    directoryOffset: Math.min(directoryOffset, SATURATED_32),
    commentSize: 0,
  });
  if (!wide) return end;
  const end64 = END64_RECORD.encode({
    signature: ZIP_SIGNATURES.end64,
    recordSize: END64_RECORD.size - 12,
    versionMadeBy: UNIX_20 - 20 + 45,
    versionNeeded: 45,
    disk: 0,
    directoryDisk: 0,
    diskEntries: entries,
    entries,
    directorySize,
    directoryOffset,
  });
  const offset = directoryOffset + directorySize;
  return concatBytes(end64, LOCATOR64.encode({ signature: ZIP_SIGNATURES.locator64, disk: 0, offset, disks: 1 }), end);
}

/**
 * Sets the comment of a finished archive whose end record is at `endOffset`.
 * @throws OtaError ZIP_LIMIT above 65535 bytes, ZIP_DAMAGED when the comment itself holds an end record's signature
 */
export async function setZipComment(sink: ZipSink, endOffset: number, comment: Uint8Array): Promise<void> {
  if (comment.length > 0xffff) {
    throw new OtaError("ZIP_LIMIT", {
      what: "the archive comment is too long",
      expected: 0xffff,
      found: comment.length,
    });
  }
  const signature = new Uint8Array(4);
  writeU32(signature, 0, ZIP_SIGNATURES.end);
  for (let i = 0; i + 4 <= comment.length; i++) {
    if (signature.every((b, k) => comment[i + k] === b)) {
      throw new OtaError("ZIP_DAMAGED", "the archive comment would hold the signature of an end record");
    }
  }
  const size = new Uint8Array(2);
  writeU16(size, 0, comment.length);
  await sink.write(endOffset + END_RECORD.size - 2, concatBytes(size, comment));
}

/** Starts an archive at offset 0 of `sink`. Calls must be awaited one after the other. */
export function createZipWriter(sink: ZipSink, options: ZipWriteOptions): ZipWriter {
  const crcOf = options.crc32 ?? coreCrc32;
  const entries: ZipEntry[] = [];
  const names = new Set<string>();
  let offset = 0;
  let busy = false;

  async function exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (busy) throw new Error("zip writer: the call before this one was not awaited");
    busy = true;
    try {
      return await work();
    } finally {
      busy = false;
    }
  }

  function begin(input: ZipEntryInput, mostSize: number): Prepared {
    if (names.has(input.name)) {
      throw new OtaError("ZIP_DUPLICATE", { what: "duplicate entry", where: `entry ${printable(input.name)}` });
    }
    const prepared = prepare(input, offset, mostSize);
    names.add(input.name);
    return prepared;
  }

  function note(p: Prepared, told: Pick<ZipEntry, "crc" | "size" | "compressedSize">): ZipEntry {
    const entry: ZipEntry = { ...p.entry, ...told };
    entries.push(entry);
    offset = entry.dataOffset + entry.compressedSize;
    return entry;
  }

  /** Writes data behind a header that is filled in afterwards. */
  async function put(p: Prepared, data: ByteStream): Promise<number> {
    let at = p.entry.dataOffset;
    for await (const chunk of data) {
      await sink.write(at, chunk);
      at += chunk.length;
    }
    return at - p.entry.dataOffset;
  }

  function wrongSize(name: string, expected: number, found: number): OtaError {
    return new OtaError("ZIP_ENTRY", {
      what: "the data is not of the size told",
      where: `entry ${printable(name)}`,
      expected,
      found,
    });
  }

  return {
    get offset() {
      return offset;
    },

    add: (input, content) =>
      exclusive(async () => {
        const { size, data } = content instanceof Uint8Array ? { size: content.length, data: once(content) } : content;
        const method = input.method ?? 8;
        const p = begin(input, method === 8 ? mostDeflated(size) : size);
        let crc = 0;
        let have = 0;
        async function* counted(): ByteStream {
          for await (const chunk of data) {
            crc = crcOf(chunk, crc);
            have += chunk.length;
            if (have > size) throw wrongSize(input.name, size, have);
            yield chunk;
          }
        }
        const compressedSize = await put(
          p,
          method === 8 ? options.codecs.deflateRaw(counted(), options.level ?? 9) : counted(),
        );
        if (have !== size) throw wrongSize(input.name, size, have);
        const told = { crc, size, compressedSize };
        await sink.write(p.entry.offset, localHeader(p, told));
        return note(p, told);
      }),

    addRaw: (input, { crc, size, compressedSize, data }) =>
      exclusive(async () => {
        const p = begin(input, Math.max(size, compressedSize));
        const told = { crc, size, compressedSize };
        await sink.write(p.entry.offset, localHeader(p, told));
        const have = await put(p, data);
        if (have !== compressedSize) throw wrongSize(input.name, compressedSize, have);
        return note(p, told);
      }),

    finish: (comment) =>
      exclusive(async () => {
        // Joined in groups: one call with a million arguments would overflow the stack.
        const groups: Uint8Array[] = [];
        for (let i = 0; i < entries.length; i += 1024) {
          groups.push(concatBytes(...entries.slice(i, i + 1024).map(centralHeader)));
        }
        const directory = concatBytes(...groups);
        const tail = endRecords(entries.length, offset, directory.length);
        await sink.write(offset, concatBytes(directory, tail));
        const endOffset = offset + directory.length + tail.length - END_RECORD.size;
        if (comment !== undefined && comment.length > 0) await setZipComment(sink, endOffset, comment);
        return { endOffset, size: endOffset + END_RECORD.size + (comment?.length ?? 0) };
      }),
  };
}

async function* once(bytes: Uint8Array): ByteStream {
  if (bytes.length > 0) yield bytes;
}
