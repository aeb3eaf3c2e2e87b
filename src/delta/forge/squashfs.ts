/**
 * Squashfs images whose packed blocks carry no mark of their own (lz4): where the blocks lie, from superblock, inode table and
 * fragment table. Blocks of the other packers are found by their marks. Layout: Documentation/filesystems/squashfs.rst of Linux.
 *
 * The image is somebody else's: whatever does not fit is left out, and what is found must still unpack.
 */
import { readU16, readU32, readU64 } from "../../core/bytes.ts";
import { layout, u16, u32, u64 } from "../../core/layout.ts";
import { OtaError } from "../../core/errors.ts";
import { unpackLz4Block } from "./lz4.ts";
import { LEAST_CONTENT, type PackedPart, type PartFinder, type ScanSource } from "./scan.ts";

const SUPERBLOCK = layout("squashfs superblock, the fields used here", 96, {
  magic: u32(0, { meaning: "hsqs", hex: true }),
  blockSize: u32(12, { meaning: "bytes of a whole data block", unit: "bytes" }),
  fragments: u32(16, { meaning: "number of fragment blocks" }),
  compression: u16(20, { meaning: "1 gzip, 2 lzma, 3 lzo, 4 xz, 5 lz4, 6 zstd" }),
  major: u16(28, { meaning: "4" }),
  bytesUsed: u64(40, { meaning: "size of the image", unit: "bytes" }),
  idTable: u64(48, { meaning: "where the list of id blocks lies" }),
  inodeTable: u64(64, { meaning: "where the inodes begin" }),
  directoryTable: u64(72, { meaning: "where the directories begin, and the inodes end" }),
  fragmentTable: u64(80, { meaning: "where the list of fragment entry blocks lies" }),
  exportTable: u64(88, { meaning: "where the list of export blocks lies" }),
});

const MAGIC = 0x73717368;
const LZ4 = 5;
/** Content of a metadata block. */
const METADATA = 8192;
/** Unpacked inode tables up to here are read: half a million files. */
const MAX_INODES = 64 * 1024 * 1024;
/** Bit of a data block's size that says it is not packed. */
const PLAIN = 0x1000000;
const NO_FRAGMENT = 0xffffffff;
/** Fragment entries in a metadata block. */
const FRAGMENTS_A_BLOCK = 512;

/** A packed block in the image. */
interface Extent {
  readonly at: number;
  readonly size: number;
  readonly maxContent: number;
}

type Superblock = ReturnType<typeof SUPERBLOCK.decode>;

class SquashfsReader {
  readonly #source: ScanSource;
  readonly #imageAt: number;
  readonly #sb: Superblock;
  /** Where what is found goes. */
  readonly extents: Extent[];

  constructor(source: ScanSource, imageAt: number, sb: Superblock, extents: Extent[]) {
    this.extents = extents;
    this.#source = source;
    this.#imageAt = imageAt;
    this.#sb = sb;
  }

  /** Reads metadata blocks from `from` until `to` or until `most` bytes came out; their extents are noted. */
  async #metadata(from: number, to: number, most: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let total = 0;
    for (let at = from; at + 2 <= to && total < most;) {
      const head = readU16(await this.#source.bytes(this.#imageAt + at, 2), 0);
      const size = head & 0x7fff;
      if (size === 0 || size > METADATA || at + 2 + size > to) break;
      const stored = await this.#source.bytes(this.#imageAt + at + 2, size);
      if (stored.length < size) break;
      const plain = (head & 0x8000) !== 0;
      const content = plain ? stored.slice() : unpackLz4Block(stored, METADATA);
      if (!plain) this.extents.push({ at: at + 2, size, maxContent: METADATA });
      parts.push(content);
      total += content.length;
      at += 2 + size;
    }
    const out = new Uint8Array(total);
    let done = 0;
    for (const part of parts) {
      out.set(part, done);
      done += part.length;
    }
    return out;
  }

  /** The block positions listed at `at`; none when the table is absent (all ones). */
  async #list(at: number, count: number): Promise<number[]> {
    if (!(at + 8 * count <= this.#sb.bytesUsed)) return [];
    const bytes = await this.#source.bytes(this.#imageAt + at, 8 * count);
    return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => readU64(bytes, 8 * i));
  }

