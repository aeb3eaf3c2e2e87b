/** Rows A2, A5, A14: a signed package of any family and form is refused with any byte changed, and nothing is written. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FORMS, signedBench } from "../support/signed-benches.ts";

/** Every offset in the first bytes and the last ones, and some in between. */
function offsets(size: number): number[] {
  const dense = 20;
  const step = Math.max(1, Math.floor(size / 20));
  return Array.from({ length: size }, (_, i) => i).filter((i) => i < dense || i >= size - 8 || i % step === 0);
}

describe("A2 flipped bytes: refused before the first write", () => {
  test.each(FORMS)("%s", async (form) => {
    const bench = await signedBench(form);
    const before = bench.targets();
    for (const file of bench.files) {
      const path = join(bench.folder, file);
      const good = readFileSync(path);
      for (const at of offsets(good.length)) {
        const bent = Buffer.from(good);
        bent[at] = (bent[at] as number) ^ (1 << (at % 8));
        writeFileSync(path, bent);
        const { code } = await bench.install();
        expect([3, 4, 5], `${file}, byte ${at}`).toContain(code);
        expect(bench.targets() === before, `${file}, byte ${at}: a target was written`).toBe(true);
      }
      writeFileSync(path, good);
    }
    // The same installs once it is whole again: what refused was the flipped byte.
    const { code, err, out } = await bench.install();
    expect([code, err]).toEqual([0, expect.any(String)]);
    expect(out).toMatch(/signed by|verified|accepted|trusted/);
    expect(bench.targets()).not.toBe(before);
    rmSync(bench.folder, { recursive: true });
  });
});
