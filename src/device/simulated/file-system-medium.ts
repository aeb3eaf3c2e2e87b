/**
 * A file system: data is durable after a sync of its file, names after a sync of their folder, and neither before.
 *
 * After a power cut any part of the unsynced data may be there; names keep their order within a folder, and a rename happens
 * whole or not at all. That is what POSIX promises and all that an installer may rely on: ext4 and UBIFS often keep more.
 */
import type { FileAttributes } from "../../core/index.ts";
import type { Loss, Medium } from "./medium.ts";
import { eachPiece } from "./operations.ts";
import type { Birth, SimulatedWrite } from "./operations.ts";
import { PagedBytes } from "./paged-bytes.ts";
import type { Random } from "./random.ts";

/** Unit of allocation, bytes: what a file of one byte takes of the free space. */
export const FILE_BLOCK = 4096;
const ROOT = 1;

export interface Inode {
  readonly kind: "file" | "folder" | "link";
  mode: number;
  uid: number;
  gid: number;
  mtimeMs: number;
  selinuxLabel: string | undefined;
  capabilities: bigint | undefined;
  readonly text: string;
  content: PagedBytes;
  entries: Map<string, number>;
  /** Names that mean this inode. */
  links: number;
}

function newInode(birth: Omit<Birth, "ino">): Inode {
  return {
    kind: birth.kind,
    mode: birth.mode,
    uid: birth.uid,
    gid: birth.gid,
    mtimeMs: 0,
    selinuxLabel: undefined,
    capabilities: undefined,
    text: birth.text,
    content: new PagedBytes(0),
    entries: new Map(),
    links: 0,
  };
}

function setAttributes(inode: Inode, attributes: FileAttributes): void {
  const { uid, gid, mode, selinuxLabel, capabilities, mtimeMs } = attributes;
  if (uid !== undefined) inode.uid = uid;
  if (gid !== undefined) inode.gid = gid;
  if (mode !== undefined && inode.kind !== "link") inode.mode = mode;
  if (selinuxLabel !== undefined) inode.selinuxLabel = selinuxLabel;
  if (capabilities !== undefined) inode.capabilities = capabilities === 0n ? undefined : capabilities;
  if (mtimeMs !== undefined) inode.mtimeMs = mtimeMs;
}

const blocks = (inode: Inode | undefined): number =>
  inode?.kind === "file" && inode.links > 0 ? Math.ceil(inode.content.size / FILE_BLOCK) * FILE_BLOCK : 0;

/** All inodes, copied when they are changed. */
class FileTree {
  #inodes: Map<number, Inode>;
  #shared = false;
  #owned = new Set<number>();
  /** Bytes taken by files that have a name. */
  used: number;

  constructor(inodes: Map<number, Inode>, used = 0) {
    this.#inodes = inodes;
    this.used = used;
  }

  get(ino: number): Inode | undefined {
    return this.#inodes.get(ino);
  }

  set(ino: number, inode: Inode): void {
    this.#own();
    this.#inodes.set(ino, inode);
    this.#owned.add(ino);
  }

