/** Bytes kept outside memory while a package is made: unpacked images, patches, data whose size is known once they are packed. */
import { concatBytes } from "../core/bytes.ts";
import type { ByteStream, Cancel, ProgressSink, RandomReader } from "../core/ports.ts";
import { checkCancel, checkRange } from "../core/streams.ts";
import type { ZipEntry } from "../core/zip/entry.ts";
import type { ZipArchive } from "../core/zip/read.ts";

/** A file that grows: on a building machine a temporary one. */
export interface Scratch {
  /** Bytes so far, appends that have not ended included. */
  readonly size: number;
  /** Several may run at once: each has its place, the size at its call, before it returns. */
  append(bytes: Uint8Array): Promise<void>;
  /** @throws OtaError READ_PAST_END */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Makes an empty one. The caller who hands this over gets rid of what was made, once the package is written. */
export type OpenScratch = () => Promise<Scratch>;

/** One in memory, for callers without files: it holds what it is given, a whole image where that is packed in the build. */
export function memoryScratch(): Scratch {
  let size = 0;
  let parts: Uint8Array[] = [];
  return {
    get size() {
      return size;
    },
    async append(bytes) {
      parts.push(bytes.slice());
      size += bytes.length;
    },
    async read(offset, length) {
      checkRange(size, offset, length);
      if (parts.length > 1) parts = [concatBytes(...parts)];
      return parts[0]?.slice(offset, offset + length) ?? new Uint8Array(0);
    },
  };
}

/** What has been written so far. */
export function scratchReader(scratch: Scratch): RandomReader {
  return { size: scratch.size, read: (offset, length) => scratch.read(offset, length) };
}

/** Appends a stream. @throws OtaError CANCELLED, what reading and writing throw */
export async function spool(stream: ByteStream, scratch: Scratch, cancel?: Cancel): Promise<RandomReader> {
  for await (const chunk of stream) {
    checkCancel(cancel);
    await scratch.append(chunk);
  }
  return scratchReader(scratch);
}

/**
 * An entry's content for reading anywhere: stored ones where they are, deflated ones unpacked. Size and CRC are checked.
 * @throws OtaError ZIP_ENTRY, ZIP_CRC, CANCELLED
 */
export async function unpackEntry(
  zip: ZipArchive,
  entry: ZipEntry,
  open: OpenScratch,
  { item, progress, cancel }: { item: string; progress: ProgressSink; cancel?: Cancel | undefined },
): Promise<RandomReader> {
  async function* watched(): ByteStream {
    let doneBytes = 0;
    for await (const chunk of zip.stream(entry)) {
      checkCancel(cancel);
      yield chunk;
      doneBytes += chunk.length;
      progress.progress({ phase: "unpack", item, doneBytes, totalBytes: entry.size });
    }
  }
  if (entry.method !== 0) return spool(watched(), await open());
  for await (const _ of watched());
  return zip.raw(entry);
}
