/** Android sparse images (formats/android.md 3.2) as random-access readers of the raw image they stand for. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { layout, u16, u32 } from "../../core/layout.ts";
import type { RandomReader } from "../../core/ports.ts";
import { checkRange } from "../../core/streams.ts";
import { ranges, unite, type Ranges } from "../block/ranges.ts";

const SOURCE = "formats/android.md 3.2";

export const SPARSE_HEADER = layout("sparse image header", 28, {
  magic: u32(0, { meaning: "0xED26FF3A", source: SOURCE, hex: true }),
  major: u16(4, { meaning: "1", source: SOURCE }),
  minor: u16(6, { meaning: "0", source: SOURCE }),
  headerSize: u16(8, { meaning: "28", unit: "bytes", source: SOURCE }),
  chunkHeaderSize: u16(10, { meaning: "12", unit: "bytes", source: SOURCE }),
  blockSize: u32(12, { meaning: "size of a block", unit: "bytes", source: SOURCE }),
  blocks: u32(16, { meaning: "blocks of the raw image", source: SOURCE }),
  chunks: u32(20, { meaning: "chunks behind the header", source: SOURCE }),
  checksum: u32(24, { meaning: "ignored", source: SOURCE, hex: true }),
});

export const SPARSE_CHUNK = layout("sparse image chunk", 12, {
  type: u16(0, { meaning: "CAC1 raw, CAC2 fill, CAC3 don't care, CAC4 checksum", source: SOURCE, hex: true }),
  reserved: u16(2, { meaning: "0", source: SOURCE }),
  blocks: u32(4, { meaning: "blocks of the raw image it stands for", source: SOURCE }),
  size: u32(8, { meaning: "size with this header", unit: "bytes", source: SOURCE }),
});

const MAGIC = 0xed26ff3a;
const CHUNK = Object.freeze({ raw: 0xcac1, fill: 0xcac2, skip: 0xcac3, crc: 0xcac4 });

interface Chunk {
  /** First block and the block behind the last. */
  readonly start: number;
  readonly end: number;
  /** Offset of raw data; absent where `fill` stands for it. */
  readonly data?: number;
  /** Four repeated bytes; zeros where the image does not care. */
  readonly fill: Uint8Array;
}

/** A file system image in blocks. */
export interface BlockImage {
  readonly blockSize: number;
  readonly blocks: number;
  /** Blocks whose content matters. */
  readonly care: Ranges;
  /** The raw image; blocks that do not matter read as zeros. */
  readonly raw: RandomReader;
}

function damaged(
  what: string,
  at: number,
  more: { expected?: string | number; found?: string | number } = {},
): OtaError {
  return new OtaError("ANDROID_SPARSE", { what, where: `offset ${hexOffset(at)}`, ...more });
}

export function isSparse(head: Uint8Array): boolean {
  return head.length >= 4 && head[0] === 0x3a && head[1] === 0xff && head[2] === 0x26 && head[3] === 0xed;
}

/** A raw image whose every block matters. @throws OtaError ANDROID_SPARSE when it is not made of whole blocks */
export function rawImage(reader: RandomReader, blockSize = 4096): BlockImage {
  if (reader.size % blockSize !== 0)
    throw damaged("the image is not made of whole blocks", reader.size, { found: reader.size });
  const blocks = reader.size / blockSize;
  return { blockSize, blocks, care: ranges(blocks === 0 ? [] : [0, blocks]), raw: reader };
}

/** Opens a sparse image, or a raw one as it is. @throws OtaError ANDROID_SPARSE */
export async function openImage(reader: RandomReader): Promise<BlockImage> {
  const head = await reader.read(0, Math.min(SPARSE_HEADER.size, reader.size));
  if (!isSparse(head)) return rawImage(reader);
  const header = SPARSE_HEADER.decode(head);
  const { blockSize, blocks } = header;
  if (header.magic !== MAGIC || header.major !== 1 || header.headerSize < 28 || header.chunkHeaderSize < 12) {
    throw damaged("unknown version of a sparse image", 0, {
      expected: "1.0",
      found: `${header.major}.${header.minor}`,
    });
  }
  if (blockSize === 0 || blockSize % 4 !== 0 || blockSize > 65536)
    throw damaged("bad block size", 12, { found: blockSize });
  const chunks: Chunk[] = [];
  const skipped = new Set<number>();
  const zero = new Uint8Array(4);
  let at = header.headerSize;
  let block = 0;
  for (let i = 0; i < header.chunks; i++) {
    if (at + header.chunkHeaderSize > reader.size)
      throw damaged("the image is cut short", at, { expected: `${header.chunks} chunks`, found: i });
    const chunk = SPARSE_CHUNK.decode(await reader.read(at, SPARSE_CHUNK.size));
    const dataSize = chunk.size - header.chunkHeaderSize;
    const data = at + header.chunkHeaderSize;
    const end = block + chunk.blocks;
    const needed = { [CHUNK.raw]: chunk.blocks * blockSize, [CHUNK.fill]: 4, [CHUNK.skip]: 0, [CHUNK.crc]: 4 }[
      chunk.type
    ];
    if (needed === undefined) throw damaged("unknown chunk", at, { found: hexOffset(chunk.type) });
    if (dataSize !== needed || data + dataSize > reader.size)
      throw damaged("a chunk lies about its size", at, { expected: needed, found: dataSize });
    if (end > blocks)
      throw damaged("the chunks hold more blocks than the header says", at, { expected: blocks, found: end });
    if (chunk.type === CHUNK.crc) {
      at = data + dataSize;
      continue;
    }
    if (chunk.type === CHUNK.raw) chunks.push({ start: block, end, data, fill: zero });
    else if (chunk.type === CHUNK.fill) chunks.push({ start: block, end, fill: (await reader.read(data, 4)).slice() });
    else chunks.push({ start: block, end, fill: zero });
    if (chunk.type === CHUNK.skip) skipped.add(chunks.length - 1);
    at = data + dataSize;
    block = end;
  }
  if (block !== blocks)
    throw damaged("the chunks hold fewer blocks than the header says", at, { expected: blocks, found: block });
  const care = unite(
    ...chunks.filter((_, i) => !skipped.has(i)).map((c) => ranges(c.start === c.end ? [] : [c.start, c.end])),
  );
  return { blockSize, blocks, care, raw: rawReader(reader, chunks, blockSize, blocks) };
}

function rawReader(reader: RandomReader, chunks: readonly Chunk[], blockSize: number, blocks: number): RandomReader {
  const size = blocks * blockSize;
  const find = (block: number): number => {
    let low = 0;
    let high = chunks.length - 1;
    while (low < high) {
      const middle = Math.floor((low + high + 1) / 2);
      if ((chunks[middle] as Chunk).start <= block) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  return {
    size,
    async read(offset, length) {
      checkRange(size, offset, length);
      const out = new Uint8Array(length);
      for (let done = 0, i = find(Math.floor(offset / blockSize)); done < length; i++) {
        const chunk = chunks[i] as Chunk;
        const from = offset + done;
        const n = Math.min(length - done, chunk.end * blockSize - from);
        if (n <= 0) continue;
        if (chunk.data !== undefined) {
          out.set(await reader.read(chunk.data + from - chunk.start * blockSize, n), done);
        } else if (chunk.fill.some((b) => b !== 0)) {
          for (let k = 0; k < n; k++) out[done + k] = chunk.fill[(from + k) % 4] as number;
        }
        done += n;
      }
      return out;
    },
  };
}
