/** Where the content of a file lies: a tree of extents, or the block numbers of ext2 and ext3. */
import { readU32 } from "../../core/index.ts";
import { damaged } from "./damaged.ts";
import { EXTENT, EXTENT_INDEX, EXTENT_MAGIC, EXTENT_NODE } from "./layouts.ts";

/** Blocks that follow each other in the file and on the medium. What no run has reads as zeros. */
export interface BlockRun {
  /** First block of the file. */
  readonly block: number;
  /** First block on the medium. */
  readonly start: number;
  readonly count: number;
}

/** What of an inode says where its content lies. */
export interface Mapped {
  readonly number: number;
  readonly size: number;
  readonly flags: number;
  readonly map: Uint8Array;
}

const USES_EXTENTS = 0x80000;
/** Lengths above it mean blocks that were reserved and never written. */
const WRITTEN_MOST = 32768;
const MAX_DEPTH = 5;
/** Block numbers in the inode itself. */
const DIRECT = 12;
const HIGH = 2 ** 32;

/** The image a file lies in. */
interface Medium {
  readonly blockSize: number;
  /** Blocks of the image: no file has more, and no tree more nodes. */
  readonly blocks: number;
  readonly read: (number: number) => Promise<Uint8Array>;
}

class Walk {
  readonly #inode: Mapped;
  readonly #medium: Medium;
  /** Nodes and blocks that may still be met: a tree that leads back into itself ends. */
  #left: number;

  constructor(inode: Mapped, medium: Medium) {
    this.#inode = inode;
    this.#medium = medium;
    this.#left = 2 * medium.blocks;
  }

  #spend(count: number): void {
    this.#left -= count;
    if (this.#left < 0) throw damaged("a file has more blocks than the image", `inode ${this.#inode.number}`);
  }

  async extents(node: Uint8Array, deepest: number): Promise<BlockRun[]> {
    const head = EXTENT_NODE.decode(node.subarray(0, EXTENT_NODE.size));
    const fits = EXTENT_NODE.size + head.entries * EXTENT.size <= node.length;
    if (head.magic !== EXTENT_MAGIC || !fits || head.depth > deepest) {
      throw damaged("a node of extents is none", `inode ${this.#inode.number}`);
    }
    const runs: BlockRun[] = [];
    for (let i = 0; i < head.entries; i++) {
      const at = EXTENT_NODE.size + i * EXTENT.size;
      const bytes = node.subarray(at, at + EXTENT.size);
      if (head.depth > 0) {
        const { leafLow, leafHigh } = EXTENT_INDEX.decode(bytes);
        this.#spend(1);
        runs.push(...(await this.extents(await this.#medium.read(leafLow + leafHigh * HIGH), head.depth - 1)));
        continue;
      }
      const { block, length, startLow, startHigh } = EXTENT.decode(bytes);
      if (length > WRITTEN_MOST) continue;
      this.#spend(length);
      runs.push({ block, start: startLow + startHigh * HIGH, count: length });
    }
    return runs;
  }

  /** What the tree `depth` levels below the number `start` holds of the file from `block` on. */
  async #below(start: number, depth: number, block: number): Promise<BlockRun[]> {
    const { blockSize, read } = this.#medium;
    if (start === 0 || block * blockSize >= this.#inode.size) return [];
    this.#spend(1);
    if (depth === 0) return [{ block, start, count: 1 }];
    const table = await read(start);
    const span = (blockSize / 4) ** (depth - 1);
    const runs: BlockRun[] = [];
    for (let i = 0; i < blockSize / 4; i++) {
      runs.push(...(await this.#below(readU32(table, i * 4), depth - 1, block + i * span)));
    }
    return runs;
  }

  async classic(): Promise<BlockRun[]> {
    const perTable = this.#medium.blockSize / 4;
    const runs: BlockRun[] = [];
    let block = 0;
    for (let i = 0; i < DIRECT + 3; i++) {
      const depth = Math.max(0, i - DIRECT + 1);
      runs.push(...(await this.#below(readU32(this.#inode.map, i * 4), depth, block)));
      block += perTable ** depth;
    }
    return runs;
  }
}

/** The runs of a file's content. @throws OtaError DEVICE_IO */
export async function blockMap(inode: Mapped, medium: Medium): Promise<readonly BlockRun[]> {
  const walk = new Walk(inode, medium);
  return (inode.flags & USES_EXTENTS) !== 0 ? walk.extents(inode.map, MAX_DEPTH) : walk.classic();
}
