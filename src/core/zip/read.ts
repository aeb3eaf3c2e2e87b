/**
 * Strict zip reader over a {@link RandomReader}.
 *
 * What it accepts has one reading only: the archive begins at offset 0 and ends at the end of the file, the central
 * directory and the local headers agree, entries neither overlap nor leave gaps, names are portable relative paths and
 * distinct. Every refusal names the entry. Not handled: encryption, several disks, methods other than stored and deflated.
 *
 * ```ts
 * const zip = await openZip(reader, { codecs });
 * const script = await zip.read(zip.need("META-INF/com/google/android/updater-script"));
 * ```
 */
import { hexOffset, readU32, readU64 } from "../bytes.ts";
import { crc32 as coreCrc32 } from "../checksums.ts";
import { isOtaError, OtaError } from "../errors.ts";
import type { ByteStream, Codecs, RandomReader } from "../ports.ts";
import { sliceReader, streamRange } from "../streams.ts";
import { decodeText, printable } from "../text.ts";
import { checkDistinct, findExtra, parseDirectory, widen, type DirectoryEntry } from "./directory.ts";
import type { ZipEntry } from "./entry.ts";
import { findZipEnd } from "./find-end.ts";
import { LOCAL_HEADER, ZIP64_EXTRA, ZIP_FLAGS, ZIP_SIGNATURES } from "./layout.ts";

/** What a reader accepts at most; a hostile archive is refused before anything is allocated for it. */
export interface ZipLimits {
  /** Entries; default 2^20. */
  readonly maxEntries?: number;
  /** Bytes of the central directory; default 256 MiB. */
  readonly maxDirectoryBytes?: number;
  /** Bytes of one entry's content; default 2^53-1. */
  readonly maxEntryBytes?: number;
  /** Bytes of all contents together; default 2^53-1. */
  readonly maxTotalBytes?: number;
}

export interface ZipReadOptions {
  readonly codecs: Pick<Codecs, "inflateRaw">;
  /** A faster CRC-32, with zlib's meaning of its second argument. */
  readonly crc32?: (bytes: Uint8Array, crc?: number) => number;
  readonly limits?: ZipLimits;
}

/** An opened archive. Reading content checks size and CRC; nothing of a damaged entry is called good. */
export interface ZipArchive {
  /** In the order of the central directory. */
  readonly entries: readonly ZipEntry[];
  readonly comment: Uint8Array;
  /** Offset of the central directory and of the end record. */
  readonly directoryOffset: number;
  readonly endOffset: number;
  get(name: string): ZipEntry | undefined;
  /** @throws OtaError ZIP_MISSING */
  need(name: string): ZipEntry;
  /** The content as a stream; the check of size and CRC comes with its end. @throws OtaError ZIP_CRC, ZIP_ENTRY */
  stream(entry: ZipEntry): ByteStream;
  /**
   * The whole content, at most `maxBytes` (default 1 GiB).
   * @throws OtaError ZIP_CRC, ZIP_ENTRY, ZIP_LIMIT
   */
  read(entry: ZipEntry, maxBytes?: number): Promise<Uint8Array>;
  /** The data as it is in the archive, compressed or not, unchecked. */
  raw(entry: ZipEntry): RandomReader;
}

const DEFAULTS: Required<ZipLimits> = {
  maxEntries: 2 ** 20,
  maxDirectoryBytes: 256 * 2 ** 20,
  maxEntryBytes: Number.MAX_SAFE_INTEGER,
  maxTotalBytes: Number.MAX_SAFE_INTEGER,
};
const DEFAULT_READ_BYTES = 2 ** 30;

function named(entry: { readonly name: string }): string {
  return `entry ${printable(entry.name)}`;
}

function limit(what: string, most: number, found: number, where?: string): void {
  if (found > most)
    throw new OtaError("ZIP_LIMIT", {
      what,
      ...(where === undefined ? {} : { where }),
      expected: `at most ${most}`,
      found,
    });
}

