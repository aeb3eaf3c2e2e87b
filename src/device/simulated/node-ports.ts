/** The simulated device's raw nodes and UBI volumes. */
import { OtaError, checkRange, hexOffset } from "../../core/index.ts";
import type { BlockTarget, ByteStream, FileStore, NodeInfo, NodeStore, UbiVolumes } from "../../core/index.ts";
import { fileTarget } from "../file-target.ts";
import type { BlockMedium } from "./block-medium.ts";
import { FlashMedium } from "./flash-medium.ts";
import type { Machine } from "./machine.ts";
import { WRITE_UNIT, eachPiece } from "./operations.ts";
import type { UbiMedium } from "./ubi-medium.ts";
import type { UbiVolume } from "./ubi-medium.ts";

/** Largest piece of a UBI update that is one write, bytes. */
const UBI_UNIT = 16384;

function wrongKind(what: string, where: string): OtaError {
  return new OtaError("DEVICE_WRONG_KIND", { what, where });
}

function checkWrite(size: number, offset: number, length: number, where: string): void {
  if (!(offset >= 0 && offset + length <= size)) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "write reaches past the end of the target",
      where: `${where}, offset ${hexOffset(offset)}`,
      expected: `at most ${Math.max(0, size - offset)} bytes`,
      found: length,
    });
  }
}

function blockTarget(machine: Machine, medium: number, path: string): BlockTarget {
  const block = machine.world.media[medium] as BlockMedium;
  const { size } = block.content;
  return {
    path,
    size,
    async read(offset, length) {
      machine.checkRead(path);
      checkRange(size, offset, length);
      return block.content.read(offset, length);
    },
    async write(offset, bytes) {
      machine.check();
      checkWrite(size, offset, bytes.length, path);
      const copy = bytes.slice();
      eachPiece(offset, copy.length, WRITE_UNIT, (at, n) => {
        const part = copy.subarray(at - offset, at - offset + n);
        machine.perform({ kind: "write", medium, where: path, offset: at, bytes: part });
      });
    },
    async flush() {
      machine.perform({ kind: "flush", medium, where: path });
    },
    async close() {},
  };
}

function checkAligned(offset: number, length: number, unit: number, where: string): void {
  if (offset % unit !== 0 || length % unit !== 0) {
    throw new OtaError("DEVICE_NOT_ERASED", {
      what: "flash is written and erased in whole units only",
      where: `${where}, offset ${hexOffset(offset)}`,
      expected: `multiples of ${unit}`,
      found: length,
    });
  }
}

function flashTarget(machine: Machine, medium: number, path: string): BlockTarget {
  const flash = machine.world.media[medium] as FlashMedium;
  const { nand, eraseSize, writeSize } = flash.geometry;
  const { size } = flash.content;
  const isBad = (offset: number): boolean => flash.bad.has(Math.floor(offset / eraseSize));
  const refuseBad = (offset: number): void => {
    if (!isBad(offset)) return;
    throw new OtaError("DEVICE_BAD_BLOCK", { what: "the erase block is bad", where: `${path}, ${hexOffset(offset)}` });
  };
  return {
    path,
    size,
    eraseSize,
    writeSize,
    async read(offset, length) {
      machine.checkRead(path);
      checkRange(size, offset, length);
      for (const page of flash.unreadable) {
        if (page < offset + length && page + writeSize > offset) {
          throw new OtaError("DEVICE_IO", { what: "page does not fit its ECC", where: `${path}, ${hexOffset(page)}` });
        }
      }
      const out = flash.content.read(offset, length);
      // A bad block's content means nothing: zeros show an installer that does not ask.
      eachPiece(offset, length, eraseSize, (at, n) => {
        if (isBad(at)) out.fill(0, at - offset, at - offset + n);
      });
      return out;
    },
    async write(offset, bytes) {
      machine.check();
      checkWrite(size, offset, bytes.length, path);
      checkAligned(offset, bytes.length, writeSize, path);
      const copy = bytes.slice();
      eachPiece(offset, copy.length, Math.max(writeSize, WRITE_UNIT), (at, n) => {
        refuseBad(at);
        if (!flash.content.isAll(0xff, at, n)) {
          throw new OtaError("DEVICE_NOT_ERASED", { what: "flash is not erased", where: `${path}, ${hexOffset(at)}` });
        }
        const part = copy.subarray(at - offset, at - offset + n);
        machine.perform({ kind: "program", medium, where: path, offset: at, bytes: part });
      });
    },
    async erase(offset, length) {
      machine.check();
      checkWrite(size, offset, length, path);
      checkAligned(offset, length, eraseSize, path);
      eachPiece(offset, length, eraseSize, (at, n) => {
        refuseBad(at);
        machine.perform({ kind: "erase", medium, where: path, offset: at, length: n });
      });
    },
    ...(nand
      ? {
          async isBad(offset: number) {
            machine.check();
            return isBad(offset);
          },
          async markBad(offset: number) {
            machine.check();
            machine.perform({ kind: "mark-bad", medium, where: path, offset: offset - (offset % eraseSize) });
          },
        }
      : {}),
    async flush() {
      machine.check();
    },
    async close() {},
  };
}

