/** The compiled engine on threads: workers need files they can start with, so this test uses `dist/`. */
import { gzip } from "pako";
import { expect, test } from "vitest";
import { concatBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { applyForge, createPlainMaker, makeOtaforge } from "../../src/delta/index.ts";
import type { BlockThreads as BlockThreadsClass } from "../../src/delta/block-threads.node.ts";
import type { DeltaEngine, DeltaEngineOptions } from "../../src/delta/engine.node.ts";
import { nodeDigests } from "../../src/device/digests.ts";
import { insideRepackers, RepackerSet } from "../../src/delta/forge/repack.ts";
import { resealed, samplePair, text } from "../support/forge-mutations.ts";

interface Engines {
  readonly createDeltaEngine: (options: DeltaEngineOptions) => DeltaEngine;
}
interface Threads {
  readonly BlockThreads: new (jobs: number) => BlockThreadsClass;
}
const built = (name: string) => import(new URL(`../../dist/delta/${name}`, import.meta.url).href);
const { BlockThreads } = (await built("block-threads.node.js")) as Threads;
const { createDeltaEngine } = (await built("engine.node.js")) as Engines;

test("otaforge deltas are the same bytes from 1, 2 and 4 workers and from the plain maker", async () => {
  const pair = samplePair(800);
  const old = memoryReader(concatBytes(pair.old, text(2000, 8)));
  const fresh = memoryReader(concatBytes(text(100, 7), pair.fresh, text(2000, 8)));
  const options = { digests: nodeDigests, effort: "default", blockSize: 5000 } as const;
  const plain = await makeOtaforge(createPlainMaker(), old, fresh, options);
  for (const jobs of [1, 2, 4]) {
    const engine = createDeltaEngine({ jobs });
    expect(engine.core).toBe("wasm");
    expect(engine.blockEncoder === undefined).toBe(jobs === 1);
    expect(await makeOtaforge(engine, old, fresh, options)).toEqual(plain);
    await engine.close();
  }
});

test("threads decode blocks and strips to the bytes of one thread, and give errors with their codes", async () => {
  const pair = samplePair(800);
  // A packed part large enough to be cut into strips, between small blocks.
  const zeros = (last: number) => gzip(new Uint8Array(9 << 20).fill(last, 9_000_000));
  const old = memoryReader(concatBytes(pair.old, zeros(1), text(2000, 8)));
  const fresh = memoryReader(concatBytes(text(100, 7), pair.fresh, zeros(2), text(2000, 8)));
  const engine = createDeltaEngine({ jobs: 2 });
  const options = { digests: nodeDigests, effort: "fast", blockSize: 5000 } as const;
  const patch = await makeOtaforge(engine, old, fresh, options);
  await engine.close();
  const threads = new BlockThreads(2);
  const repackers = insideRepackers();
  const settings = { digests: nodeDigests, decoder: threads.decoder(new RepackerSet(repackers)), ahead: 3 };
  try {
    for (const check of ["first", "along"] as const) {
      const parts: Uint8Array[] = [];
      for await (const part of applyForge(old, memoryReader(patch), { ...settings, check })) parts.push(part);
      expect(concatBytes(...parts)).toEqual(await fresh.read(0, fresh.size));
    }
    // Bytes of the last block, with the digest of all of them made right again: a wrong result and an early end.
    for (const at of [patch.length - 5, patch.length - 200]) {
      const changed = resealed(patch.fill(0xff, at, at + 1));
      const apply = async () => {
        for await (const part of applyForge(old, memoryReader(changed), settings))
          throw new Error(`${part.length} bytes given`);
      };
      await expect(apply()).rejects.toMatchObject({ code: "FORGE_DAMAGED" });
    }
  } finally {
    await threads.end();
  }
});

test("a cancelled delta ends with its code, and the engine goes on", async () => {
  const { old, fresh } = samplePair(200);
  const engine = createDeltaEngine({ jobs: 2 });
  const signal = { aborted: false };
  const options = { digests: nodeDigests, blockSize: 2000 };
  const make = makeOtaforge(engine, memoryReader(old), memoryReader(fresh), {
    ...options,
    signal,
    progress: ({ phase }) => {
      if (phase === "code") signal.aborted = true;
    },
  });
  await expect(make).rejects.toMatchObject({ code: "CANCELLED" });
  expect((await makeOtaforge(engine, memoryReader(old), memoryReader(fresh), options)).length).toBeGreaterThan(0);
  await engine.close();
});
