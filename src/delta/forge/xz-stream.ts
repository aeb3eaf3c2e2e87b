/** XZ streams from outside: where one ends, and which filters it says it was made with. Nothing is unpacked here. */
import { readU32 } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const HEADER_SIZE = 12;
const FOOTER_SIZE = 12;

/** Branch filters of xz by number, as the program's options name them. */
export const XZ_BRANCH_FILTERS: Readonly<Record<number, string>> = Object.freeze({
  4: "x86",
  5: "powerpc",
  6: "ia64",
  7: "arm",
  8: "armthumb",
  9: "sparc",
  10: "arm64",
  11: "riscv",
});

/** Checks by number. */
export const XZ_CHECKS: Readonly<Record<number, string>> = Object.freeze({
  0: "none",
  1: "crc32",
  4: "crc64",
  10: "sha256",
});

export interface XzStream {
  /** Size of the whole stream, bytes. */
  readonly size: number;
  /** Number of the check. */
  readonly check: number;
  /** Number of the branch filter in front of LZMA2; 0: none. */
  readonly branch: number;
  /** Dictionary of LZMA2, bytes. */
  readonly dictionary: number;
}

function filtersAt(bytes: Uint8Array, at: number): { branch: number; dictionary: number } | undefined {
  const flags = bytes[at + 1];
  // Sizes in the header: made from memory, which the program cannot do.
  if (flags === undefined || (flags & 0xfc) !== 0) return undefined;
  let p = at + 2;
  let branch = 0;
  for (let left = (flags & 3) + 1; left > 0; left--) {
    const id = bytes[p] as number;
    const size = bytes[p + 1] as number;
    if (id === 0x21 && size === 1 && left === 1) {
      const bits = bytes[p + 2] as number;
      return bits > 36 ? undefined : { branch, dictionary: (2 + (bits & 1)) * 2 ** ((bits >> 1) + 11) };
    }
    if (XZ_BRANCH_FILTERS[id] === undefined || size !== 0 || branch !== 0) return undefined;
    branch = id;
    p += 2;
  }
  return undefined;
}

/** The stream that begins at `at`; undefined when there is none, or one that the program would not make. */
export function xzStreamAt(bytes: Uint8Array, at: number): XzStream | undefined {
  if (at + HEADER_SIZE + FOOTER_SIZE + 8 > bytes.length || MAGIC.some((b, i) => bytes[at + i] !== b)) return undefined;
  const check = bytes[at + 7] as number;
  if (bytes[at + 6] !== 0 || XZ_CHECKS[check] === undefined) return undefined;
  if (readU32(bytes, at + 8) !== crc32(bytes.subarray(at + 6, at + 8))) return undefined;
  const filters = filtersAt(bytes, at + HEADER_SIZE);
  if (filters === undefined) return undefined;
  // The footer: checksum, size of the index, the header's flags again, "YZ".
  for (
    let y = bytes.indexOf(0x59, at + HEADER_SIZE + 8);
    y >= 0 && y + 2 <= bytes.length;
    y = bytes.indexOf(0x59, y + 1)
  ) {
    if (bytes[y + 1] !== 0x5a || bytes[y - 1] !== check || bytes[y - 2] !== 0) continue;
    const footer = y - 10;
    if (readU32(bytes, footer) !== crc32(bytes.subarray(footer + 4, y))) continue;
    const index = footer - (readU32(bytes, footer + 4) + 1) * 4;
    if (index < at + HEADER_SIZE || bytes[index] !== 0) continue;
    if (readU32(bytes, footer - 4) !== crc32(bytes.subarray(index, footer - 4))) continue;
    return { size: y + 2 - at, check, ...filters };
  }
  return undefined;
}
