/** The version blocks in `ota_meta` that decide which slot boots (specification section 3). */
import { concatBytes, writeU32 } from "../core/bytes.ts";
import { crc32 } from "../core/checksums.ts";
import { META_BLOCK, META_MAGIC, SECTOR_SIZE } from "./layouts.ts";
import type { TocEntry } from "./toc.ts";
import { findEntry } from "./toc.ts";

export type Slot = "a" | "b";

export const MAX_VERSION = 0xffffffff;

export function otherSlot(slot: Slot): Slot {
  return slot === "a" ? "b" : "a";
}

/** What a block says. `version` is 0 for an invalid block, as the driver counts it. */
export interface MetaBlock {
  readonly valid: boolean;
  readonly version: number;
  /** Why it is not valid: `magic` or `crc`. */
  readonly fault?: "magic" | "crc";
}

export const NO_BLOCK: MetaBlock = Object.freeze({ valid: false, version: 0, fault: "magic" });

/** A version block of 512 bytes. */
export function encodeMetaBlock(version: number): Uint8Array {
  const block = META_BLOCK.encode({
    magic: META_MAGIC,
    version,
    crc: 0,
    reserved: 0,
    padding: new Uint8Array(496),
  });
  writeU32(block, META_BLOCK.fields.crc.offset, crc32(block));
  return block;
}

/** What 512 bytes say; any bytes give a value. */
export function decodeMetaBlock(bytes: Uint8Array): MetaBlock {
  if (bytes.length < SECTOR_SIZE) return NO_BLOCK;
  const { magic, version, crc } = META_BLOCK.decode(bytes);
  if (magic !== META_MAGIC) return NO_BLOCK;
  // Not slice(): that of Node's Buffer is a view.
  const copy = concatBytes(bytes.subarray(0, SECTOR_SIZE));
  copy.fill(0, 8, 12);
  return crc32(copy) === crc ? { valid: true, version } : { valid: false, version: 0, fault: "crc" };
}

/** Where the blocks lie, bytes on the medium; undefined when the entry is missing or empty. */
export function metaOffsets(toc: readonly TocEntry[]): Readonly<Record<Slot, number>> | undefined {
  const entry = findEntry(toc, "ota_meta");
  if (entry === undefined || entry.offset === 0 || entry.size === 0) return undefined;
  return { a: entry.offset, b: entry.offset + Math.floor(entry.size / 2) };
}

export type MetaPair = Readonly<Record<Slot, MetaBlock>>;

/** The loader's choice: B when it is valid and A is not, or both are and B is higher; otherwise A. */
export function chooseSlot(meta: MetaPair): Slot {
  return meta.b.valid && (!meta.a.valid || meta.b.version > meta.a.version) ? "b" : "a";
}

/** Both blocks from the bytes at their offsets. */
export function decodeMetaPair(a: Uint8Array, b: Uint8Array): MetaPair {
  return { a: decodeMetaBlock(a), b: decodeMetaBlock(b) };
}
