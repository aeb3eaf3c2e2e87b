/** The parser of recordings and the replay, on recordings written here by the format's description. */
import { describe, expect, test } from "vitest";
import { diskAfterCut, replayPoints } from "./replay.ts";
import { parseWriteLog } from "./write-log.ts";

interface Entry {
  readonly sector: number;
  readonly data?: Uint8Array;
  readonly flags?: number;
}

function logOf(entries: readonly Entry[], count = entries.length): Uint8Array {
  const parts: Uint8Array[] = [];
  const sector = (...values: [number | bigint, 4 | 8][]): void => {
    const out = new DataView(new ArrayBuffer(512));
    let at = 0;
    for (const [value, size] of values) {
      if (size === 8) out.setBigUint64(at, BigInt(value), true);
      else out.setUint32(at, Number(value), true);
      at += size;
    }
    parts.push(new Uint8Array(out.buffer));
  };
  sector([0x6a736677736872n, 8], [1, 8], [count, 8], [512, 4]);
  for (const { sector: at, data, flags = 0 } of entries) {
    sector([at, 8], [(data?.length ?? 0) / 512, 8], [flags, 8], [0, 8]);
    if (data !== undefined) parts.push(data);
  }
  return Buffer.concat(parts);
}

const filled = (byte: number, sectors = 1): Uint8Array => new Uint8Array(512 * sectors).fill(byte);

describe("recordings of writes", () => {
  test("writes, flushes and durable writes come out in order, whatever the superblock counts", () => {
    const log = parseWriteLog(
      logOf(
        [
          { sector: 2, data: filled(1, 3) },
          { sector: 0, flags: 1 },
          { sector: 7, data: filled(2), flags: 2 },
        ],
        1,
      ),
    );
    expect(log.map(({ offset, data, flush, durable }) => [offset, data.length, flush, durable])).toEqual([
      [1024, 1536, false, false],
      [0, 0, true, false],
      [3584, 512, false, true],
    ]);
  });

  test("a log that a kill cut short ends at its last whole write", () => {
    const whole = logOf([
      { sector: 1, data: filled(1) },
      { sector: 2, data: filled(2, 2) },
    ]);
    expect(parseWriteLog(whole.subarray(0, whole.length - 1))).toHaveLength(1);
    expect(parseWriteLog(Buffer.concat([whole, new Uint8Array(4096)]))).toHaveLength(2);
    expect(() => parseWriteLog(new Uint8Array(512))).toThrow("no log");
  });

  test("what was flushed is always there, what was not may be missing sector by sector", () => {
    const log = parseWriteLog(
      logOf([
        { sector: 0, data: filled(1, 4) },
        { sector: 0, flags: 1 },
        { sector: 4, data: filled(2, 8) },
      ]),
    );
    const before = new Uint8Array(16 * 512);
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const disk = diskAfterCut(before, log, { prefix: 3, seed }, "volatile");
      expect(disk.subarray(0, 2048)).toEqual(filled(1, 4));
      expect(disk.subarray(12 * 512)).toEqual(new Uint8Array(4 * 512));
      seen.add(Array.from({ length: 8 }, (_, i) => disk[(4 + i) * 512]).join(""));
    }
    expect(seen.has("22222222")).toBe(true);
    expect(seen.size).toBeGreaterThan(20);
  });

  test("a disk without a cache loses at most the request in flight", () => {
    const log = parseWriteLog(
      logOf([
        { sector: 9, data: filled(1) },
        { sector: 3, data: filled(2) },
        { sector: 4, data: filled(2) },
      ]),
    );
    const before = new Uint8Array(16 * 512);
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const disk = diskAfterCut(before, log, { prefix: 3, seed }, "writes-through");
      expect(disk[9 * 512]).toBe(1);
      seen.add(`${disk[3 * 512]}${disk[4 * 512]}`);
    }
    expect([...seen].sort()).toEqual(["00", "02", "20", "22"]);
  });

  test("points: every prefix whole, then every prefix with dropped sectors", () => {
    expect(replayPoints(2, 7).map(({ prefix, seed }) => `${prefix}.${seed}`)).toEqual([
      "0.0",
      "1.0",
      "2.0",
      "0.1",
      "1.1",
      "2.1",
      "0.2",
    ]);
  });
});
