import { describe, it } from "vitest";
import { vectorPackages } from "../support/sigmastar.ts";
import { extremes, flips, truncations } from "../support/sigmastar-mutations.ts";

/**
 * OTAFORGE_LONG=1 flips every byte and cuts at every offset (some two minutes of a core); otherwise every third one, and
 * OTAFORGE_SEED says which.
 */
const STEP = process.env["OTAFORGE_LONG"] === "1" ? 1 : 3;
const EVERY = { step: STEP, start: Number(process.env["OTAFORGE_SEED"] ?? 1) % STEP };

describe(`every vector package, mutated at every ${STEP === 1 ? "" : `${STEP}rd `}offset`, () => {
  it.each(vectorPackages())("%s", async (_name, bytes) => {
    await extremes(bytes);
    if (bytes.length > 30_000) return;
    await flips(bytes, EVERY);
    await truncations(bytes, EVERY);
  });
});
