import { describe, expect, it } from "vitest";
import { concatBytes, equalBytes } from "../core/bytes.ts";
import { isOtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { nodeDigests as digests } from "../device/digests.ts";
import { createSimulatedDevice, openJournal, type SimulatedDevice, type SimulatedNode } from "../device/index.ts";
import { BinaryCoder } from "./forge/arithmetic.ts";
import { codeBlock } from "./forge/block-coder.ts";
import { readsOf } from "./forge/reads.ts";
import { SegmentList } from "./forge/segments.ts";
import { applyInPlace, createPlainMaker, makeOtaforge, openForge, type InPlaceState } from "./index.ts";
import { gzip } from "pako";

const NODE = "/dev/mmcblk0p3";

function noise(size: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: size }, () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 16);
}

const make = (old: Uint8Array, fresh: Uint8Array, blockSize: number) =>
  makeOtaforge(createPlainMaker(), memoryReader(old), memoryReader(fresh), { digests, effort: "fast", blockSize });

async function install(device: SimulatedDevice, patch: Uint8Array): Promise<string> {
  const target = await device.nodes.open(NODE, "write");
  const journal = openJournal<InPlaceState>(device.state, "in-place");
  const { outcome } = await applyInPlace(target, memoryReader(patch), { digests, journal, store: device.state });
  await target.close();
  return outcome;
}

async function content(device: SimulatedDevice, size: number): Promise<Uint8Array> {
  const target = await device.nodes.open(NODE, "read");
  return target.read(0, size);
}

const deviceWith = (node: SimulatedNode): SimulatedDevice => createSimulatedDevice({ nodes: { [NODE]: node } });

/** Pairs in which much of old is read after the place it lies in was taken. */
const base = noise(9000, 5);
const pairs: readonly [name: string, old: Uint8Array, fresh: Uint8Array][] = [
  ["bytes put in front", base, concatBytes(noise(1100, 9), base)],
  ["bytes taken from the front", base, base.subarray(900)],
  ["halves exchanged", base, concatBytes(base.subarray(4500), base.subarray(0, 4500))],
  [
    "a packed part changed",
    concatBytes(gzip(base.subarray(0, 3000)), base.subarray(0, 5000)),
    concatBytes(base.subarray(0, 1500), gzip(base.subarray(10, 3000)), base.subarray(0, 5000)),
  ],
];

/** Every write for the pair that destroys most; the others are cut at every write by `npm run test:long`. */
const strideOf = (name: string) => (name.startsWith("halves") || process.env["OTAFORGE_LONG"] === "1" ? 1 : 4);

