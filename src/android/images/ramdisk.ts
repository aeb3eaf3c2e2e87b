/** The gzip-ed ramdisk: zlib's level 6 to the byte, because packages name the SHA-1 of images built from it. */
import { deflateRaw } from "pako";
import { concatBytes, writeU32 } from "../../core/bytes.ts";
import type { Digests } from "../../core/ports.ts";
import { encodeCpio, type CpioEntry } from "./cpio.ts";

/** gzip header of the build: no name, no time, Unix. */
const GZIP_HEADER = new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);

export function buildRamdisk(entries: readonly CpioEntry[], digests: Digests): Uint8Array {
  const archive = encodeCpio(entries);
  const trailer = new Uint8Array(8);
  writeU32(trailer, 0, digests.crc32(archive));
  writeU32(trailer, 4, archive.length);
  return concatBytes(GZIP_HEADER, deflateRaw(archive, { level: 6 }), trailer);
}