  #data(at: number, size: number): void {
    if ((size & PLAIN) !== 0 || size === 0 || size > this.#sb.blockSize) return;
    this.extents.push({ at, size, maxContent: this.#sb.blockSize });
  }

  #file(inodes: Uint8Array, at: number, place: { start: number; size: number; fragment: number }): number {
    const { blockSize } = this.#sb;
    const blocks =
      place.fragment === NO_FRAGMENT ? Math.ceil(place.size / blockSize) : Math.floor(place.size / blockSize);
    let start = place.start;
    let p = at;
    for (let i = 0; i < blocks && p + 4 <= inodes.length; i++, p += 4) {
      const size = readU32(inodes, p);
      this.#data(start, size);
      start += size & (PLAIN - 1);
    }
    return blocks * 4;
  }

  /** Size of the inode at `at`, its data blocks noted; NaN for what is no inode. */
  #inode(b: Uint8Array, at: number): number {
    const type = readU16(b, at);
    switch (type) {
      case 1:
        return 32;
      case 2: {
        const place = { start: readU32(b, at + 16), fragment: readU32(b, at + 20), size: readU32(b, at + 28) };
        return 32 + this.#file(b, at + 32, place);
      }
      case 3:
      case 10:
        return 24 + readU32(b, at + 20) + (type === 10 ? 4 : 0);
      case 4:
      case 5:
        return 24;
      case 6:
      case 7:
        return 20;
      case 8: {
        let p = at + 40;
        for (let i = readU16(b, at + 32); i > 0 && p + 12 <= b.length; i--) p += 12 + readU32(b, p + 8) + 1;
        return p - at;
      }
      case 9: {
        const place = { start: readU64(b, at + 16), size: readU64(b, at + 24), fragment: readU32(b, at + 44) };
        return 56 + this.#file(b, at + 56, place);
      }
      case 11:
      case 12:
        return 28;
      case 13:
      case 14:
        return 24;
      default:
        return Number.NaN;
    }
  }

  async read(): Promise<void> {
    const sb = this.#sb;
    const inodes = await this.#metadata(sb.inodeTable, sb.directoryTable, MAX_INODES);
    for (let at = 0; at + 60 <= inodes.length || at + 32 === inodes.length;) {
      const size = this.#inode(inodes, at);
      if (!(size > 0)) break;
      at += size;
    }
    const fragmentBlocks = await this.#list(sb.fragmentTable, Math.ceil(sb.fragments / FRAGMENTS_A_BLOCK));
    const ends = [
      ...fragmentBlocks.slice(0, 1),
      ...(await this.#list(sb.exportTable, 1)),
      ...(await this.#list(sb.idTable, 1)),
    ];
    await this.#metadata(sb.directoryTable, Math.min(...ends, sb.bytesUsed), MAX_INODES);
    for (const at of fragmentBlocks) {
      const entries = await this.#metadata(at, sb.bytesUsed, 1);
      for (let p = 0; p + 16 <= entries.length; p += 16) this.#data(readU64(entries, p), readU32(entries, p + 8));
    }
  }
}

/** The superblock at `at`, when it is one of an lz4 image whose numbers fit the file. */
async function superblockAt(source: ScanSource, at: number): Promise<Superblock | undefined> {
  const bytes = await source.bytes(at, SUPERBLOCK.size);
  if (bytes.length < SUPERBLOCK.size) return undefined;
  const sb = SUPERBLOCK.decode(bytes);
  const ok =
    sb.magic === MAGIC &&
    sb.major === 4 &&
    sb.compression === LZ4 &&
    sb.blockSize >= 4096 &&
    sb.blockSize <= 1024 * 1024 &&
    sb.inodeTable < sb.directoryTable &&
    sb.directoryTable <= sb.bytesUsed &&
    at + sb.bytesUsed <= source.size;
  return ok ? sb : undefined;
}

async function extentsOf(source: ScanSource, at: number): Promise<Extent[]> {
  const extents: Extent[] = [];
  let bytesUsed = 0;
  try {
    const sb = await superblockAt(source, at);
    if (sb === undefined) return [];
    bytesUsed = sb.bytesUsed;
    await new SquashfsReader(source, at, sb, extents).read();
  } catch (e) {
    // A damaged table, or sizes beyond any file: what was found until there is as good as any.
    if (!(e instanceof OtaError)) throw e;
  }
  const sorted = extents.filter((x) => x.at >= SUPERBLOCK.size && x.at + x.size <= bytesUsed);
  return sorted.sort((a, b) => a.at - b.at || a.size - b.size);
}

/** Finds the blocks of lz4 squashfs images for the re-packer of that number. */
export function squashfsLz4Finder(repacker: number): PartFinder {
  return {
    firstByte: MAGIC & 255,
    repackers: [repacker],
    plausible: (bytes, at) => at + 4 <= bytes.length && readU32(bytes, at) === MAGIC,
    async *find(source, at): AsyncIterable<PackedPart> {
      let end = at;
      for (const extent of await extentsOf(source, at)) {
        const blockAt = at + extent.at;
        // Files that share blocks name them twice.
        if (blockAt < end) continue;
        const packed = await source.bytes(blockAt, extent.size);
        let content: Uint8Array;
        try {
          content = unpackLz4Block(packed, extent.maxContent);
        } catch (e) {
          if (!(e instanceof OtaError)) throw e;
          continue;
        }
        if (content.length < LEAST_CONTENT) continue;
        end = blockAt + extent.size;
        yield { at: blockAt, size: extent.size, repackers: [repacker], content };
      }
    },
  };
}
