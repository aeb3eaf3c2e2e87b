/**
 * Recognises images of writable file systems. A device changes such a partition by itself (journal, mount count, wear
 * levelling), so a patch made against the shipped image never fits: it is refused as a diff base.
 */
import { readU16, readU32 } from "../core/bytes.ts";
import type { RandomReader } from "../core/ports.ts";

const JFFS2_NODES = new Set([0xe001, 0xe002, 0x2003, 0x2004, 0x2006, 0xe008, 0xe009]);

function isJffs2(head: Uint8Array, size: number): boolean {
  const swap = (v: number): number => ((v & 0xff) << 8) | (v >>> 8);
  const [magic, node] = [readU16(head, 0), readU16(head, 2)];
  if (magic !== 0x1985 && swap(magic) !== 0x1985) return false;
  // Two bytes alone are a weak magic: a known node type, or the size of an image, must agree.
  return JFFS2_NODES.has(magic === 0x1985 ? node : swap(node)) || size % 4096 === 0;
}

/** Name of the writable file system an image holds; undefined when none is recognised. Reads at most 2 KiB. */
export async function writableFileSystem(image: RandomReader): Promise<string | undefined> {
  const head = await image.read(0, Math.min(image.size, 2048));
  if (head.length >= 4) {
    const magic = readU32(head, 0);
    if (magic === 0x06101831) return "ubifs";
    if (magic === 0x23494255) return "ubi";
    if (isJffs2(head, image.size)) return "jffs2";
  }
  if (head.length >= 16 && String.fromCharCode(...head.subarray(8, 16)) === "littlefs") return "littlefs";
  if (head.length >= 1082 && readU16(head, 1080) === 0xef53) return "ext2/3/4";
  if (head.length >= 1028 && readU32(head, 1024) === 0xf2f52010) return "f2fs";
  return undefined;
}
