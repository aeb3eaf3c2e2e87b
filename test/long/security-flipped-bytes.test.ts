/** Rows A2 and A5 at every byte: whatever byte of a signed package is changed, it is refused before the first write. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FORMS, signedBench } from "../support/signed-benches.ts";

/** OTAFORGE_LONG=1 flips every byte, half an hour; otherwise as many, spread evenly, as a box of 5 s a form holds. */
const BOX_MS = process.env["OTAFORGE_LONG"] === "1" ? Number.POSITIVE_INFINITY : 5_000;
/** Coprime to all sizes here: every offset once, in an order that spreads early. */
const STRIDE = 7919;

describe("A2 flipped bytes, every one of them", () => {
  test.each(FORMS)("%s", async (form) => {
    const bench = await signedBench(form);
    const before = bench.targets();
    const end = performance.now() + BOX_MS;
    const counts: string[] = [];
    for (const file of bench.files) {
      const path = join(bench.folder, file);
      const good = readFileSync(path);
      let tried = 0;
      for (let i = 0, at = 0; i < good.length && (performance.now() < end || i < 50); i++) {
        at = (at + STRIDE) % good.length;
        const bent = Buffer.from(good);
        bent[at] = (bent[at] as number) ^ (1 << (i % 8));
        writeFileSync(path, bent);
        const { code } = await bench.install();
        expect([3, 4, 5], `${file}, byte ${at}`).toContain(code);
        tried++;
      }
      writeFileSync(path, good);
      counts.push(`${file}: ${tried} of ${good.length} bytes`);
    }
    expect(bench.targets()).toBe(before);
    process.stdout.write(`${form}: ${counts.join(", ")}\n`);
    expect((await bench.install()).code).toBe(0);
    rmSync(bench.folder, { recursive: true });
  });
});