/** Where a UBI volume's node leads. */
export interface UbiNode {
  readonly medium: number;
  readonly volume: number;
}

/** `/dev/ubi0_3` is volume 3 of the UBI device whose nodes begin with `/dev/ubi0_`. */
export function ubiNodes(
  machine: Machine,
  devices: ReadonlyMap<string, number>,
): (path: string) => UbiNode | undefined {
  return (path) => {
    const match = /^(.*_)(\d+)$/.exec(path);
    const medium = match === null ? undefined : devices.get(match[1] as string);
    if (match === null || medium === undefined) return undefined;
    const volume = Number(match[2]);
    const known = (machine.world.media[medium] as UbiMedium).volume(volume);
    return known === undefined ? undefined : { medium, volume };
  };
}

export interface NodeTable {
  /** Block and flash nodes: number of their medium. */
  readonly nodes: ReadonlyMap<string, number>;
  readonly ubi: (path: string) => UbiNode | undefined;
  /** Nodes that are mounted, which must not be written. */
  readonly mounted: () => ReadonlySet<string>;
}

export function simulatedNodes(machine: Machine, table: NodeTable, files: FileStore): NodeStore {
  const info = async (path: string): Promise<NodeInfo | undefined> => {
    machine.check();
    const medium = table.nodes.get(path);
    if (medium !== undefined) {
      const it = machine.world.media[medium];
      if (it instanceof FlashMedium) {
        const { nand, eraseSize, writeSize } = it.geometry;
        return { kind: nand ? "nand" : "nor", size: it.content.size, eraseSize, writeSize };
      }
      return { kind: "block", size: (it as BlockMedium).content.size };
    }
    const ubi = table.ubi(path);
    if (ubi !== undefined) {
      const volume = (machine.world.media[ubi.medium] as UbiMedium).volume(ubi.volume) as UbiVolume;
      return { kind: "ubi", size: volume.size };
    }
    const file = await files.stat(path);
    return file?.kind === "file" ? { kind: "file", size: file.size } : undefined;
  };
  return {
    info,
    async open(path, access) {
      const kind = (await info(path))?.kind;
      if (kind === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such node", where: path });
      if (access === "write" && table.mounted().has(path)) {
        throw new OtaError("DEVICE_BUSY", { what: "the node is mounted", where: path });
      }
      if (kind === "file") return fileTarget(path, await files.open(path, access === "read" ? "read" : "update"));
      if (kind === "ubi") {
        throw wrongKind("a UBI volume is read and updated as one, not written at offsets", path);
      }
      const medium = table.nodes.get(path) as number;
      return kind === "block" ? blockTarget(machine, medium, path) : flashTarget(machine, medium, path);
    },
  };
}

export function simulatedUbi(
  machine: Machine,
  find: (path: string) => UbiNode | undefined,
  mounted: () => ReadonlySet<string>,
): UbiVolumes {
  const known = (path: string): UbiNode & { readonly ubi: UbiMedium; readonly info: UbiVolume } => {
    machine.check();
    const node = find(path);
    if (node === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such UBI volume", where: path });
    const ubi = machine.world.media[node.medium] as UbiMedium;
    return { ...node, ubi, info: ubi.volume(node.volume) as UbiVolume };
  };
  const refuseMounted = (path: string): void => {
    if (mounted().has(path)) throw new OtaError("DEVICE_BUSY", { what: "the UBI volume is mounted", where: path });
  };
  const writeAll = async (path: string, size: number, content: ByteStream): Promise<void> => {
    const { medium, volume } = known(path);
    let offset = 0;
    for await (const chunk of content) {
      if (offset + chunk.length > size) break;
      const copy = chunk.slice();
      const start = offset;
      eachPiece(start, copy.length, UBI_UNIT, (at, n) => {
        const bytes = copy.subarray(at - start, at - start + n);
        machine.perform({ kind: "ubi-data", medium, where: path, volume, offset: at, bytes });
      });
      offset += chunk.length;
    }
    if (offset !== size)
      throw new OtaError("DEVICE_IO", { what: "content has another size than announced", where: path });
    machine.perform({ kind: "ubi-end", medium, where: path, volume });
  };
  return {
    async info(path) {
      machine.check();
      if (find(path) === undefined) return undefined;
      const { volume, ubi, info } = known(path);
      const { name, size, type, updating } = info;
      return { name, size, type, updating, volumeId: volume, availableBytes: ubi.freeBytes };
    },
    async update(path, size, content) {
      const { medium, volume, info } = known(path);
      refuseMounted(path);
      checkWrite(info.size, 0, size, path);
      machine.perform({ kind: "ubi-begin", medium, where: path, volume, size });
      await writeAll(path, size, content);
    },
    async create(beside, name, size) {
      const { medium, ubi } = known(beside);
      if ([...ubi.volumes.values()].some((v) => v.name === name)) {
        throw new OtaError("DEVICE_EXISTS", { what: "a UBI volume of this name exists", where: name });
      }
      if (size > ubi.freeBytes) {
        throw new OtaError("DEVICE_NO_SPACE", {
          what: "no room for another UBI volume",
          where: beside,
          expected: size,
          found: ubi.freeBytes,
        });
      }
      let volume = 0;
      while (ubi.volumes.has(volume)) volume++;
      const path = beside.replace(/\d+$/, String(volume));
      machine.perform({ kind: "ubi-create", medium, where: path, volume, name, size });
      return path;
    },
    async remove(path) {
      const { medium, volume } = known(path);
      refuseMounted(path);
      machine.perform({ kind: "ubi-remove", medium, where: path, volume });
    },
    async swapNames(a, b) {
      const [from, to] = [known(a), known(b)];
      if (from.medium !== to.medium) throw wrongKind("the volumes lie on two UBI devices", `${a}, ${b}`);
      machine.perform({
        kind: "ubi-swap",
        medium: from.medium,
        where: `${a}, ${b}`,
        volume: from.volume,
        other: to.volume,
      });
    },
    async open(path) {
      machine.checkRead(path);
      const { info } = known(path);
      if (info.updating) {
        throw new OtaError("DEVICE_VOLUME_DAMAGED", {
          what: "an update of the UBI volume was begun and not finished",
          where: path,
          hint: "Run the update again.",
        });
      }
      return {
        size: info.used,
        async read(offset, length) {
          machine.checkRead(path);
          checkRange(info.used, offset, length);
          return info.content.read(offset, length);
        },
        async close() {},
      };
    },
  };
}
