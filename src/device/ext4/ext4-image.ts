/**
 * Reads the files of an ext4 image without mounting it: names, contents, owners, modes, links, SELinux labels, capabilities. Total: any
 * bytes give a tree or an OtaError, within the sizes the image itself has. Nothing writes ext4 here.
 */
import { OtaError, decodeText, hexOffset } from "../../core/index.ts";
import type { ByteStream, FileAttributes, RandomReader } from "../../core/index.ts";
import { readAttributes } from "./attributes.ts";
import { blockMap } from "./block-map.ts";
import type { BlockRun, Mapped } from "./block-map.ts";
import { damaged } from "./damaged.ts";
import { DIRECTORY_ENTRY, EXT4_MAGIC, GROUP, INODE, SUPERBLOCK, SUPERBLOCK_OFFSET } from "./layouts.ts";
import type { Superblock } from "./layouts.ts";

/** One file, folder or link of an image. */
export interface Ext4Entry {
  /** From the image's root, `/bin/sh`. */
  readonly path: string;
  readonly kind: "file" | "folder" | "link";
  readonly attributes: FileAttributes;
  /** Name of an extended attribute that {@link Ext4Entry.attributes} does not have, where there is one. */
  readonly otherAttribute?: string;
  /** Last change of the content, milliseconds since 1970. */
  readonly mtimeMs: number;
  /** Bytes; 0 for folders. */
  readonly size: number;
  /** Text of a link. */
  readonly link?: string;
  /** Number of its inode: names of one file (hard links) have the same. */
  readonly inode: number;
  content(): Promise<Uint8Array>;
  /** The content in pieces. */
  stream(): ByteStream;
}

export interface Ext4Image {
  readonly freeBytes: number;
  /**
   * All but the root and `lost+found`, each folder before what is in it. Pipes, sockets and device nodes, which no update writes, are
   * left out and named to `special`.
   * @throws OtaError DEVICE_IO, UNSUPPORTED
   */
  entries(special?: (path: string) => void): AsyncGenerator<Ext4Entry>;
  /** Attributes of the root (`""`) or `/lost+found`; undefined where there is none. @throws OtaError DEVICE_IO */
  ownFolder(path: "" | "/lost+found"): Promise<FileAttributes | undefined>;
}

const ROOT_INODE = 2;
const MODE = Object.freeze({ mask: 0xf000, folder: 0x4000, file: 0x8000, link: 0xa000 });
const INLINE_DATA = 0x10000000;
const ENCRYPTED = 0x800;
/** Text of a link that lies in the inode: up to this many bytes. */
const SHORT_LINK = 59;
const MAX_LINK = 4096;
/** Bytes of a content that are given at a time. */
const PIECE = 1024 * 1024;

/** Features by bit: what a reader has to know, and what it then does. */
const KNOWN = 0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
const NEEDS_RECOVERY = 0x4;
const WIDE = 0x80;

const HIGH = 2 ** 32;

/** A file of the image. */
interface Inode extends Mapped {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
  readonly attributeBlock: number;
  /** Attributes inside the inode. */
  readonly inside: Uint8Array;
}

class Image implements Ext4Image {
  readonly #reader: RandomReader;
  readonly #super: Superblock;
  readonly #blockSize: number;
  readonly #inodeSize: number;

  constructor(reader: RandomReader, superblock: Superblock) {
    this.#reader = reader;
    this.#super = superblock;
    this.#blockSize = 1024 * 2 ** superblock.blockShift;
    this.#inodeSize = superblock.revision === 0 ? 128 : superblock.inodeSize;
  }

