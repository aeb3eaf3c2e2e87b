/** The compiled engine on threads: workers need files they can start with, so this test uses `dist/`. */
import { expect, test } from "vitest";
import { concatBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { createPlainMaker, makeOtaforge } from "../../src/delta/index.ts";
import type { DeltaEngine, DeltaEngineOptions } from "../../src/delta/engine.node.ts";
import { nodeDigests } from "../../src/device/digests.ts";
import { samplePair, text } from "../support/forge-mutations.ts";

interface Engines {
  readonly createDeltaEngine: (options: DeltaEngineOptions) => DeltaEngine;
}
const { createDeltaEngine } = (await import(
  new URL("../../dist/delta/engine.node.js", import.meta.url).href
)) as Engines;

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
