/** LZ4 blocks (squashfs) and legacy frames of them (`lz4 -l`, kernels): where a frame ends, and its content. */
import { concatBytes, readU16, readU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ScanSource } from "./scan.ts";

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** Content of a block, bytes; the last is shorter. */
const BLOCK = 8 * 1024 * 1024;
/** Largest a packed block gets: the content, and a length byte for each 255 of it. */
const MAX_PACKED = BLOCK + Math.ceil(BLOCK / 255) + 16;

function damaged(): OtaError {
  return new OtaError("CODEC_DAMAGED", "an lz4 block is damaged");
}

/** Unpacks one block. @throws OtaError CODEC_DAMAGED */
export function unpackLz4Block(packed: Uint8Array, maxBytes: number): Uint8Array {
  const out = new Uint8Array(maxBytes);
  let at = 0;
  let to = 0;
  const more = (length: number): number => {
    let total = length;
    if (length !== 15) return total;
    for (;;) {
      const b = packed[at++];
      if (b === undefined) throw damaged();
      total += b;
      if (b !== 255) return total;
    }
  };
  while (at < packed.length) {
    const token = packed[at++] as number;
    const literals = more(token >> 4);
    if (at + literals > packed.length || to + literals > maxBytes) throw damaged();
    out.set(packed.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === packed.length) break;
    if (at + 2 > packed.length) throw damaged();
    const distance = readU16(packed, at);
    at += 2;
    const length = more(token & 15) + 4;
    if (distance === 0 || distance > to || to + length > maxBytes) throw damaged();
    if (distance >= length) out.copyWithin(to, to - distance, to - distance + length);
    else for (let i = 0; i < length; i++) out[to + i] = out[to + i - distance] as number;
    to += length;
  }
  return out.subarray(0, to);
}

/** Bytes from `at` among which a legacy frame that begins there ends, at most; 0 when none begins. */
export async function lz4LegacyReach(source: ScanSource, at: number): Promise<number> {
  const magic = await source.bytes(at, 4);
  if (magic.length < 4 || readU32(magic, 0) !== LZ4_LEGACY_MAGIC) return 0;
  for (let end = at + 4; ;) {
    const head = await source.bytes(end, 4);
    const size = head.length < 4 ? 0 : readU32(head, 0);
    if (size === 0 || size > MAX_PACKED || end + 4 + size > source.size) return end === at + 4 ? 0 : end - at;
    end += 4 + size;
  }
}

/** The legacy frame at `at`: its size and content; undefined when there is none. Ends before what cannot be a block. */
export function lz4LegacyAt(
  bytes: Uint8Array,
  at: number,
  maxBytes: number,
): { size: number; content: Uint8Array } | undefined {
  if (at + 8 > bytes.length || readU32(bytes, at) !== LZ4_LEGACY_MAGIC) return undefined;
  const parts: Uint8Array[] = [];
  let total = 0;
  let end = at + 4;
  while (end + 4 <= bytes.length) {
    const size = readU32(bytes, end);
    if (size === 0 || size > MAX_PACKED || end + 4 + size > bytes.length) break;
    let part: Uint8Array;
    try {
      part = unpackLz4Block(bytes.subarray(end + 4, end + 4 + size), BLOCK);
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      break;
    }
    parts.push(part);
    total += part.length;
    end += 4 + size;
    if (total > maxBytes) return undefined;
    if (part.length < BLOCK) break;
  }
  return parts.length === 0 ? undefined : { size: end - at, content: concatBytes(...parts) };
}
