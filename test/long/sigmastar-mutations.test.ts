import { describe, it } from "vitest";
import { vectorPackages } from "../support/sigmastar.ts";
import { extremes, flips, truncations } from "../support/sigmastar-mutations.ts";

describe("every vector package, mutated", () => {
  it.each(vectorPackages())("%s", async (_name, bytes) => {
    await extremes(bytes);
    if (bytes.length > 30_000) return;
    await flips(bytes);
    await truncations(bytes);
  });
});
