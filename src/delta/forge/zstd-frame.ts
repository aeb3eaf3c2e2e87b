/** Zstandard frames from outside: where one ends, and what its header says. RFC 8878. Nothing is unpacked here. */
import { readU32 } from "../../core/bytes.ts";
import type { ScanSource } from "./scan.ts";

const MAGIC = 0xfd2fb528;

export interface ZstdFrame {
  /** Size of the whole frame, bytes. */
  readonly size: number;
  /** Whether the header notes the size of the content. */
  readonly sized: boolean;
  /** Whether a checksum ends the frame. */
  readonly checked: boolean;
}

/** The frame that begins at `at`; undefined when there is none. */
export async function zstdFrameAt(source: ScanSource, at: number): Promise<ZstdFrame | undefined> {
  const head = await source.bytes(at, 18);
  if (head.length < 10 || readU32(head, 0) !== MAGIC) return undefined;
  const flags = head[4] as number;
  const single = (flags >> 5) & 1;
  const sizeBytes = [single, 2, 4, 8][flags >> 6] as number;
  for (let p = at + 5 + (1 - single) + ([0, 1, 2, 4][flags & 3] as number) + sizeBytes; ;) {
    const block = await source.bytes(p, 3);
    if (block.length < 3) return undefined;
    const word = (block[0] as number) | ((block[1] as number) << 8) | ((block[2] as number) << 16);
    const type = (word >> 1) & 3;
    if (type === 3) return undefined;
    p += 3 + (type === 1 ? 1 : word >>> 3);
    if (p > source.size) return undefined;
    if ((word & 1) === 0) continue;
    const checked = (flags & 4) !== 0;
    const size = p + (checked ? 4 : 0) - at;
    return at + size > source.size ? undefined : { size, sized: sizeBytes > 0, checked };
  }
}
