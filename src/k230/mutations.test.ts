import { describe, expect, it } from "vitest";
import { runMutants } from "../../test/support/k230-mutations.ts";

describe("a damaged image", () => {
  it("is refused with a typed error before the first write, or installed rightly", async () => {
    const { installed, refused } = await runMutants(1500, 230);
    expect(refused).toBeGreaterThan(500);
    // Fields an update does not use (destinations, texts, flags) do no harm.
    expect(installed).toBeGreaterThan(100);
  });
});