  edit(ino: number): Inode | undefined {
    const inode = this.#inodes.get(ino);
    if (inode === undefined || this.#owned.has(ino)) return inode;
    const copy = { ...inode };
    if (inode.kind === "folder") copy.entries = new Map(inode.entries);
    else if (inode.kind === "file") copy.content = inode.content.fork();
    this.set(ino, copy);
    return copy;
  }

  /** Does `change` to an inode and keeps count of the space. */
  change(ino: number, change: (inode: Inode) => void): void {
    const inode = this.edit(ino);
    if (inode === undefined) return;
    const before = blocks(inode);
    change(inode);
    this.used += blocks(inode) - before;
  }

  #own(): void {
    if (!this.#shared) return;
    this.#inodes = new Map(this.#inodes);
    this.#shared = false;
  }

  fork(): FileTree {
    const twin = new FileTree(this.#inodes, this.used);
    twin.#shared = this.#shared = true;
    this.#owned = new Set();
    return twin;
  }

  /** Forgets what no name leads to and counts names and space anew: what `fsck` would find. */
  collect(): void {
    const kept = new Map<number, Inode>();
    const links = new Map<number, number>();
    const visit = (ino: number): void => {
      links.set(ino, (links.get(ino) ?? 0) + 1);
      const inode = this.#inodes.get(ino);
      if (inode === undefined || kept.has(ino)) return;
      kept.set(ino, inode);
      for (const child of inode.entries.values()) visit(child);
    };
    visit(ROOT);
    this.#inodes = kept;
    this.#shared = false;
    this.used = 0;
    for (const [ino, inode] of kept) {
      const count = links.get(ino) ?? 0;
      const current = count === inode.links ? inode : (this.edit(ino) as Inode);
      current.links = count;
      this.used += blocks(current);
    }
  }
}

type NamesOp = Extract<SimulatedWrite, { kind: "names" }>;

export interface FileSystemOptions {
  /** Bytes of file content it holds, in whole blocks. */
  readonly capacityBytes: number;
  /** A tmpfs: empty after every power cut. */
  readonly volatile: boolean;
}

export class FileSystemMedium implements Medium {
  readonly options: FileSystemOptions;
  #visible: FileTree;
  #durable: FileTree;
  #pending: SimulatedWrite[] = [];
  /** Inodes whose making is not durable yet. */
  #births = new Map<number, Birth>();
  #nextIno: number;

  constructor(options: FileSystemOptions, visible?: FileTree, nextIno = ROOT + 1) {
    this.options = options;
    this.#visible =
      visible ?? new FileTree(new Map([[ROOT, newInode({ kind: "folder", mode: 0o755, uid: 0, gid: 0, text: "" })]]));
    this.#durable = this.#visible.fork();
    this.#nextIno = nextIno;
  }

  readonly root = ROOT;

  inode(ino: number): Inode | undefined {
    return this.#visible.get(ino);
  }

  get freeBytes(): number {
    return Math.max(0, this.options.capacityBytes - this.#visible.used);
  }

  /** Number for the next file that is made. */
  newIno(): number {
    return this.#nextIno++;
  }

  apply(op: SimulatedWrite): void {
    if (op.kind === "sync-file") this.#syncFile(op.ino);
    else if (op.kind === "sync-folder") this.#syncFolder(op.ino);
    else {
      if (op.kind === "names" && op.birth !== undefined) {
        this.#births.set(op.birth.ino, op.birth);
        // A replayed log must not hand its numbers out again.
        this.#nextIno = Math.max(this.#nextIno, op.birth.ino + 1);
      }
      this.#do(this.#visible, op);
      this.#pending.push(op);
    }
  }

  #ensure(tree: FileTree, ino: number): void {
    if (tree.get(ino) !== undefined) return;
    const birth = this.#births.get(ino);
    if (birth !== undefined) tree.set(ino, newInode(birth));
  }

  #do(tree: FileTree, op: SimulatedWrite): void {
    switch (op.kind) {
      case "names":
        for (const { folder, name, ino } of op.changes) {
          this.#ensure(tree, folder);
          const entries = tree.edit(folder)?.entries;
          const old = entries?.get(name);
          if (old !== undefined) tree.change(old, (inode) => inode.links--);
          if (ino === undefined) entries?.delete(name);
          else {
            this.#ensure(tree, ino);
            entries?.set(name, ino);
            tree.change(ino, (inode) => inode.links++);
          }
        }
        return;
      case "data":
        this.#ensure(tree, op.ino);
        tree.change(op.ino, (inode) => {
          inode.content.write(op.offset, op.bytes);
          inode.mtimeMs = op.timeMs;
        });
        return;
      case "size":
        this.#ensure(tree, op.ino);
        tree.change(op.ino, (inode) => {
          inode.content.resize(op.size);
          inode.mtimeMs = op.timeMs;
        });
        return;
      case "attributes": {
        this.#ensure(tree, op.ino);
        const inode = tree.edit(op.ino);
        if (inode !== undefined) setAttributes(inode, op.attributes);
        return;
      }
      default:
    }
  }

  #settle(settles: (op: SimulatedWrite) => boolean): void {
    const rest: SimulatedWrite[] = [];
    for (const op of this.#pending) {
      if (settles(op)) this.#do(this.#durable, op);
      else rest.push(op);
    }
    this.#pending = rest;
  }

