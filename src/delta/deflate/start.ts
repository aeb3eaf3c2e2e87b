/** Whether bytes may begin a raw deflate stream: what its first block's header says, without decoding (RFC 1951, 3.2). */

/** Code lengths of the code length code, at most; each has 3 bits, behind 17 bits of counts. */
const MOST_CODES = 19;
const COUNTS = 17;
/** Codes of 7 bits, the longest there: a complete code uses up all of them. */
const ALL_CODES = 128;
/** Most literal and distance codes a block may have, less the 257 and the 1 that are always there. */
const MOST_COUNT = 29;

/** The `count` (up to 16) bits from bit `from` on behind `bytes[at]`; bytes behind the end are 0. */
function bitsAt(bytes: Uint8Array, at: number, from: number, count: number): number {
  const first = at + (from >>> 3);
  const word = (bytes[first] ?? 0) | ((bytes[first + 1] ?? 0) << 8) | ((bytes[first + 2] ?? 0) << 16);
  return (word >>> (from & 7)) & ((1 << count) - 1);
}

/**
 * False for bytes every inflater refuses at the first block's header: block type 3, stored blocks whose size is not repeated
 * inverted, too many codes, a code length code that is not complete. Needs 10 bytes; looks at no more.
 */
export function mayBeDeflate(bytes: Uint8Array, at: number): boolean {
  switch (bitsAt(bytes, at, 1, 2)) {
    case 0:
      return (bitsAt(bytes, at, 8, 16) ^ bitsAt(bytes, at, 24, 16)) === 0xffff;
    case 1:
      return true;
    case 2: {
      if (bitsAt(bytes, at, 3, 5) > MOST_COUNT || bitsAt(bytes, at, 8, 5) > MOST_COUNT) return false;
      const codes = Math.min(MOST_CODES, 4 + bitsAt(bytes, at, 13, 4));
      let used = 0;
      for (let i = 0; i < codes; i++) {
        const length = bitsAt(bytes, at, COUNTS + 3 * i, 3);
        if (length > 0) used += ALL_CODES >>> length;
      }
      return used === ALL_CODES;
    }
    default:
      return false;
  }
}
