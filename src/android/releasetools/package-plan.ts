/**
 * What goes into a package, in order, before a byte is written. Contents are opened when they are needed: entries of target
 * files are copied as they are packed, and checked while they pass.
 */
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { encodeText, printable } from "../../core/text.ts";
import { streamRange } from "../../core/streams.ts";
import type { ZipEntry } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import type { ZipEntryInput, ZipRawData } from "../../core/zip/write.ts";

/** One entry of the package to be. */
export interface PlannedEntry {
  readonly input: ZipEntryInput;
  readonly size: number;
  /** The content, checked against its source's checksum. */
  content(): ByteStream;
  /** The packed form of a source archive with the same method, unchecked. */
  raw?(): ZipRawData;
}

export interface PackagePlan {
  readonly entries: readonly PlannedEntry[];
  /** @throws OtaError ZIP_DUPLICATE */
  add(entry: PlannedEntry): void;
  /** Adds bytes as the tool does: fixed date, deflated. */
  addBytes(name: string, bytes: Uint8Array, mode?: number): void;
  addText(name: string, text: string): void;
  has(name: string): boolean;
}

async function* once(bytes: Uint8Array): ByteStream {
  if (bytes.length > 0) yield bytes;
}

/** External attributes of a mode without file type bits, as the tool writes them. */
export function modeAttributes(mode: number): number {
  return mode * 0x10000;
}

export function createPlan(): PackagePlan {
  const entries: PlannedEntry[] = [];
  const names = new Set<string>();
  const plan: PackagePlan = {
    entries,
    has: (name) => names.has(name),
    add(entry) {
      const { name } = entry.input;
      if (names.has(name)) {
        throw new OtaError("ZIP_DUPLICATE", { what: "an entry would be in the package twice", where: printable(name) });
      }
      names.add(name);
      entries.push(entry);
    },
    addBytes(name, bytes, mode = 0o644) {
      plan.add({
        input: { name, method: 8, externalAttributes: modeAttributes(mode) },
        size: bytes.length,
        content: () => once(bytes),
      });
    },
    addText: (name, text) => plan.addBytes(name, encodeText(text)),
  };
  return plan;
}

/** An entry of an archive under another name; `keep` takes its date, mode and method over, else they are the tool's. */
export function archiveEntry(zip: ZipArchive, entry: ZipEntry, name: string, keep: boolean): PlannedEntry {
  const input: ZipEntryInput = keep
    ? {
        name,
        method: entry.method,
        when: { time: entry.time, date: entry.date },
        externalAttributes: entry.externalAttributes,
        versionMadeBy: entry.versionMadeBy,
      }
    : { name, method: 8, externalAttributes: modeAttributes(0o644) };
  const { crc, size, compressedSize } = entry;
  const raw = (): ZipRawData => ({ crc, size, compressedSize, data: streamRange(zip.raw(entry)) });
  return {
    input,
    size,
    content: () => zip.stream(entry),
    ...(entry.method === input.method ? { raw } : {}),
  };
}
