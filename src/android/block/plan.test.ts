// Block-based updates judged by executing them; sizes and stashes against the original (test/vectors/android/block71).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { ByteStream } from "../../core/ports.ts";
import { silentProgress } from "../../core/progress.ts";
import { memoryReader } from "../../core/streams.ts";
import { openZip, type ZipArchive } from "../../core/zip/index.ts";
import { createDeltaEngine } from "../../delta/engine.node.ts";
import { createPlainMaker } from "../../delta/index.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { openImage, rawImage, type BlockImage } from "../images/sparse.ts";
import { patchMakerOf } from "../releasetools/delta-patches.ts";
import { mapImage, wholeImage } from "./image-map.ts";
import { newDataOf, patchDataOf, planBlocks, type BlockPlan, type TransferVersion } from "./plan.ts";
import { EMPTY, intersect, parseMapRanges, ranges, size, subtract, union } from "./ranges.ts";
import { simulateUpdate, type SimulatedUpdate } from "./simulate.ts";

const ROOT = join(import.meta.dirname, "../../../test/vectors/android/block71");
const open = (file: string): Promise<ZipArchive> =>
  openZip(memoryReader(new Uint8Array(readFileSync(file))), { codecs });
const engine = createDeltaEngine({ jobs: 2 });
const plain = createPlainMaker();
afterAll(() => engine.close());
const options = (version: TransferVersion): Parameters<typeof planBlocks>[2] => ({
  version,
  patches: patchMakerOf(engine, 2),
  digests,
  progress: silentProgress,
});

async function load(folder: string, which: "old" | "new"): Promise<{ image: BlockImage; map: string }> {
  const zip = await open(join(ROOT, folder, `${which}-target_files.zip`));
  const image = await openImage(memoryReader(await zip.read(zip.need("IMAGES/system.img"))));
  return { image, map: Buffer.from(await zip.read(zip.need("IMAGES/system.map"))).toString() };
}
const rawOf = (image: BlockImage): Promise<Uint8Array> => image.raw.read(0, image.raw.size);
const hex = (b: Uint8Array): string => {
  const d = digests.create("sha1");
  d.update(b);
  return Buffer.from(d.digest()).toString("hex");
};

async function bytesOf(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const p of stream) parts.push(p);
  return new Uint8Array(Buffer.concat(parts));
}

async function updateOf(plan: BlockPlan, target: Parameters<typeof newDataOf>[1]): Promise<SimulatedUpdate> {
  const [newData, patchData] = [await bytesOf(newDataOf(plan, target)), await bytesOf(patchDataOf(plan))];
  expect([newData.length, patchData.length]).toEqual([plan.newSize, plan.patchSize]);
  return { list: plan.list, newData, patchData };
}

