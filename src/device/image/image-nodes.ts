/** Files that stand for a board's raw nodes. */
import { open, stat } from "node:fs/promises";
import { OtaError, hexOffset, isAllByte } from "../../core/index.ts";
import type { BlockTarget, FileStore, NodeInfo, NodeStore } from "../../core/index.ts";
import type { DeviceDescription } from "../description.ts";
import { checkInside, openRawFile } from "../disk/raw-file.ts";
import { fileTarget } from "../file-target.ts";
import { openJournal } from "../journal.ts";
import { deviceError } from "../system-errors.ts";

/** The node under which a description's `card` is opened. */
export const CARD_NODE = "/dev/card";

type Described = NonNullable<DeviceDescription["nodes"]>[string];

export interface ImageNode extends NodeInfo {
  readonly file: string;
  readonly badBlocks: readonly number[];
}

/** Bytes of the file, 0 when there is none yet. */
async function fileSize(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (e) {
    const error = deviceError(e, file);
    if (error instanceof OtaError && error.code === "DEVICE_NOT_FOUND") return 0;
    throw error;
  }
}

/** What a described node is, with the defaults filled in. @throws OtaError DEVICE_NOT_FOUND, DEVICE_DESCRIPTION */
export async function imageNode(path: string, node: Described): Promise<ImageNode> {
  const found = await fileSize(node.file);
  const size = node.size ?? found;
  if (size === 0) {
    throw new OtaError("DEVICE_NOT_FOUND", {
      what: "the file of a node does not exist or is empty, and the description gives it no size",
      where: `${path}, ${node.file}`,
    });
  }
  if (found > size) {
    throw new OtaError("DEVICE_DESCRIPTION", {
      what: "the file of a node is larger than the node",
      where: `field nodes.${JSON.stringify(path)}.size`,
      expected: size,
      found,
    });
  }
  const base = { file: node.file, kind: node.kind, size, badBlocks: node.badBlocks ?? [] };
  if (node.kind !== "nand" && node.kind !== "nor") return base;
  const nand = node.kind === "nand";
  const eraseSize = node.eraseSize ?? (nand ? 131072 : 65536);
  if (size % eraseSize !== 0) {
    throw new OtaError("DEVICE_DESCRIPTION", {
      what: "flash is no whole number of erase blocks",
      where: `field nodes.${JSON.stringify(path)}`,
      expected: `a multiple of ${eraseSize}`,
      found: size,
    });
  }
  return { ...base, eraseSize, writeSize: node.writeSize ?? (nand ? 2048 : 1) };
}

/** Makes a node's file as large as the node: block devices are zeros there, erased flash 0xff. */
async function completeFile({ file, size, kind }: ImageNode): Promise<void> {
  const found = await fileSize(file);
  if (found >= size) return;
  const handle = await open(file, found === 0 ? "a" : "r+");
  await handle.close();
  const target = await open(file, "r+");
  try {
    if (kind === "block") await target.truncate(size);
    else {
      const erased = new Uint8Array(65536).fill(0xff);
      for (let at = found; at < size; at += erased.length) {
        await target.write(erased, 0, Math.min(erased.length, size - at), at);
      }
    }
  } catch (e) {
    throw deviceError(e, file);
  } finally {
    await target.close();
  }
}

function wholeUnits(path: string, offset: number, length: number, unit: number): void {
  if (offset % unit === 0 && length % unit === 0) return;
  throw new OtaError("DEVICE_NOT_ERASED", {
    what: "flash is written and erased in whole units only",
    where: `${path}, offset ${hexOffset(offset)}`,
    expected: `multiples of ${unit}`,
    found: length,
  });
}

/** Bad blocks that were marked, kept in the state folder. */
export interface BadBlocks {
  list(path: string): Promise<readonly number[]>;
  add(path: string, block: number): Promise<void>;
}

export function badBlocksIn(state: FileStore): BadBlocks {
  const journal = openJournal<Record<string, number[]>>(state, "bad-blocks");
  return {
    list: async (path) => (await journal.load())?.[path] ?? [],
    async add(path, block) {
      const known = (await journal.load()) ?? {};
      await journal.save({ ...known, [path]: [...new Set([...(known[path] ?? []), block])] });
    },
  };
}

