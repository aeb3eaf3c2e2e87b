/**
 * The CRC of bzip2's blocks, four bytes a step. It is kept with its bytes in reverse order, and so are the tables: the next four
 * bytes of memory can then be taken as they come.
 */
import { get32, get8, peek32, set32 } from "./memory.ts";

/** Bytes of the tables of {@link crcOf}: 4 x 256 x i32, table k for a byte that is followed by k others. */
export const CRC_TABLES_SIZE = 4096;

/** The bytes of a word in reverse order. */
export function reversed(v: number): number {
  return (v << 24) | ((v & 0xff00) << 8) | ((v >>> 8) & 0xff00) | (v >>> 24);
}

/** Makes the tables: `count` of them, for bytes that are followed by 0 to `count` - 1 others. */
export function makeCrcTables(tables: number, count: number): void {
  for (let i = 0; i < 256; i++) {
    let c = i << 24;
    for (let bit = 0; bit < 8; bit++) c = (c << 1) ^ (c < 0 ? 0x04c11db7 : 0);
    set32(tables + 4 * i, reversed(c));
  }
  for (let k = 1024; k < 1024 * count; k += 1024) {
    for (let i = 0; i < 1024; i += 4) {
      const before = get32(tables + k - 1024 + i);
      set32(tables + k + i, (before >>> 8) ^ get32(tables + 4 * (before & 255)));
    }
  }
}

/** The CRC of `length` bytes at `from`. */
export function crcOf(tables: number, from: number, length: number): number {
  let crc = -1;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    const x = crc ^ peek32(from + i);
    crc =
      get32(tables + 3072 + 4 * (x & 255)) ^
      get32(tables + 2048 + 4 * ((x >>> 8) & 255)) ^
      get32(tables + 1024 + 4 * ((x >>> 16) & 255)) ^
      get32(tables + 4 * (x >>> 24));
  }
  for (; i < length; i++) crc = (crc >>> 8) ^ get32(tables + 4 * ((crc ^ get8(from + i)) & 255));
  return reversed(crc ^ -1);
}