/** Compares the local header with the directory's and gives the offset of the data. */
async function readLocal(reader: RandomReader, entry: DirectoryEntry, directoryOffset: number): Promise<number> {
  const where = named(entry);
  const nameSize = entry.nameBytes;
  const head = await reader.read(entry.offset, LOCAL_HEADER.size);
  const h = LOCAL_HEADER.decode(head);
  if (h.signature !== ZIP_SIGNATURES.local) {
    throw new OtaError("ZIP_DAMAGED", { what: "no local header", where, found: hexOffset(h.signature) });
  }
  const dataOffset = entry.offset + LOCAL_HEADER.size + h.nameSize + h.extraSize;
  if (dataOffset + entry.compressedSize > directoryOffset) {
    throw new OtaError("ZIP_DAMAGED", { what: "the entry reaches into the central directory", where });
  }
  const rest = await reader.read(entry.offset + LOCAL_HEADER.size, h.nameSize + h.extraSize);
  const differ = (what: string, expected: string | number, found: string | number): OtaError =>
    new OtaError("ZIP_MISMATCH", {
      what: `local header and central directory differ: ${what}`,
      where,
      expected,
      found,
    });
  const localName = decodeText(rest, 0, h.nameSize);
  if (h.nameSize !== nameSize || localName !== entry.name)
    throw differ("name", printable(entry.name), printable(localName));
  if (h.method !== entry.method) throw differ("method", entry.method, h.method);
  const told = ZIP_FLAGS.encrypted | ZIP_FLAGS.descriptor | ZIP_FLAGS.utf8;
  if ((h.flags & told) !== (entry.flags & told)) throw differ("flags", hexOffset(entry.flags), hexOffset(h.flags));
  const wide = widen([h.size, h.compressedSize], findExtra(rest.subarray(h.nameSize), ZIP64_EXTRA));
  if (wide === undefined) throw new OtaError("ZIP_DAMAGED", { what: "bad zip64 extra field", where });
  const [size, compressedSize] = wide as [number, number];
  const told3: [string, number, number][] = [
    ["size", entry.size, size],
    ["compressed size", entry.compressedSize, compressedSize],
    ["CRC", entry.crc, h.crc],
  ];
  const later = (entry.flags & ZIP_FLAGS.descriptor) !== 0;
  for (const [what, expected, found] of told3) {
    if (found !== expected && !(later && found === 0)) throw differ(what, expected, found);
  }
  return dataOffset;
}

/** Size of the data descriptor at `at` when the `room` bytes there are one and nothing else. */
async function descriptorSize(reader: RandomReader, entry: ZipEntry, room: number): Promise<number | undefined> {
  if (room !== 12 && room !== 16 && room !== 20 && room !== 24) return undefined;
  const b = await reader.read(entry.dataOffset + entry.compressedSize, room);
  const signed = room === 16 || room === 24;
  if (signed && readU32(b, 0) !== ZIP_SIGNATURES.descriptor) return undefined;
  const at = signed ? 4 : 0;
  const wide = room >= 20;
  const compressed = wide ? readU64(b, at + 4) : readU32(b, at + 4);
  const size = wide ? readU64(b, at + 12) : readU32(b, at + 8);
  const same = readU32(b, at) === entry.crc && compressed === entry.compressedSize && size === entry.size;
  return same ? room : undefined;
}

/** Entries follow one another from offset 0 to the directory, each byte belonging to exactly one. */
async function checkContiguous(
  reader: RandomReader,
  entries: readonly ZipEntry[],
  directoryOffset: number,
): Promise<void> {
  const sorted = [...entries].sort((a, b) => a.offset - b.offset);
  const first = sorted[0]?.offset ?? directoryOffset;
  if (first !== 0) {
    throw new OtaError("ZIP_OVERLAP", {
      what: "bytes before the first entry",
      where: sorted[0] === undefined ? "offset 0x0" : named(sorted[0]),
      found: first,
    });
  }
  for (const [i, entry] of sorted.entries()) {
    const end = entry.dataOffset + entry.compressedSize;
    const next = sorted[i + 1]?.offset ?? directoryOffset;
    if (next < end) {
      throw new OtaError("ZIP_OVERLAP", {
        what: "the entry overlaps the next one",
        where: named(entry),
        found: hexOffset(end),
      });
    }
    const room = next - end;
    if ((entry.flags & ZIP_FLAGS.descriptor) !== 0) {
      if ((await descriptorSize(reader, entry, room)) === undefined) {
        throw new OtaError("ZIP_MISMATCH", {
          what: "the data descriptor and the central directory differ",
          where: named(entry),
        });
      }
    } else if (room !== 0) {
      throw new OtaError("ZIP_OVERLAP", {
        what: "bytes behind the entry belong to none",
        where: named(entry),
        expected: hexOffset(next),
        found: hexOffset(end),
        hint: "Write the archive anew with a plain zip tool.",
      });
    }
  }
}