  get freeBytes(): number {
    return (this.#super.freeBlocksLow + this.#super.freeBlocksHigh * HIGH) * this.#blockSize;
  }

  async #read(offset: number, length: number, what: string): Promise<Uint8Array> {
    if (offset + length > this.#reader.size) throw damaged(`${what} lies outside`, `offset ${hexOffset(offset)}`);
    return this.#reader.read(offset, length);
  }

  readonly #block = (number: number): Promise<Uint8Array> =>
    this.#read(number * this.#blockSize, this.#blockSize, `block ${number}`);

  async #inode(number: number): Promise<Inode> {
    const { inodesPerGroup, inodeCount, firstDataBlock, incompatible, descriptorSize } = this.#super;
    if (number < 1 || number > inodeCount)
      throw damaged("a folder names an inode that is not there", `inode ${number}`);
    const wide = (incompatible & WIDE) !== 0;
    const size = wide ? descriptorSize : 32;
    const at = (firstDataBlock + 1) * this.#blockSize + Math.floor((number - 1) / inodesPerGroup) * size;
    const descriptor = new Uint8Array(GROUP.size);
    descriptor.set((await this.#read(at, size, "a group descriptor")).subarray(0, GROUP.size));
    const group = GROUP.decode(descriptor);
    const table = group.inodeTableLow + (wide ? group.inodeTableHigh * HIGH : 0);
    const offset = table * this.#blockSize + ((number - 1) % inodesPerGroup) * this.#inodeSize;
    const bytes = await this.#read(offset, this.#inodeSize, `inode ${number}`);
    const whole = new Uint8Array(Math.max(bytes.length, INODE.size));
    whole.set(bytes);
    const inode = INODE.decode(whole);
    return {
      number,
      mode: inode.mode,
      uid: inode.uidLow + inode.uidHigh * 65536,
      gid: inode.gidLow + inode.gidHigh * 65536,
      size: inode.sizeLow + inode.sizeHigh * HIGH,
      flags: inode.flags,
      mtimeMs: inode.modified * 1000,
      map: inode.map,
      attributeBlock: inode.attributesLow + inode.attributesHigh * HIGH,
      inside: bytes.length > 128 ? bytes.subarray(Math.min(bytes.length, 128 + inode.extraSize)) : new Uint8Array(0),
    };
  }

  async #runs(inode: Inode): Promise<readonly BlockRun[]> {
    if ((inode.flags & (INLINE_DATA | ENCRYPTED)) !== 0) {
      throw new OtaError("UNSUPPORTED", {
        what: "the ext4 image has files whose content is encrypted or lies in the inode",
        where: `inode ${inode.number}`,
        hint: "Make the image without these features, or describe the mount with dir.",
      });
    }
    const blocks = Math.floor(this.#reader.size / this.#blockSize);
    return blockMap(inode, { blockSize: this.#blockSize, blocks, read: this.#block });
  }

  /** Content and holes in order. */
  async *#stream(inode: Inode): ByteStream {
    // A hole has no blocks: a size beyond the image can only be one, and fills the memory or the disk.
    if (inode.size > this.#reader.size) throw damaged("a file is larger than the image", `inode ${inode.number}`);
    const what = `content of inode ${inode.number}`;
    let at = 0;
    const hole = function* (end: number): Generator<Uint8Array> {
      for (; at < end; at += PIECE) yield new Uint8Array(Math.min(PIECE, end - at));
      at = end;
    };
    for (const { block, start, count } of await this.#runs(inode)) {
      const from = block * this.#blockSize;
      const end = Math.min(from + count * this.#blockSize, inode.size);
      if (from < at) throw damaged("blocks of a file are not in order", `inode ${inode.number}`);
      if (from >= end) continue;
      yield* hole(from);
      for (; at < end; at = Math.min(at + PIECE, end)) {
        yield await this.#read(start * this.#blockSize + (at - from), Math.min(PIECE, end - at), what);
      }
    }
    yield* hole(inode.size);
  }

  async #content(inode: Inode): Promise<Uint8Array> {
    if (inode.size > this.#reader.size) throw damaged("a file is larger than the image", `inode ${inode.number}`);
    const out = new Uint8Array(inode.size);
    let at = 0;
    for await (const piece of this.#stream(inode)) {
      out.set(piece, at);
      at += piece.length;
    }
    return out;
  }

  async #link(inode: Inode): Promise<string> {
    if (inode.size > MAX_LINK) throw damaged("a link is too long", `inode ${inode.number}`);
    return decodeText(inode.size <= SHORT_LINK ? inode.map.subarray(0, inode.size) : await this.#content(inode));
  }

  /** Names of a folder and their inodes. */
  async #names(inode: Inode): Promise<readonly (readonly [name: string, inode: number])[]> {
    const bytes = await this.#content(inode);
    const found: [string, number][] = [];
    for (let at = 0; at + DIRECTORY_ENTRY.size <= bytes.length;) {
      const entry = DIRECTORY_ENTRY.decode(bytes.subarray(at, at + DIRECTORY_ENTRY.size));
      const left = this.#blockSize - (at % this.#blockSize);
      // A whole block of 65536 bytes is written as 65535 or 0.
      const size = this.#blockSize === 65536 && (entry.size === 65535 || entry.size === 0) ? left : entry.size;
      if (size < DIRECTORY_ENTRY.size || size % 4 !== 0 || size > left || entry.nameSize + 8 > size) {
        throw damaged("a folder's entries do not fit into each other", `inode ${inode.number}`);
      }
      const name = decodeText(bytes.subarray(at + 8, at + 8 + entry.nameSize));
      at += size;
      if (entry.inode === 0 || name === "." || name === "..") continue;
      if (name === "" || /[/\0]/.test(name)) throw damaged("a name is none", `inode ${inode.number}`);
      found.push([name, entry.inode]);
    }
    return found;
  }

  async #attributes(inode: Inode): Promise<Pick<Ext4Entry, "attributes" | "otherAttribute">> {
    const { mode, uid, gid, inside, attributeBlock } = inode;
    const outside = attributeBlock === 0 ? undefined : await this.#block(attributeBlock);
    const { labels, other } = readAttributes(inside, outside, `inode ${inode.number}`);
    return {
      attributes: { mode: mode & 0o7777, uid, gid, ...labels },
      ...(other === undefined ? {} : { otherAttribute: other }),
    };
  }

  async *#folder(
    inode: Inode,
    path: string,
    seen: Set<number>,
    special: (path: string) => void,
  ): AsyncGenerator<Ext4Entry> {
    if (seen.has(inode.number)) throw damaged("a folder has two names", path);
    seen.add(inode.number);
    for (const [name, number] of await this.#names(inode)) {
      const child = `${path}/${name}`;
      if (child === "/lost+found") continue;
      const file = await this.#inode(number);
      const kind = file.mode & MODE.mask;
      const { mtimeMs } = file;
      const common = { path: child, ...(await this.#attributes(file)), mtimeMs, inode: number };
      const none = { content: async () => new Uint8Array(0), stream: async function* () {} };
      if (kind === MODE.folder) {
        yield { ...common, ...none, kind: "folder", size: 0 };
        yield* this.#folder(file, child, seen, special);
      } else if (kind === MODE.link) {
        yield { ...common, ...none, kind: "link", size: 0, link: await this.#link(file) };
      } else if (kind === MODE.file) {
        const { size } = file;
        yield { ...common, kind: "file", size, content: () => this.#content(file), stream: () => this.#stream(file) };
      } else special(child);
    }
  }

  async *entries(special: (path: string) => void = () => undefined): AsyncGenerator<Ext4Entry> {
    yield* this.#folder(await this.#inode(ROOT_INODE), "", new Set(), special);
  }

  async ownFolder(path: "" | "/lost+found"): Promise<FileAttributes | undefined> {
    const root = await this.#inode(ROOT_INODE);
    if (path === "") return (await this.#attributes(root)).attributes;
    const found = (await this.#names(root)).find(([name]) => name === path.slice(1));
    return found === undefined ? undefined : (await this.#attributes(await this.#inode(found[1]))).attributes;
  }
}

/**
 * Opens an image. Undefined when it holds no ext4.
 * @throws OtaError UNSUPPORTED for features beyond this reader, DEVICE_BUSY when its journal has to be played first, DEVICE_IO
 */
export async function openExt4(reader: RandomReader): Promise<Ext4Image | undefined> {
  if (reader.size < SUPERBLOCK_OFFSET + SUPERBLOCK.size) return undefined;
  const found = SUPERBLOCK.decode(await reader.read(SUPERBLOCK_OFFSET, SUPERBLOCK.size));
  if (found.magic !== EXT4_MAGIC) return undefined;
  const where = "superblock";
  if ((found.incompatible & NEEDS_RECOVERY) !== 0) {
    throw new OtaError("DEVICE_BUSY", {
      what: "the ext4 image was not unmounted: its journal has to be played first",
      where,
      hint: "Run: e2fsck -fy IMAGE.",
    });
  }
  const unknown = found.incompatible & ~KNOWN;
  if (unknown !== 0) {
    throw new OtaError("UNSUPPORTED", {
      what: "the ext4 image has features that are not known here",
      where,
      found: hexOffset(unknown >>> 0),
      hint: "Make it with the features of Android's images, or describe the mount with dir.",
    });
  }
  const wideProblem = (found.incompatible & WIDE) !== 0 && (found.descriptorSize < 64 || found.descriptorSize > 1024);
  const inodeProblem = found.revision !== 0 && (found.inodeSize < 128 || found.inodeSize > 4096);
  if (found.blockShift > 6 || found.inodesPerGroup === 0 || inodeProblem || wideProblem) {
    throw damaged("its sizes are none", where);
  }
  return new Image(reader, found);
}
