import { expect, it } from "vitest";
import { runDamagedContainers, runDamagedDeltas } from "../support/forge-mutations.ts";

/** OTAFORGE_LONG=1 runs a million damaged deltas, hours, or what two boxes of OTAFORGE_BOX_S seconds hold; otherwise two of 25 s. */
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = 1000 * Number(process.env["OTAFORGE_BOX_S"] ?? (FULL ? Number.POSITIVE_INFINITY : 25));
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);
/** Between two looks at the clock. */
const BATCH = 20;

/** Runs batches of following seeds until the box is full or `count` were run. */
async function boxed(count: number, batch: (seed: number) => Promise<void>): Promise<number> {
  const end = performance.now() + BOX_MS;
  let done = 0;
  for (let i = 0; done < count && performance.now() < end; i++, done += BATCH) await batch(SEED + i);
  return done;
}

it("no damaged otaforge delta gives a wrong byte", async () => {
  const total = { refused: 0, right: 0 };
  const done = await boxed(FULL ? 1_000_000 : Number.POSITIVE_INFINITY, async (seed) => {
    const { refused, right } = await runDamagedDeltas(BATCH, seed);
    total.refused += refused;
    total.right += right;
  });
  process.stdout.write(`seed ${SEED}: ${done} damaged deltas, ${total.refused} refused, ${total.right} right\n`);
  expect(total.refused).toBeGreaterThan(total.right);
});

it("no damaged container keeps a delta from being made", async () => {
  let opened = 0;
  const done = await boxed(FULL ? 100_000 : Number.POSITIVE_INFINITY, async (seed) => {
    opened += await runDamagedContainers(BATCH, seed);
  });
  process.stdout.write(`seed ${SEED}: ${done} pairs of damaged containers, ${opened} parts opened\n`);
  expect(opened).toBeGreaterThan(0);
});