/**
 * Opens an archive: reads the directory and every local header and checks all of it; contents are checked when read.
 * @throws OtaError ZIP_NOT_FOUND, ZIP_DAMAGED, ZIP_UNSUPPORTED, ZIP_NAME, ZIP_DUPLICATE, ZIP_OVERLAP, ZIP_MISMATCH,
 * ZIP_ENTRY, ZIP_LIMIT
 */
export async function openZip(reader: RandomReader, options: ZipReadOptions): Promise<ZipArchive> {
  const limits = { ...DEFAULTS, ...options.limits };
  const end = await findZipEnd(reader);
  limit("too many entries", limits.maxEntries, end.entries);
  limit("the central directory is too large", limits.maxDirectoryBytes, end.directorySize);
  const directory = parseDirectory(await reader.read(end.directoryOffset, end.directorySize), end);
  checkDistinct(directory);
  const entries: ZipEntry[] = [];
  let total = 0;
  for (const { nameBytes: _, ...entry } of directory) {
    limit("the entry is too large", limits.maxEntryBytes, entry.size, named(entry));
    total += entry.size;
    limit("the contents are too large together", limits.maxTotalBytes, total, named(entry));
    entries.push({ ...entry, dataOffset: 0 });
  }
  for (const [i, entry] of directory.entries()) {
    const dataOffset = await readLocal(reader, entry, end.directoryOffset);
    entries[i] = { ...(entries[i] as ZipEntry), dataOffset };
  }
  await checkContiguous(reader, entries, end.directoryOffset);

  const byName = new Map(entries.map((e) => [e.name, e]));
  const crcOf = options.crc32 ?? coreCrc32;
  const raw = (entry: ZipEntry): RandomReader => sliceReader(reader, entry.dataOffset, entry.compressedSize);

  async function* content(entry: ZipEntry): ByteStream {
    const data = streamRange(raw(entry));
    if (entry.method === 0) {
      yield* data;
      return;
    }
    try {
      yield* options.codecs.inflateRaw(data, entry.size);
    } catch (e) {
      if (!isOtaError(e, "CODEC_DAMAGED") && !isOtaError(e, "CODEC_BOMB")) throw e;
      const what = e.code === "CODEC_BOMB" ? "the entry is larger than it says" : "the entry's data is damaged";
      throw new OtaError("ZIP_ENTRY", { what, where: named(entry), expected: `${entry.size} bytes` }, e);
    }
  }

  async function* stream(entry: ZipEntry): ByteStream {
    let crc = 0;
    let size = 0;
    for await (const chunk of content(entry)) {
      crc = crcOf(chunk, crc);
      size += chunk.length;
      if (size > entry.size) break;
      yield chunk;
    }
    if (size !== entry.size) {
      throw new OtaError("ZIP_ENTRY", {
        what: "the entry is not of the size it says",
        where: named(entry),
        expected: entry.size,
        found: size,
      });
    }
    if (crc !== entry.crc) {
      throw new OtaError("ZIP_CRC", {
        what: "the entry's checksum is wrong",
        where: named(entry),
        expected: hexOffset(entry.crc),
        found: hexOffset(crc),
      });
    }
  }

  const get = (name: string): ZipEntry | undefined => byName.get(name);
  return {
    entries,
    comment: end.comment,
    directoryOffset: end.directoryOffset,
    endOffset: end.endOffset,
    get,
    need(name) {
      const entry = get(name);
      if (entry === undefined) {
        throw new OtaError("ZIP_MISSING", { what: "the archive lacks an entry", where: `entry ${printable(name)}` });
      }
      return entry;
    },
    stream,
    raw,
    async read(entry, maxBytes = DEFAULT_READ_BYTES) {
      limit("the entry is too large to be read at once", maxBytes, entry.size, named(entry));
      // Allocated as data arrives: a lying size costs nothing.
      const parts: Uint8Array[] = [];
      for await (const chunk of stream(entry)) parts.push(chunk);
      const [only] = parts;
      // A plain array, also where a codec hands out a subclass of it.
      if (only !== undefined && parts.length === 1) return new Uint8Array(only.buffer, only.byteOffset, only.length);
      const out = new Uint8Array(entry.size);
      let at = 0;
      for (const part of parts) {
        out.set(part, at);
        at += part.length;
      }
      return out;
    },
  };
}