  /** After a sync the durable file is the visible one: its pages are shared instead of written a second time. */
  #syncFile(ino: number): void {
    const rest = this.#pending.filter((op) => !("ino" in op && op.ino === ino));
    if (rest.length === this.#pending.length) return;
    this.#pending = rest;
    this.#ensure(this.#durable, ino);
    const visible = this.#visible.get(ino);
    if (visible === undefined) return;
    this.#durable.change(ino, (inode) => {
      const { links } = inode;
      Object.assign(inode, visible, { content: visible.content.fork(), entries: inode.entries, links });
    });
  }

  #syncFolder(ino: number): void {
    // A rename between two folders ties them: what came before it in the other one becomes durable with it.
    const folders = new Set([ino]);
    const included = new Set<SimulatedWrite>();
    for (const op of this.#pending.slice().reverse()) {
      if (op.kind !== "names" || !op.changes.some(({ folder }) => folders.has(folder))) continue;
      included.add(op);
      for (const { folder } of op.changes) folders.add(folder);
    }
    const children = new Set(this.#visible.get(ino)?.entries.values());
    this.#settle((op) => included.has(op) || (op.kind === "attributes" && (op.ino === ino || children.has(op.ino))));
  }

  lose({ unflushed, random, torn }: Loss): void {
    if (this.options.volatile) {
      this.#durable = new FileSystemMedium(this.options).#visible;
    } else {
      const lost = this.#pending.length > 0 || torn !== undefined;
      if (unflushed === "kept") for (const op of this.#pending) this.#do(this.#durable, op);
      if (unflushed === "some") this.#keepSome(random);
      if (torn?.kind === "data") this.#tear(torn, random, unflushed === "some");
      if (lost) this.#durable.collect();
    }
    this.#pending = [];
    this.#births = new Map();
    this.#visible = this.#durable.fork();
  }

  #keepSome(random: Random): void {
    const blocked = new Set<number>();
    for (const op of this.#pending) {
      if (op.kind === "names") this.#keepNames(op, blocked, random);
      else if (op.kind === "data") {
        const style = random.below(4);
        this.#keepData(op, () => (style === 0 ? false : style === 1 ? true : random.chance()));
      } else if (random.chance()) this.#do(this.#durable, op);
    }
  }

  #keepNames(op: NamesOp, blocked: Set<number>, random: Random): void {
    // Mostly kept: with fair coins a long sequence would nearly always end in its first few steps.
    if (random.below(4) > 0 && !op.changes.some(({ folder }) => blocked.has(folder))) this.#do(this.#durable, op);
    else for (const { folder } of op.changes) blocked.add(folder);
  }

  #keepData(op: Extract<SimulatedWrite, { kind: "data" }>, stays: () => boolean): void {
    eachPiece(op.offset, op.bytes.length, 512, (at, size) => {
      if (stays())
        this.#do(this.#durable, { ...op, offset: at, bytes: op.bytes.subarray(at - op.offset, at - op.offset + size) });
    });
  }

  #tear(op: Extract<SimulatedWrite, { kind: "data" }>, random: Random, scattered: boolean): void {
    let left = random.below(Math.ceil(op.bytes.length / 512)) + 1;
    this.#keepData(op, () => (scattered ? random.chance() : --left >= 0));
  }

  fork(): FileSystemMedium {
    const twin = new FileSystemMedium(this.options, this.#visible.fork(), this.#nextIno);
    twin.#durable = this.#durable.fork();
    twin.#pending = this.#pending.slice();
    twin.#births = new Map(this.#births);
    return twin;
  }
}