describe("in place", () => {
  for (const [name, old, fresh] of pairs) {
    const stride = strideOf(name);
    it(`survives power cuts: ${name}, every ${stride === 1 ? "" : "4th "}write`, async () => {
      const patch = await make(old, fresh, 2500);
      const node: SimulatedNode = { kind: "block", content: old, size: 16_384 };
      const whole = deviceWith(node);
      expect(await install(whole, patch)).toBe("patched");
      expect(equalBytes(await content(whole, fresh.length), fresh)).toBe(true);
      const writes = whole.writes;
      expect(writes).toBeGreaterThan(20);
      let resumed = 0;
      for (let write = 0; write < writes; write += stride) {
        const phase = (["before", "torn", "after"] as const)[write % 3] as "torn";
        const device = deviceWith(node);
        device.cutPower({ write, phase, unflushed: write % 2 === 0 ? "some" : "dropped", seed: write });
        await expect(install(device, patch)).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
        let again = device.restart();
        if (write % 4 === 0) {
          // Cut once more while it resumes.
          again.cutPower({ write: write % 7, phase: "torn", unflushed: "some", seed: write + 1 });
          await install(again, patch).catch((e: unknown) => {
            if (!isOtaError(e, "DEVICE_POWER_CUT")) throw e;
          });
          again = again.restart();
        }
        if ((await install(again, patch)) === "resumed") resumed++;
        expect(equalBytes(await content(again, fresh.length), fresh), `cut ${phase} write ${write}`).toBe(true);
        expect(await again.state.list("/")).not.toContain("in-place.saved");
      }
      expect(resumed).toBeGreaterThan(writes / stride / 2);
    });
  }

  it("works on flash, in whole erase blocks", async () => {
    const [, old, fresh] = pairs[0] as (typeof pairs)[number];
    const patch = await make(old, fresh, 2500);
    const node: SimulatedNode = { kind: "nor", content: old, size: 16_384, eraseSize: 2048 };
    const writes = await (async () => {
      const device = deviceWith(node);
      await install(device, patch);
      expect(equalBytes(await content(device, fresh.length), fresh)).toBe(true);
      return device.writes;
    })();
    for (let write = 0; write < writes; write += 5) {
      const device = deviceWith(node);
      device.cutPower({ write, phase: "torn", unflushed: "some", seed: write });
      await expect(install(device, patch)).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
      const again = device.restart();
      await install(again, patch);
      expect(equalBytes(await content(again, fresh.length), fresh), `cut at ${write}`).toBe(true);
    }
  });

  it("does nothing to a target that is new already, and refuses one that is neither", async () => {
    const [, old, fresh] = pairs[0] as (typeof pairs)[number];
    const patch = await make(old, fresh, 2500);
    const done = deviceWith({ kind: "block", content: fresh, size: 16_384 });
    expect(await install(done, patch)).toBe("already");
    expect(done.writes).toBe(0);
    const other = deviceWith({ kind: "block", content: noise(9000, 77), size: 16_384 });
    await expect(install(other, patch)).rejects.toMatchObject({ code: "FORGE_BASE" });
    expect(other.writes).toBe(0);
    const small = deviceWith({ kind: "block", content: old, size: 9216 });
    await expect(install(small, patch)).rejects.toMatchObject({ code: "DEVICE_TOO_SMALL" });
    expect(small.writes).toBe(0);
  });

  it("refuses another patch while one is not finished", async () => {
    const [, old, fresh] = pairs[2] as (typeof pairs)[number];
    const device = deviceWith({ kind: "block", content: old, size: 16_384 });
    const patch = await make(old, fresh, 2500);
    device.cutPower({ write: 25, phase: "after", unflushed: "kept", seed: 1 });
    await expect(install(device, patch)).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
    const again = device.restart();
    await expect(install(again, await make(old, base.subarray(1), 2500))).rejects.toMatchObject({
      code: "INPLACE_JOURNAL",
    });
    expect(await install(again, patch)).toBe("resumed");
  });

  it("knows exactly what a block reads of old", async () => {
    for (const [, old, fresh] of pairs) {
      const patch = await make(old, fresh, 2000);
      const decoder = await openForge(memoryReader(old), memoryReader(patch), { digests });
      const frame = decoder.patch;
      // Reads of the view are what counts; only pairs without packed parts have the same positions in file and view.
      if (frame.needs.length > 0) continue;
      expect(frame.oldSegments).toBeInstanceOf(SegmentList);
      for (const block of frame.blocks) {
        const touched = new Uint8Array(old.length);
        const source = {
          async copy(out: Uint8Array, at: number, from: number, length: number) {
            out.fill(0, at, at + length);
            for (let i = Math.max(0, from); i < Math.min(old.length, from + length); i++) touched[i] = 1;
          },
        };
        await codeBlock(
          {
            coder: new BinaryCoder(),
            old: source,
            covers: await decoder.covers(block.window),
            map: undefined,
            shape: { tableBits: 12, absoluteBase: 0 },
          },
          [block.viewAt, block.viewAt + block.viewSize],
          (_at, size) => new Uint8Array(size),
          () => undefined,
        );
        const told = new Uint8Array(old.length);
        for (const { at, end } of readsOf(await decoder.covers(block.window), block, frame.oldSegments))
          told.fill(1, at, end);
        expect(equalBytes(told, touched)).toBe(true);
      }
    }
  });
});
