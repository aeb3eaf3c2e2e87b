/** The built engine: threads, the WebAssembly core and the library entry, against the plain TypeScript core as the oracle. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { memoryReader } from "../../src/core/streams.ts";
import { ownLane } from "../../src/delta/bsdiff40/lanes.ts";
import { scheduleBsdiff40 } from "../../src/delta/bsdiff40/schedule.ts";
import { makeBsdiff40 } from "../../src/delta/index.ts";
import type * as library from "../../src/library/delta.ts";
import { DAMAGES, hostilePairs, programLike } from "../support/delta-inputs.ts";

const built = (await import(new URL("../../dist/library/delta.js", import.meta.url).href)) as typeof library;
const { createDeltaEngine, diff, patch } = built;

const engines = [
  ...[1, 2, 4].map((jobs) => createDeltaEngine({ jobs })),
  // Whole patches on threads.
  ...[1, 2, 4].map((jobs) => createDeltaEngine({ jobs, manyFiles: true })),
];
afterAll(async () => {
  for (const engine of engines) await engine.close();
});

const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** The patch of every engine, which is one and the same, and gives new back. */
async function onePatch(old: Uint8Array, fresh: Uint8Array, effort: "fast" | "default" | "max"): Promise<Uint8Array> {
  const [first, ...others] = await Promise.all(
    engines.map((engine) => engine.bsdiff40(memoryReader(old), memoryReader(fresh), { effort })),
  );
  for (const other of others) expect(sameBytes(first as Uint8Array, other)).toBe(true);
  expect(sameBytes(await patch(old, first as Uint8Array), fresh)).toBe(true);
  return first as Uint8Array;
}

