/** The re-packers a patch may name, by number. 1 to 15 are part of the toolkit, others are programs of the device. */

export const DEFLATE = 1;
export const ZLIB = 2;
export const GZIP = 3;
export const XZ = 16;
export const LZ4 = 17;
export const ZSTD = 18;
export const GNU_GZIP = 19;

/** Names, as `--repack` and messages have them. */
export const PACKED_WITH: Readonly<Record<number, string>> = Object.freeze({
  [DEFLATE]: "deflate",
  [ZLIB]: "zlib",
  [GZIP]: "gzip",
  [XZ]: "xz",
  [LZ4]: "lz4",
  [ZSTD]: "zstd",
  [GNU_GZIP]: "gnu-gzip",
});

/** Names of re-packers by number; numbers nobody knows are given as they are. */
export function repackerNames(ids: readonly number[]): string[] {
  return ids.map((id) => PACKED_WITH[id] ?? String(id));
}
