/** The table of contents at 0xE0000 of the medium (specification section 2): no header, no count, no CRC. */
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { TOC_ENTRY, TOC_ENTRY_SIZE, TOC_MAX_ENTRIES, TOC_OFFSET, TOC_SIZE } from "./layouts.ts";

export interface TocEntry {
  readonly name: string;
  /** Bytes on the medium. */
  readonly offset: number;
  /** Bytes; 0 when the packer's config gave none. */
  readonly size: number;
  readonly load: number;
  readonly boot: number;
}

/** Which program reads: the driver does not know erased flash as an end. */
export type TocReader = "loader" | "driver";

/**
 * The entries up to the first whose name begins with NUL, or for the loader with 0xff; at most 16.
 * An offset or size beyond 2^53-1, which no medium has, is read as 2^53-1, so that it fails where it is used.
 */
export function decodeToc(bytes: Uint8Array, reader: TocReader = "loader"): TocEntry[] {
  const entries: TocEntry[] = [];
  for (let at = 0; at + TOC_ENTRY_SIZE <= bytes.length && entries.length < TOC_MAX_ENTRIES; at += TOC_ENTRY_SIZE) {
    if (bytes[at] === 0 || (reader === "loader" && bytes[at] === 0xff)) break;
    const { fields } = TOC_ENTRY;
    entries.push({
      name: fields.name.get(bytes, at),
      offset: safeSize(() => fields.offset.get(bytes, at + fields.offset.offset)),
      size: safeSize(() => fields.size.get(bytes, at + fields.size.offset)),
      load: fields.load.get(bytes, at + fields.load.offset),
      boot: fields.boot.get(bytes, at + fields.boot.offset),
    });
  }
  return entries;
}

function safeSize(get: () => number): number {
  try {
    return get();
  } catch (e) {
    if (e instanceof OtaError) return Number.MAX_SAFE_INTEGER;
    throw e;
  }
}

/** The table's 1024 bytes from a medium, fewer when it ends before. @throws OtaError DEVICE_* */
export async function readToc(medium: RandomReader, reader: TocReader = "loader"): Promise<TocEntry[]> {
  const length = Math.min(TOC_SIZE, Math.max(0, medium.size - TOC_OFFSET));
  return length === 0 ? [] : decodeToc(await medium.read(TOC_OFFSET, length), reader);
}

/** First entry of a name: duplicates behind it are invisible. */
export function findEntry(toc: readonly TocEntry[], name: string): TocEntry | undefined {
  return toc.find((entry) => entry.name === name);
}

/** `entries.length * 64` bytes. @throws OtaError LAYOUT_VALUE_RANGE, LAYOUT_TEXT_TOO_LONG */
export function encodeToc(entries: readonly TocEntry[]): Uint8Array {
  const out = new Uint8Array(entries.length * TOC_ENTRY_SIZE);
  entries.forEach((entry, i) => {
    out.set(TOC_ENTRY.encode({ ...entry, reserved: new Uint8Array(14) }), i * TOC_ENTRY_SIZE);
  });
  return out;
}
