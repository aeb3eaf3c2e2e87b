/**
 * Finds the end of a zip archive and its central directory, and refuses archives on which two readers could disagree:
 * bytes behind the end record, a second end record inside the comment, end records that contradict one another.
 */
import { hexOffset, readU32 } from "../bytes.ts";
import { OtaError } from "../errors.ts";
import type { RandomReader } from "../ports.ts";
import { END64_RECORD, END_RECORD, LOCATOR64, SATURATED_16, SATURATED_32, ZIP_SIGNATURES } from "./layout.ts";

/** Where the parts at the end of an archive are. */
export interface ZipEnd {
  readonly entries: number;
  readonly directoryOffset: number;
  readonly directorySize: number;
  /** Of the end record (the 32-bit one). */
  readonly endOffset: number;
  readonly comment: Uint8Array;
}

const MAX_TAIL = END_RECORD.size + 0xffff;

function damaged(
  what: string,
  at: number,
  more: { expected?: string | number; found?: string | number } = {},
): OtaError {
  return new OtaError("ZIP_DAMAGED", { what, where: `offset ${hexOffset(at)}`, ...more });
}

/** Offset of the one end record whose comment reaches exactly to the end of the file. */
function locate(tail: Uint8Array, base: number): number {
  const found: number[] = [];
  for (let at = tail.length - 4; at >= 0; at--) {
    if (tail[at] === 0x50 && readU32(tail, at) === ZIP_SIGNATURES.end) found.push(at);
  }
  for (const at of found) {
    if (at + END_RECORD.size > tail.length) continue;
    const { commentSize } = END_RECORD.decode(tail, at);
    if (at + END_RECORD.size + commentSize !== tail.length) continue;
    const second = found.find((other) => other > at);
    if (second !== undefined) {
      throw damaged("a second end record stands inside the archive's comment", base + second);
    }
    return at;
  }
  throw new OtaError("ZIP_NOT_FOUND", {
    what: found.length === 0 ? "no zip end record" : "the zip end record does not end where the file ends",
    ...(found.length === 0 ? {} : { where: `offset ${hexOffset(base + (found[0] as number))}` }),
    hint: "The file is no zip archive, is cut short, or has bytes behind its end.",
  });
}

/** @throws OtaError ZIP_NOT_FOUND, ZIP_DAMAGED, ZIP_UNSUPPORTED, LAYOUT_SIZE_UNSAFE */
export async function findZipEnd(reader: RandomReader): Promise<ZipEnd> {
  const tailSize = Math.min(reader.size, MAX_TAIL);
  const base = reader.size - tailSize;
  const tail = await reader.read(base, tailSize);
  const at = locate(tail, base);
  const endOffset = base + at;
  const end = END_RECORD.decode(tail, at);
  const comment = tail.slice(at + END_RECORD.size);

  let { entries, directoryOffset, directorySize } = end;
  let directoryEnd = endOffset;
  let disks = [end.disk, end.directoryDisk];
  let diskEntries = end.diskEntries;

  const locatorOffset = endOffset - LOCATOR64.size;
  const locator = locatorOffset < 0 ? undefined : await reader.read(locatorOffset, LOCATOR64.size);
  if (locator !== undefined && readU32(locator, 0) === ZIP_SIGNATURES.locator64) {
    const { offset, disk, disks: total } = LOCATOR64.decode(locator);
    if (disk !== 0 || total > 1) throw new OtaError("ZIP_UNSUPPORTED", "the archive spans several disks");
    if (offset + END64_RECORD.size > locatorOffset) throw damaged("the zip64 locator points nowhere", locatorOffset);
    const end64 = END64_RECORD.decode(await reader.read(offset, END64_RECORD.size));
    if (end64.signature !== ZIP_SIGNATURES.end64) throw damaged("no zip64 end record where the locator points", offset);
    if (offset + 12 + end64.recordSize !== locatorOffset) {
      throw damaged("the zip64 end record does not reach its locator", offset);
    }
    const agree = (short: number, limit: number, long: number): boolean => short === limit || short === long;
    if (
      !agree(end.entries, SATURATED_16, end64.entries) ||
      !agree(end.directorySize, SATURATED_32, end64.directorySize) ||
      !agree(end.directoryOffset, SATURATED_32, end64.directoryOffset)
    ) {
      throw damaged("the two end records of the archive contradict one another", endOffset);
    }
    ({ entries, directoryOffset, directorySize, diskEntries } = end64);
    disks = [end64.disk, end64.directoryDisk];
    directoryEnd = offset;
  }
  if (disks.some((d) => d !== 0) || diskEntries !== entries) {
    throw new OtaError("ZIP_UNSUPPORTED", "the archive spans several disks");
  }
  if (directoryOffset + directorySize !== directoryEnd) {
    throw damaged("the central directory does not end where the end record begins", endOffset, {
      expected: hexOffset(directoryEnd),
      found: hexOffset(directoryOffset + directorySize),
    });
  }
  return { entries, directoryOffset, directorySize, endOffset, comment };
}
