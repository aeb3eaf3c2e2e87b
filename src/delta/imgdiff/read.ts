/** Reads the chunk table of an IMGDIFF2 file. Raw bytes and patches stay in the file; only the table is held. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Layout, FieldTable } from "../../core/layout.ts";
import type { RandomReader } from "../../core/ports.ts";
import { deflateParametersOk, type DeflateParameters } from "../deflate/deflate.ts";
import { CHUNK_TYPE, DEFLATE_RECORD, IMGDIFF2_MAGIC, IMGDIFF_HEADER, NORMAL_RECORD, RAW_RECORD } from "./layout.ts";

/** A range of old and the patch that turns it into a piece of new. */
export interface NormalChunk {
  readonly type: "normal";
  readonly sourceStart: number;
  readonly sourceSize: number;
  /** The chunk's BSDIFF40 in the patch file. */
  readonly patchOffset: number;
  readonly patchSize: number;
}

/** As {@link NormalChunk}, between the inflated contents of two deflate streams. */
export interface DeflateChunk extends Omit<NormalChunk, "type"> {
  readonly type: "deflate";
  readonly sourceExpandedSize: number;
  readonly targetExpandedSize: number;
  readonly deflate: DeflateParameters;
}

/** Bytes of new, in the patch file. */
export interface RawChunk {
  readonly type: "raw";
  readonly offset: number;
  readonly size: number;
}

export type ImgdiffChunk = NormalChunk | DeflateChunk | RawChunk;

/** More chunks than any zip has entries twice over; a table of this size takes some 20 MiB. */
const MAX_CHUNKS = 262_144;

/** Table bytes read at once. */
const READ_AHEAD = 64 * 1024;

function damaged(what: string, offset: number, more: { expected?: string | number; found?: string | number } = {}) {
  return new OtaError("IMGDIFF_DAMAGED", { what, where: `offset ${hexOffset(offset)}`, ...more });
}

/** Reads small records in order with few reads. */
class RecordReader {
  at = 0;
  readonly #reader: RandomReader;
  #buffer: Uint8Array = new Uint8Array(0);
  #start = 0;

  constructor(reader: RandomReader) {
    this.#reader = reader;
  }

  async bytes(size: number): Promise<Uint8Array> {
    if (this.at + size > this.#reader.size) {
      throw damaged("patch is cut short", this.at, { expected: `${size} bytes`, found: this.#reader.size - this.at });
    }
    if (this.at < this.#start || this.at + size > this.#start + this.#buffer.length) {
      this.#start = this.at;
      this.#buffer = await this.#reader.read(this.at, Math.min(READ_AHEAD, this.#reader.size - this.at));
    }
    const from = this.at - this.#start;
    this.at += size;
    return this.#buffer.subarray(from, from + size);
  }

  async record<F extends FieldTable>(table: Layout<F>) {
    return table.decode(await this.bytes(table.size));
  }
}

/** Whether the bytes begin an IMGDIFF2 file. */
export function isImgdiff2(start: Uint8Array): boolean {
  return start.length >= 8 && [...IMGDIFF2_MAGIC].every((c, i) => start[i] === c.charCodeAt(0));
}

/**
 * The chunks of an IMGDIFF2 file in order of new. Ranges inside the patch are checked; ranges of old and the BSDIFF40 patches
 * are checked by whoever applies them.
 * @throws OtaError IMGDIFF_DAMAGED, LAYOUT_SIZE_UNSAFE
 */
export async function readImgdiff2(patch: RandomReader): Promise<readonly ImgdiffChunk[]> {
  const records = new RecordReader(patch);
  const header = await records.record(IMGDIFF_HEADER);
  if (header.magic !== IMGDIFF2_MAGIC) {
    throw damaged("not an IMGDIFF2 patch", 0, { expected: IMGDIFF2_MAGIC, found: JSON.stringify(header.magic) });
  }
  const { chunkCount } = header;
  // The smallest record is a type and an empty raw chunk.
  if (chunkCount > MAX_CHUNKS || chunkCount * 8 > patch.size - records.at) {
    throw damaged("more chunks than the patch can hold", 8, { found: chunkCount });
  }
  const chunks: ImgdiffChunk[] = [];
  for (let i = 0; i < chunkCount; i++) {
    const at = records.at;
    const { size: type } = await records.record(RAW_RECORD);
    if (type === CHUNK_TYPE.NORMAL) {
      chunks.push({ type: "normal", ...(await records.record(NORMAL_RECORD)), patchSize: 0 });
    } else if (type === CHUNK_TYPE.DEFLATE) {
      const { level, method, windowBits, memLevel, strategy, ...rest } = await records.record(DEFLATE_RECORD);
      const deflate = { level, method, windowBits, memLevel, strategy };
      if (!deflateParametersOk(deflate)) {
        throw damaged("deflate parameters that zlib does not take", at, { found: JSON.stringify(deflate) });
      }
      chunks.push({ type: "deflate", ...rest, patchSize: 0, deflate });
    } else if (type === CHUNK_TYPE.RAW) {
      const { size } = await records.record(RAW_RECORD);
      if (records.at + size > patch.size) {
        throw damaged("raw chunk reaches past the end", at, {
          expected: `${size} bytes`,
          found: patch.size - records.at,
        });
      }
      chunks.push({ type: "raw", offset: records.at, size });
      records.at += size;
    } else throw damaged("unknown chunk type", at, { expected: "0, 2 or 3", found: type });
  }
  return withPatchSizes(chunks, records.at, patch.size);
}

/** A chunk's patch ends where the next one begins, or at the end of the file: the format does not store its size. */
function withPatchSizes(chunks: readonly ImgdiffChunk[], tableEnd: number, fileSize: number): ImgdiffChunk[] {
  const starts = [fileSize];
  for (const chunk of chunks) {
    if (chunk.type === "raw") continue;
    if (chunk.patchOffset < tableEnd || chunk.patchOffset >= fileSize) {
      throw damaged("a chunk's patch lies outside the file", chunk.patchOffset, {
        expected: `below ${hexOffset(fileSize)}`,
      });
    }
    starts.push(chunk.patchOffset);
  }
  starts.sort((a, b) => a - b);
  const next = new Map<number, number>();
  for (let i = 0; i + 1 < starts.length; i++) {
    if (starts[i] !== starts[i + 1]) next.set(starts[i] as number, starts[i + 1] as number);
  }
  return chunks.map((chunk) =>
    chunk.type === "raw"
      ? chunk
      : { ...chunk, patchSize: (next.get(chunk.patchOffset) ?? fileSize) - chunk.patchOffset },
  );
}
