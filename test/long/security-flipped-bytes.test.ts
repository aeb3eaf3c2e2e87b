/** Rows A2 and A5 at every byte: whatever byte of a signed package is changed, it is refused before the device is changed. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { sweepFlips } from "../support/flip-sweep.ts";
import { FORMS, signedBench } from "../support/signed-benches.ts";

/** OTAFORGE_LONG=1: of long runs of zero bytes every one as well; otherwise one of 64: they are 60 of 72 KiB of a kdimg. */
const PADDING_STEP = process.env["OTAFORGE_LONG"] === "1" ? 1 : 64;
/** Zeros before and behind a byte that make it padding. */
const PADDING = 256;

/** Whether the byte lies among nothing but zeros. */
function isPadding(bytes: Uint8Array, at: number): boolean {
  return at >= PADDING && bytes.subarray(at - PADDING, at + PADDING).every((byte) => byte === 0);
}

describe("A2 flipped bytes, every one of them", () => {
  test.each(FORMS)("%s", async (form) => {
    const bench = await signedBench(form);
    const before = bench.targets();
    const good = readFileSync(join(bench.folder, bench.name));
    const wanted = (file: string, at: number): boolean =>
      file !== bench.name || at % PADDING_STEP === 0 || !isPadding(good, at);
    const { tried, findings } = await sweepFlips(bench, wanted);
    expect(findings).toEqual([]);
    expect(tried).toBeGreaterThan(1500);
    expect(bench.targets()).toBe(before);
    const size = bench.files.reduce((sum, file) => sum + readFileSync(join(bench.folder, file)).length, 0);
    process.stdout.write(`${form}: ${tried} of ${size} bytes, each flipped and refused\n`);
    // The same installs once it is whole: what refused was the flipped byte.
    expect((await bench.install()).code).toBe(0);
    expect(bench.targets()).not.toBe(before);
    rmSync(bench.folder, { recursive: true });
  });
});
