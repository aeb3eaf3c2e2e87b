/** What a disk may hold after a power cut, made from a recording of its writes. */
import { Random } from "../../src/device/simulated/index.ts";
import type { LoggedWrite } from "./write-log.ts";

const SECTOR = 512;

/** How a disk treats writes that were completed: kept for ever, or only at the next flush. */
export type DiskCache = "writes-through" | "volatile";

export interface ReplayPoint {
  /** So many writes of the recording had been completed. */
  readonly prefix: number;
  /** 0: all of them are there; otherwise sectors that were not durable yet are drawn with this seed. */
  readonly seed: number;
}

/**
 * Every prefix with everything there, then again and again every prefix with dropped sectors, `count` points in all. Fewer points
 * than prefixes are spread over the recording.
 */
export function replayPoints(writes: number, count: number): ReplayPoint[] {
  const prefixes = writes + 1;
  const step = count < prefixes ? writes / Math.max(1, count - 1) : 1;
  return Array.from({ length: count }, (_, i) => ({
    prefix: Math.floor(i * step) % prefixes,
    seed: Math.floor((i * step) / prefixes),
  }));
}

/** The first write after which nothing is durable yet: writes before it survive every cut. */
function durableBefore(writes: readonly LoggedWrite[], prefix: number, cache: DiskCache): number {
  if (cache === "volatile") {
    for (let i = prefix - 1; i >= 0; i--) if (writes[i]?.flush === true) return i;
    return 0;
  }
  // A disk without a cache has at most one request in flight. It was recorded sector by sector: the run of neighbours at the end.
  let first = prefix;
  while (first > 0) {
    const [before, here] = [writes[first - 1], writes[first]] as [LoggedWrite, LoggedWrite | undefined];
    const follows = first === prefix || (here !== undefined && before.offset + before.data.length === here.offset);
    if (!follows || before.flush) break;
    first--;
  }
  return first;
}

function put(disk: Uint8Array, write: LoggedWrite): void {
  disk.set(write.data, write.offset);
}

/** The disk after a cut. `before` is what it held when the recording began. */
export function diskAfterCut(
  before: Uint8Array,
  writes: readonly LoggedWrite[],
  { prefix, seed }: ReplayPoint,
  cache: DiskCache,
): Uint8Array {
  const disk = before.slice();
  const durable = seed === 0 ? prefix : durableBefore(writes, prefix, cache);
  for (const write of writes.slice(0, durable)) put(disk, write);
  const random = new Random(seed * 0x10001 + prefix);
  for (const write of writes.slice(durable, prefix)) {
    if (write.durable) put(disk, write);
    else {
      for (let at = 0; at < write.data.length; at += SECTOR) {
        if (random.chance()) disk.set(write.data.subarray(at, at + SECTOR), write.offset + at);
      }
    }
  }
  return disk;
}