describe("the engine", () => {
  it("runs on threads over the compiled core", () => {
    const threads = [1, 2, 4, 1, 2, 4];
    expect(engines.map((engine) => [engine.core, engine.threads])).toEqual(threads.map((n) => ["wasm", n]));
  });

  it("takes more threads than a memory has room for, and no number that is none", async () => {
    const [old, fresh] = programLike(30_000, 7);
    const many = createDeltaEngine({ jobs: 100_000 });
    const one = createDeltaEngine({ jobs: 1 });
    try {
      const patch = await many.bsdiff40(memoryReader(old), memoryReader(fresh));
      expect(sameBytes(patch, await one.bsdiff40(memoryReader(old), memoryReader(fresh)))).toBe(true);
    } finally {
      await many.close();
      await one.close();
    }
    expect(() => createDeltaEngine({ jobs: Number.NaN })).toThrow("no number");
  });

  it("leaves lanes idle whose arenas have no room", async () => {
    const [old, fresh] = programLike(30_000, 7);
    let asked = 0;
    const lane = ownLane(() => {
      throw new Error("not asked");
    });
    const core = (size: number): never => {
      asked = size;
      throw new Error("seen");
    };
    const machine = { lanes: Array.from({ length: 100 }, () => lane), core };
    await expect(scheduleBsdiff40(machine, memoryReader(old), memoryReader(fresh))).rejects.toThrow("seen");
    expect(asked).toBeLessThan(2 ** 32);
  });

  it("makes many patches at once as it makes one, views of larger memory as well, and tells each caller its own failure", async () => {
    const large = programLike(9 << 20, 5);
    const pairs = Array.from({ length: 12 }, (_, i): readonly [Uint8Array, Uint8Array] => {
      const [old, fresh] = programLike(20_000 + i * 9000, i);
      return [Buffer.concat([large[0].subarray(0, 100), old]).subarray(100), fresh];
    });
    const [noZip] = programLike(5000, 1);
    for (const engine of engines.slice(3)) {
      const asked = [large, ...pairs].map(([old, fresh]) => engine.bsdiff40(memoryReader(old), memoryReader(fresh)));
      const failing = engine.imgdiff2(memoryReader(noZip), memoryReader(noZip), { zip: true });
      await expect(failing).rejects.toMatchObject({ code: "IMGDIFF_NOT_ZIP" });
      for (const [i, patch] of (await Promise.all(asked)).entries()) {
        if (i === 0) continue;
        const [old, fresh] = pairs[i - 1] as [Uint8Array, Uint8Array];
        expect(sameBytes(patch, makeBsdiff40(old, fresh))).toBe(true);
        // What was asked for is still the caller's.
        expect(old.length).toBeGreaterThan(0);
      }
    }
    const [old, fresh] = pairs[0] as [Uint8Array, Uint8Array];
    const cancelled = engines[4]?.bsdiff40(memoryReader(old), memoryReader(fresh), { signal: { aborted: true } });
    await expect(cancelled).rejects.toMatchObject({ code: "CANCELLED" });
  });

  for (const effort of ["fast", "default", "max"] as const) {
    it(`makes the oracle's bytes with 1, 2 and 4 workers, over several ranges, ${effort}`, async () => {
      const [old, fresh] = programLike(1_300_000, 7);
      const made = await onePatch(old, fresh, effort);
      expect(sameBytes(made, makeBsdiff40(old, fresh, { effort }))).toBe(true);
    });
  }

  it("makes the oracle's bytes for any pair", async () => {
    const bytes = fc.uint8Array({ maxLength: 3000 });
    await fc.assert(
      fc.asyncProperty(bytes, bytes, fc.constantFrom(...DAMAGES), async (old, other, damage) => {
        const fresh = damage(old, other);
        expect(sameBytes(await onePatch(old, fresh, "default"), makeBsdiff40(old, fresh))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  for (const [name, old, fresh] of hostilePairs(300_000)) {
    it(`takes ${name}`, async () => {
      const made = await onePatch(old, fresh, "default");
      expect(made.length).toBeLessThan(fresh.length + 20_000);
    });
  }
});

describe("otaforge/delta", () => {
  it("makes and applies every format", async () => {
    const [old, fresh] = programLike(60_000, 3);
    for (const format of ["bsdiff40", "imgdiff2", "otaforge"] as const) {
      const made = await diff(old, fresh, { format, effort: "fast", jobs: 1 });
      expect(made.length).toBeLessThan(fresh.length / 2);
      expect(sameBytes(await patch(old, made), fresh)).toBe(true);
    }
  });

  it("stops when its AbortSignal is aborted, at once and under way", async () => {
    const [old, fresh] = programLike(400_000, 5);
    await expect(diff(old, fresh, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
    const controller = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ phase }: { phase: string }) => {
      seen.push(phase);
      controller.abort();
    };
    await expect(diff(old, fresh, { signal: controller.signal, onProgress })).rejects.toMatchObject({
      code: "CANCELLED",
    });
    expect(seen.length).toBeGreaterThan(0);
    const made = await diff(old, fresh);
    await expect(patch(old, made, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("says what is wrong with its inputs", async () => {
    const bytes = new Uint8Array(10);
    await expect(diff("/no/such/file", bytes)).rejects.toMatchObject({ code: "DEVICE_NOT_FOUND" });
    await expect(patch(bytes, bytes)).rejects.toMatchObject({ code: "PACKAGE_UNKNOWN" });
    await expect(diff(bytes, bytes, { format: "vcdiff" as "bsdiff40" })).rejects.toMatchObject({ code: "USAGE" });
  });

  it("tells wrong inputs and settings from bugs", async () => {
    const bytes = new Uint8Array(100);
    for (const input of [undefined, bytes.buffer, new URL("file:///etc/hostname")]) {
      await expect(diff(input as unknown as string, bytes)).rejects.toMatchObject({ code: "USAGE" });
      await expect(patch(bytes, input as unknown as string)).rejects.toMatchObject({ code: "USAGE" });
    }
    await expect(diff(bytes, bytes, { effort: "most" as "max" })).rejects.toMatchObject({ code: "USAGE" });
    await expect(diff(bytes, bytes, { zip: true })).rejects.toMatchObject({ code: "USAGE" });
    await expect(diff(bytes, bytes, { repack: [] })).rejects.toMatchObject({ code: "USAGE" });
    await expect(diff(bytes, bytes, { format: "otaforge", bonus: bytes })).rejects.toMatchObject({ code: "USAGE" });
    const plain = await diff(bytes, bytes);
    await expect(patch(bytes, plain, { bonus: bytes })).rejects.toMatchObject({ code: "USAGE" });
    // To permit no re-packer refuses no patch that needs none.
    expect(sameBytes(await patch(bytes, plain, { repack: [] }), bytes)).toBe(true);
    const short = { size: 100, read: async (at: number, length: number) => bytes.slice(at, at + length - 1) };
    for (const format of ["bsdiff40", "otaforge"] as const) {
      await expect(diff(short, bytes, { format })).rejects.toMatchObject({ code: "READ_PAST_END" });
    }
  });

  it.each(["bsdiff40", "imgdiff2", "otaforge"] as const)(
    "stops applying %s of bytes in memory when told",
    async (format) => {
      // Nothing waits for a file here: the signal is heard because the work gives others a turn.
      const [old, fresh] = programLike(format === "otaforge" ? 3 << 20 : 24 << 20, 9);
      const made = await diff(old, fresh, { format, effort: "fast" });
      const controller = new AbortController();
      setTimeout(() => {
        controller.abort();
      }, 1);
      await expect(patch(old, made, { signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    },
  );
});
