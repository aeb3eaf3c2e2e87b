/** Checksums that are part of formats: small, table-driven, and replaceable by a native one through {@link Digests}. */

const CRC_TABLE = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  CRC_TABLE[n] = c;
}

/** CRC-32 of zlib (polynomial 0xEDB88320 reflected); `crc` continues an earlier value, as zlib's does. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let c = ~crc;
  for (let i = 0; i < bytes.length; i++) c = (CRC_TABLE[(c ^ (bytes[i] as number)) & 255] as number) ^ (c >>> 8);
  return ~c >>> 0;
}

/** Sum of all bytes modulo 2^32, continuing from `sum`. */
export function byteSum(bytes: Uint8Array, sum = 0): number {
  let total = sum;
  // 2^20 bytes add less than 2^28, so the running number stays exact between reductions.
  for (let at = 0; at < bytes.length; at += 0x100000) {
    const end = Math.min(bytes.length, at + 0x100000);
    for (let i = at; i < end; i++) total += bytes[i] as number;
    total %= 0x100000000;
  }
  return total;
}
