import { gzip, deflate } from "pako";
import { describe, expect, it } from "vitest";
import { concatBytes, writeU16, writeU32 } from "../../core/bytes.ts";
import { memoryReader } from "../../core/streams.ts";
import { nodeDigests as digests } from "../../device/digests.ts";
import { createPlainMaker, makeOtaforge } from "../index.ts";
import {
  proven,
  runDamagedContainers,
  runDamagedDeltas,
  samplePair,
  text,
  zipOf,
} from "../../../test/support/forge-mutations.ts";
import { squashfsLz4Finder } from "./squashfs.ts";
import { ScanSource, scanPacked, type PackedPart } from "./scan.ts";
import { xzStreamAt } from "./xz-stream.ts";
import { zstdFrameAt } from "./zstd-frame.ts";

const INSIDE = new Set([1, 2, 3]);

async function partsOf(bytes: Uint8Array, allowed = INSIDE): Promise<PackedPart[]> {
  const parts: PackedPart[] = [];
  for await (const part of scanPacked(memoryReader(bytes), { allowed })) parts.push(part);
  return parts;
}

describe("finding packed parts", () => {
  const { old } = samplePair(150);

  it("finds gzip members, zlib streams and zip entries with their contents", async () => {
    const parts = await partsOf(old);
    expect(parts.map((p) => p.repackers[0])).toEqual([3, 2, 1]);
    let end = 0;
    for (const { at, size, content } of parts) {
      expect(at).toBeGreaterThanOrEqual(end);
      expect(content.length).toBeGreaterThan(64);
      end = at + size;
    }
    expect(await partsOf(old, new Set([2]))).toHaveLength(1);
    expect(await partsOf(old, new Set())).toEqual([]);
  });

  it("finds parts across the borders of what is read at once", async () => {
    const packed = gzip(text(400, 3));
    for (const at of [1024 * 1024 - 1, 1024 * 1024 - packed.length + 1, 4 * 1024 * 1024 - 7]) {
      const file = concatBytes(new Uint8Array(at), packed, new Uint8Array(20));
      const [part] = await partsOf(file);
      expect(part).toMatchObject({ at: at + 10, size: packed.length - 10 });
    }
  });

  it("does not take what is cut, damaged or lies about its size", async () => {
    const content = text(200, 3);
    const packed = gzip(content);
    expect(await partsOf(packed.subarray(0, packed.length - 1))).toEqual([]);
    const lying = packed.slice();
    writeU32(lying, lying.length - 4, content.length + 1);
    expect(await partsOf(lying)).toEqual([]);
    const zip = zipOf(content);
    writeU16(zip, 6, 0);
    writeU32(zip, 14, 1);
    expect(await partsOf(zip)).toEqual([]);
    writeU16(zip, 26, 65_000);
    expect(await partsOf(zip)).toEqual([]);
  });

  it("reads nothing of a bomb into memory that is larger than a likely part", async () => {
    const bomb = gzip(new Uint8Array(36 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(40_000);
    expect(await partsOf(concatBytes(bomb, text(10, 1)))).toEqual([]);
  });

  it("goes on behind images and streams whose headers lie", async () => {
    const head = new Uint8Array(200);
    writeU32(head, 0, 0x73717368);
    writeU32(head, 12, 131072);
    writeU16(head, 20, 5);
    writeU16(head, 28, 4);
    for (const at of [40, 64, 72, 80, 88]) writeU32(head, at, 190);
    writeU32(head, 64, 96);
    const tail = gzip(text(100, 1));
    const file = concatBytes(head, tail);
    const parts: PackedPart[] = [];
    const finders = [squashfsLz4Finder(17)];
    for await (const part of scanPacked(memoryReader(file), { allowed: new Set([3, 17]), finders })) parts.push(part);
    expect(parts.map((p) => p.repackers[0])).toEqual([3]);
    for (const at of [8, 40, 64, 72, 80, 88]) {
      const wild = file.slice();
      wild.fill(0xff, at, at + 8);
      const again: PackedPart[] = [];
      for await (const part of scanPacked(memoryReader(wild), { allowed: new Set([3, 17]), finders })) again.push(part);
      expect(again).toHaveLength(1);
    }
  });

  it("takes no xz stream and no zstd frame that does not end", async () => {
    const xz = Uint8Array.of(
      0xfd,
      0x37,
      0x7a,
      0x58,
      0x5a,
      0,
      0,
      1,
      0x69,
      0x22,
      0xde,
      0x36,
      2,
      0,
      0x21,
      1,
      0x16,
      0,
      0,
      0,
    );
    expect(await xzStreamAt(new ScanSource(memoryReader(concatBytes(xz, new Uint8Array(60)))), 0)).toBeUndefined();
    const zstd = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0);
    expect(await zstdFrameAt(new ScanSource(memoryReader(zstd)), 0)).toBeUndefined();
  });
});

describe("progress of a maker", () => {
  it("never runs backwards inside a phase, and comes to its end", async () => {
    const packed = (n: number) => concatBytes(new Uint8Array(1 << 21), gzip(text(500, n)));
    const seen = new Map<string, number>();
    let total = 0;
    const old = packed(1);
    const fresh = concatBytes(packed(1), gzip(text(500, 4)));
    await makeOtaforge(createPlainMaker(), memoryReader(old), memoryReader(fresh), {
      digests,
      effort: "fast",
      progress: ({ phase, doneBytes, totalBytes }) => {
        expect(doneBytes).toBeGreaterThanOrEqual(seen.get(phase) ?? 0);
        seen.set(phase, doneBytes);
        if (phase === "look for containers") total = totalBytes;
      },
    });
    expect(total).toBe(old.length + fresh.length);
    expect(seen.get("look for containers")).toBe(total);
  });
});

describe("hostile input of a maker", () => {
  it("is made again exactly, whatever was damaged", async () => {
    expect(await runDamagedContainers(12, 3)).toBeGreaterThan(0);
  });

  it("may be parts inside parts and entries that overlap", async () => {
    const inner = gzip(text(150, 2));
    const overlapping = concatBytes(
      zipOf(text(80, 1)).subarray(0, 40),
      zipOf(text(80, 1)),
      inner.subarray(0, 60),
      inner,
    );
    await proven(deflate(concatBytes(inner, overlapping)), concatBytes(overlapping, gzip(overlapping), inner));
  });
});

describe("damaged deltas", () => {
  it("are refused before the first byte, or give new", async () => {
    const { refused, right } = await runDamagedDeltas(60, 11);
    expect(refused).toBeGreaterThan(right);
  });
});
