/**
 * Packages that lie on an encrypted /data: the running system leaves a map of their blocks (`@/cache/recovery/block.map`), because
 * recovery cannot read the file system. Lines: device, size and block size, number of ranges, one half-open range each.
 */
import { OtaError } from "../../core/errors.ts";
import type { BlockTarget, RandomReader } from "../../core/ports.ts";
import { checkRange } from "../../core/streams.ts";

export interface BlockMap {
  readonly device: string;
  readonly size: number;
  readonly blockSize: number;
  readonly ranges: readonly (readonly [start: number, end: number])[];
}

/** @throws OtaError RECOVERY_BLOCK_MAP */
export function parseBlockMap(text: string): BlockMap {
  const lines = text.split("\n");
  const fail = (what: string): never => {
    throw new OtaError("RECOVERY_BLOCK_MAP", { what });
  };
  const device = lines[0] ?? "";
  const sizes = /^(\d{1,15}) (\d{1,9})$/.exec(lines[1] ?? "");
  const count = /^\d{1,7}$/.test(lines[2] ?? "") ? Number(lines[2]) : Number.NaN;
  if (!device.startsWith("/") || sizes === null || !(count > 0)) return fail("no block map");
  const [size, blockSize] = [Number(sizes[1]), Number(sizes[2])];
  const ranges: [number, number][] = [];
  let blocks = 0;
  for (const line of lines.slice(3, 3 + count)) {
    const match = /^(\d{1,10}) (\d{1,10})$/.exec(line);
    const [start, end] = [Number(match?.[1]), Number(match?.[2])];
    if (match === null || start >= end) return fail(`no block range: ${line}`);
    ranges.push([start, end]);
    blocks += end - start;
  }
  if (ranges.length !== count || blockSize < 512 || blocks !== Math.ceil(size / blockSize)) {
    return fail("the block map does not cover its file");
  }
  return { device, size, blockSize, ranges };
}

/** The mapped file as a reader. */
export function mappedReader(target: BlockTarget, map: BlockMap): RandomReader {
  return {
    size: map.size,
    async read(offset, length) {
      checkRange(map.size, offset, length);
      const out = new Uint8Array(length);
      let base = 0;
      for (const [start, end] of map.ranges) {
        const bytes = (end - start) * map.blockSize;
        const from = Math.max(offset, base);
        const to = Math.min(offset + length, base + bytes);
        if (from < to) out.set(await target.read(start * map.blockSize + from - base, to - from), from - offset);
        base += bytes;
      }
      return out;
    },
  };
}
