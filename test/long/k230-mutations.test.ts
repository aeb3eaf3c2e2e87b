import { expect, it } from "vitest";
import { runMutants } from "../support/k230-mutations.ts";

/** Minutes to spend; a full run takes an hour. */
const MINUTES = Number(process.env["LONG_MINUTES"] ?? 60);

it("no damaged K230 image is half installed", async () => {
  const end = Date.now() + MINUTES * 60_000;
  let mutants = 0;
  for (let seed = 1; seed <= 1000 && Date.now() < end; seed++) {
    const { installed, refused } = await runMutants(1000, seed);
    mutants += installed + refused;
  }
  expect(mutants).toBeGreaterThan(0);
});