describe("block-based updates", () => {
  for (const folder of ["v1", "v2", "v3", "v4"] as const) {
    it(`${folder}: an incremental turns the old image into the new one, no larger and with no more stash than the original's`, async () => {
      const version = Number(folder.slice(1)) as TransferVersion;
      const [old, fresh] = [await load(folder, "old"), await load(folder, "new")];
      const [source, target] = [await mapImage(old.image, old.map), await mapImage(fresh.image, fresh.map)];
      const plan = await planBlocks(target, source, options(version));
      const update = await updateOf(plan, target);
      const result = await simulateUpdate(await rawOf(old.image), update, digests);
      const images = JSON.parse(readFileSync(join(ROOT, folder, "images.json"), "utf8")) as {
        new_system_raw_sha1: string;
      };
      expect(hex(result.image)).toBe(images.new_system_raw_sha1);
      if (version >= 2) expect(result.maxStashedBlocks).toBe(plan.maxStashedBlocks);
      const reference = readFileSync(join(ROOT, folder, "incr/system.transfer.list"), "utf8").split("\n");
      expect(plan.list.split("\n").slice(0, 2)).toEqual(reference.slice(0, 2));
      if (version >= 2) expect(plan.maxStashedBlocks).toBeLessThanOrEqual(Number(reference[3]));
      const zip = await open(join(ROOT, folder, "incr/unsigned.zip"));
      expect(plan.newSize).toBeLessThanOrEqual(zip.need("system.new.dat").size);
      expect(plan.patchSize).toBeLessThanOrEqual(zip.need("system.patch.dat").size);
    });
  }

  it("a full update writes the whole image in pieces, over any old content", async () => {
    const { image } = await load("v4", "new");
    const target = wholeImage(image);
    const plan = await planBlocks(target, undefined, options(4));
    expect(plan.list).toBe(readFileSync(join(ROOT, "v4/full/system.transfer.list"), "utf8"));
    const junk = new Uint8Array(image.raw.size).fill(0x55);
    const result = await simulateUpdate(junk, await updateOf(plan, target), digests);
    expect(hex(result.image)).toBe(hex(await rawOf(image)));
  });

  it("stays within the stash it is given, and sends what does not fit", async () => {
    const [old, fresh] = [await load("v4", "old"), await load("v4", "new")];
    const [source, target] = [await mapImage(old.image, old.map), await mapImage(fresh.image, fresh.map)];
    for (const blocks of [5, 0]) {
      const plan = await planBlocks(target, source, { ...options(4), stashLimitBytes: blocks * 4096 });
      expect(plan.maxStashedBlocks).toBeLessThanOrEqual(blocks);
      const result = await simulateUpdate(await rawOf(old.image), await updateOf(plan, target), digests);
      expect(hex(result.image)).toBe(hex(await rawOf(fresh.image)));
    }
  });

  it("any shuffle of any blocks arrives, in every version", async () => {
    const blocks = 24;
    const shuffled = fc.record({
      from: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: blocks, maxLength: blocks }),
      to: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: blocks, maxLength: blocks }),
      oldOwner: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: blocks, maxLength: blocks }),
      newOwner: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: blocks, maxLength: blocks }),
      version: fc.constantFrom(1 as const, 2 as const, 3 as const, 4 as const),
    });
    const build = (values: number[]): BlockImage => {
      const bytes = new Uint8Array(blocks * 4096);
      values.forEach((v, i) => bytes.fill(v, i * 4096, (i + 1) * 4096));
      return rawImage(memoryReader(bytes));
    };
    // Block 0 and owner 6 belong to no file.
    const mapOf = (owners: number[]): string => {
      const files = new Map<number, number[]>();
      owners.forEach((o, i) => (i === 0 || o === 6 ? undefined : files.set(o, [...(files.get(o) ?? []), i])));
      return [...files].map(([o, list]) => `/system/f${o} ${list.join(" ")}`).join("\n");
    };
    await fc.assert(
      fc.asyncProperty(shuffled, async ({ from, to, oldOwner, newOwner, version }) => {
        const [a, b] = [build(from), build(to)];
        const source = await mapImage(a, mapOf(oldOwner));
        const target = await mapImage(b, mapOf(newOwner));
        const plan = await planBlocks(target, source, { ...options(version), patches: patchMakerOf(plain, 1) });
        const result = await simulateUpdate(await rawOf(a), await updateOf(plan, target), digests);
        expect(Buffer.from(result.image).equals(Buffer.from(await rawOf(b)))).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  it("range arithmetic agrees with sets of numbers", () => {
    const list = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 12 });
    const toRanges = (values: number[]): ReturnType<typeof ranges> => ranges(values.flatMap((v) => [v, v + 1]));
    const toSet = (r: ReturnType<typeof ranges>): number[] => {
      const out: number[] = [];
      for (let i = 0; i < r.length; i += 2) for (let v = r[i] as number; v < (r[i + 1] as number); v++) out.push(v);
      return out;
    };
    const sorted = (values: Iterable<number>): number[] => [...new Set(values)].sort((x, y) => x - y);
    fc.assert(
      fc.property(list, list, (a, b) => {
        const [x, y] = [toRanges(a), toRanges(b)];
        expect(toSet(x)).toEqual(sorted(a));
        expect(toSet(union(x, y))).toEqual(sorted([...a, ...b]));
        expect(toSet(intersect(x, y))).toEqual(sorted(a.filter((v) => b.includes(v))));
        expect(toSet(subtract(x, y))).toEqual(sorted(a.filter((v) => !b.includes(v))));
        expect(size(x)).toBe(new Set(a).size);
      }),
    );
    expect(parseMapRanges("10-12 30 5", "x")).toEqual({ set: [5, 6, 10, 13, 30, 31], monotonic: false });
    expect(() => parseMapRanges("12-10", "x")).toThrow("bad block range");
    expect(EMPTY.length).toBe(0);
  });

  it("refuses damaged sparse images and maps that lie", async () => {
    const zip = await open(join(ROOT, "v4/new-target_files.zip"));
    const bytes = await zip.read(zip.need("IMAGES/system.img"));
    for (let n = 0; n < 200; n++) {
      const cut = bytes.subarray(0, n === 0 ? 10 : Math.floor((bytes.length * n) / 200));
      await expect(openImage(memoryReader(cut)), String(cut.length)).rejects.toMatchObject({ name: "OtaError" });
    }
    const { image } = await load("v4", "new");
    await expect(mapImage(image, "/a 9\n/b 9\n")).rejects.toThrow("another file's");
    await expect(mapImage(image, "/a 0\n")).rejects.toThrow("superblock");
    await expect(mapImage(image, "/a 900000\n")).rejects.toThrow("not in the image");
  });
});
