import { expect, it } from "vitest";
import { runMutants } from "../support/k230-mutations.ts";

/** OTAFORGE_LONG=1 runs all of them, about an hour on one core; otherwise as many as a box of 45 s holds. */
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = FULL ? Number.POSITIVE_INFINITY : 45_000;
const COUNT = FULL ? 1_000_000 : Number.POSITIVE_INFINITY;
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);
/** Mutants between two looks at the clock. */
const BATCH = 100;

it("no damaged K230 image is half installed", async () => {
  const end = performance.now() + BOX_MS;
  const total = { installed: 0, refused: 0 };
  for (let i = 0; i * BATCH < COUNT && performance.now() < end; i++) {
    // Seeds follow one another, so that a longer run goes on where a shorter one of the same seed stopped.
    const { installed, refused } = await runMutants(BATCH, SEED + i);
    total.installed += installed;
    total.refused += refused;
  }
  process.stdout.write(
    `seed ${SEED}: ${total.installed + total.refused} damaged images, ${total.refused} refused, ` +
      `${total.installed} installed rightly${FULL ? "" : " (boxed; OTAFORGE_LONG=1 for a million)"}\n`,
  );
  expect(total.refused).toBeGreaterThan(0);
  expect(total.installed).toBeGreaterThan(0);
});
