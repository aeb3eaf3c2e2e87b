/**
 * A ramdisk as Android's builder makes it: cpio "newc" archive with inode numbers from 300000, no times, one link each,
 * padded to 256 bytes (formats/android.md 1.5).
 */
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { encodeText } from "../../core/text.ts";

export interface CpioEntry {
  /** Path relative to the root, without leading slash. */
  readonly name: string;
  /** With the file type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Content of a file, target of a link, nothing of a folder. */
  readonly data: Uint8Array;
}

const FIRST_INODE = 300000;
const PADDING = 256;
const HEADER_SIZE = 110;

function hex8(n: number): string {
  return n.toString(16).padStart(8, "0");
}

function record(inode: number, entry: CpioEntry): Uint8Array {
  if (entry.data.length > 0xffffffff)
    throw new OtaError("ANDROID_BOOT_IMAGE", { what: "file too large for a ramdisk", where: entry.name });
  const name = encodeText(`${entry.name}\0`);
  const fields = [inode, entry.mode, entry.uid, entry.gid, 1, 0, entry.data.length, 0, 0, 0, 0, name.length, 0];
  const header = encodeText(`070701${fields.map(hex8).join("")}`);
  const namePad = (4 - ((HEADER_SIZE + name.length) % 4)) % 4;
  const dataPad = (4 - (entry.data.length % 4)) % 4;
  return concatBytes(header, name, new Uint8Array(namePad), entry.data, new Uint8Array(dataPad));
}

/** The archive; entries in the order given. */
export function encodeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const records = entries.map((e, i) => record(FIRST_INODE + i, e));
  const trailer = record(0, { name: "TRAILER!!!", mode: 0o644, uid: 0, gid: 0, data: new Uint8Array(0) });
  let size = trailer.length;
  for (const r of records) size += r.length;
  return concatBytes(...records, trailer, new Uint8Array((PADDING - (size % PADDING)) % PADDING));
}