function flashTarget(raw: BlockTarget, node: ImageNode, bad: Set<number>, marked: BadBlocks): BlockTarget {
  const { path, size } = raw;
  const eraseSize = node.eraseSize as number;
  const writeSize = node.writeSize as number;
  const refuseBad = (offset: number, length: number): void => {
    const last = Math.floor((offset + length - 1) / eraseSize);
    for (let block = Math.floor(offset / eraseSize); block <= last; block++) {
      if (bad.has(block)) {
        const where = `${path}, ${hexOffset(block * eraseSize)}`;
        throw new OtaError("DEVICE_BAD_BLOCK", { what: "the erase block is bad", where });
      }
    }
  };
  return {
    path,
    size,
    eraseSize,
    writeSize,
    async read(offset, length) {
      const out = await raw.read(offset, length);
      for (const block of bad) {
        const [from, to] = [Math.max(0, block * eraseSize - offset), (block + 1) * eraseSize - offset];
        if (to > 0 && from < length) out.fill(0, from, Math.min(to, length));
      }
      return out;
    },
    async write(offset, bytes) {
      checkInside(path, size, offset, bytes.length);
      wholeUnits(path, offset, bytes.length, writeSize);
      if (bytes.length === 0) return;
      refuseBad(offset, bytes.length);
      if (!isAllByte(await raw.read(offset, bytes.length), 0xff)) {
        throw new OtaError("DEVICE_NOT_ERASED", {
          what: "flash is not erased",
          where: `${path}, ${hexOffset(offset)}`,
        });
      }
      await raw.write(offset, bytes);
    },
    async erase(offset, length) {
      checkInside(path, size, offset, length);
      wholeUnits(path, offset, length, eraseSize);
      if (length === 0) return;
      refuseBad(offset, length);
      const erased = new Uint8Array(eraseSize).fill(0xff);
      for (let at = offset; at < offset + length; at += eraseSize) await raw.write(at, erased);
    },
    ...(node.kind === "nand"
      ? {
          isBad: async (offset: number) => bad.has(Math.floor(offset / eraseSize)),
          async markBad(offset: number) {
            bad.add(Math.floor(offset / eraseSize));
            await marked.add(path, Math.floor(offset / eraseSize));
          },
        }
      : {}),
    flush: () => raw.flush(),
    close: () => raw.close(),
  };
}

export interface ImageNodesOptions {
  /** Described nodes with absolute files. */
  readonly nodes: Readonly<Record<string, Described>>;
  readonly files: FileStore;
  readonly marked: BadBlocks;
  readonly mounted: () => Promise<ReadonlySet<string>>;
  /** Size of a UBI volume, which may have been made later. */
  readonly ubiSize: (path: string) => Promise<number | undefined>;
}

/** {@link NodeStore} of an image device. */
export function imageNodes({ nodes, files, marked, mounted, ubiSize }: ImageNodesOptions): NodeStore {
  const info = async (path: string): Promise<NodeInfo | undefined> => {
    const ubi = await ubiSize(path);
    if (ubi !== undefined) return { kind: "ubi", size: ubi };
    const node = nodes[path];
    if (node !== undefined) {
      const { kind, size, eraseSize, writeSize } = await imageNode(path, node);
      return {
        kind,
        size,
        ...(eraseSize === undefined ? {} : { eraseSize }),
        ...(writeSize === undefined ? {} : { writeSize }),
      };
    }
    const file = await files.stat(path).catch((e: unknown) => {
      // A node nobody described lies under no folder either; that is not found, not an error of the description.
      if (e instanceof OtaError && (e.code === "DEVICE_NOT_FOUND" || e.code === "DEVICE_NOT_FOLDER")) return undefined;
      throw e;
    });
    return file?.kind === "file" ? { kind: "file", size: file.size } : undefined;
  };
  return {
    info,
    async open(path, access) {
      const found = await info(path);
      if (found === undefined) {
        throw new OtaError("DEVICE_NOT_FOUND", {
          what: "no such node",
          where: path,
          hint: "Describe it under nodes in the device description.",
        });
      }
      if (access === "write" && (await mounted()).has(path)) {
        throw new OtaError("DEVICE_BUSY", { what: "the node is mounted", where: path });
      }
      if (found.kind === "ubi") {
        throw new OtaError("DEVICE_WRONG_KIND", {
          what: "a UBI volume is read and updated as one, not written at offsets",
          where: path,
        });
      }
      const described = nodes[path];
      if (described === undefined) {
        return fileTarget(path, await files.open(path, access === "read" ? "read" : "update"));
      }
      const node = await imageNode(path, described);
      await completeFile(node);
      const raw = await openRawFile({ file: node.file, path, size: node.size, access });
      if (node.kind === "block") return raw;
      return flashTarget(raw, node, new Set([...node.badBlocks, ...(await marked.list(path))]), marked);
    },
  };
}
