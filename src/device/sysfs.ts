/** What the kernel says about nodes in /sys: sizes and kinds without ioctl, which Node does not have. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { NodeInfo } from "../core/ports.ts";

const MTD_CHAR_MAJOR = 90;
const MTD_BLOCK_MAJOR = 31;

/** Linux packs 12 bits of major and 20 of minor into `st_rdev`. */
export function majorMinor(rdev: number): { readonly major: number; readonly minor: number } {
  const low = rdev % 0x100000000;
  const high = Math.floor(rdev / 0x100000000);
  return {
    major: ((low >>> 8) & 0xfff) + (high >>> 12) * 0x1000,
    minor: (low & 0xff) + ((low >>> 12) & 0xfff00),
  };
}

async function attribute(...path: string[]): Promise<string | undefined> {
  return readFile(join(...path), "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
}

async function numberAttribute(...path: string[]): Promise<number | undefined> {
  const value = Number(await attribute(...path));
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** A node with what the board needs to drive it. */
export interface SysNode extends NodeInfo {
  /** `mtd4`, `ubi0_1`, or the block device's major:minor. */
  readonly name: string;
}

async function mtdNode(sys: string, number: number): Promise<SysNode | undefined> {
  const name = `mtd${number}`;
  const folder = join(sys, "class/mtd", name);
  const type = await attribute(folder, "type");
  const size = await numberAttribute(folder, "size");
  const eraseSize = await numberAttribute(folder, "erasesize");
  const writeSize = await numberAttribute(folder, "writesize");
  if (type === undefined || size === undefined) return undefined;
  const kind = type === "nand" || type === "mlc-nand" ? "nand" : type === "ubi" ? "ubi" : "nor";
  return {
    name,
    kind,
    size,
    ...(eraseSize === undefined ? {} : { eraseSize }),
    ...(writeSize === undefined ? {} : { writeSize }),
  };
}

/** The UBI volume (`ubi0_1`) whose character device has this number. */
async function ubiName(sys: string, path: string, device: string): Promise<string | undefined> {
  const match = /(ubi\d+_\d+)$/.exec(path);
  const name = match?.[1];
  if (name === undefined) return undefined;
  return (await attribute(sys, "class/ubi", name, "dev")) === device ? name : undefined;
}

/** Bytes of a UBI volume: whole LEBs it has reserved. */
export async function ubiVolumeSize(sys: string, name: string): Promise<number> {
  const leb = (await numberAttribute(sys, "class/ubi", name, "usable_eb_size")) ?? 0;
  const count = (await numberAttribute(sys, "class/ubi", name, "reserved_ebs")) ?? 0;
  return leb * count;
}

/**
 * What the node at `path` is; undefined when it is no device node. `/dev/mtdblock4` is told as the flash behind it, because a
 * block write onto NAND is never right. Links are followed: `/dev/block/by-name/system` is one.
 */
export async function sysNode(path: string, sys = "/sys"): Promise<SysNode | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) return undefined;
  const { major, minor } = majorMinor(info.rdev);
  if (info.isBlockDevice()) {
    if (major === MTD_BLOCK_MAJOR) return mtdNode(sys, minor);
    const device = `${major}:${minor}`;
    const sectors = await numberAttribute(sys, "dev/block", device, "size");
    return sectors === undefined ? undefined : { name: device, kind: "block", size: sectors * 512 };
  }
  if (!info.isCharacterDevice()) return undefined;
  // Even minors are the writable nodes, odd ones their read-only twins.
  if (major === MTD_CHAR_MAJOR) return mtdNode(sys, minor >>> 1);
  const ubi = await ubiName(sys, path, `${major}:${minor}`);
  return ubi === undefined ? undefined : { name: ubi, kind: "ubi", size: await ubiVolumeSize(sys, ubi) };
}

/** Bytes of a raw node. @throws OtaError DEVICE_WRONG_KIND when the kernel tells no size for it */
export async function nodeSize(path: string, sys = "/sys"): Promise<number> {
  const node = await sysNode(path, sys);
  if (node === undefined) {
    throw new OtaError("DEVICE_WRONG_KIND", { what: "a device node without a size", where: path });
  }
  return node.size;
}

export { attribute as sysAttribute, numberAttribute as sysNumber };
