/** A decoder written from docs/delta-format.md alone, in another language, makes the same bytes of our deltas. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { deflate, gzip } from "pako";
import { afterAll, describe, expect, it } from "vitest";
import { concatBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { createPlainMaker, makeOtaforge } from "../../src/delta/index.ts";
import { nodeDigests } from "../../src/device/digests.ts";

const DECODER = fileURLToPath(new URL("../support/forge_decoder.py", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "delta-format-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program-like file: functions that call one another by displacement, a table of addresses, text, and zeros. */
function program(functions: number, seed: number, extra: ReadonlySet<number>): Uint8Array {
  const sizes = Array.from({ length: functions }, (_, i) => 30 + ((i * 37 + seed) % 50) + (extra.has(i) ? 13 : 0));
  const starts = sizes.map((_, i) => 64 + sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const end = 64 + sizes.reduce((a, b) => a + b, 0);
  const table = Math.ceil(end / 4) * 4;
  const out = new Uint8Array(table + 4 * functions + 2000);
  const view = new DataView(out.buffer);
  out.set([0x7f, 0x45, 0x4c, 0x46, 1, 1]);
  for (const [i, at] of starts.entries()) {
    for (let k = 0; k < (sizes[i] as number); k++) out[at + k] = (i * 31 + k * (k % 7 === 0 ? 5 : 17)) & 255;
    for (let k = 4; k + 5 < (sizes[i] as number); k += 11) {
      out[at + k] = 0xe8;
      view.setInt32(at + k + 1, (starts[(i * 7 + k) % functions] as number) - (at + k + 5), true);
    }
    view.setUint32(table + 4 * i, at, true);
  }
  return out;
}

/** 9 MiB whose words hardly repeat, here and there shifted by `moved` bytes. */
function large(moved: number): Uint8Array {
  const out = new Uint8Array(9 << 20);
  let state = 1;
  for (let i = 0; i < out.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    out[i] = state >>> 24;
  }
  // Around the strips' border as well, which is in the middle.
  for (const at of [100_000, out.length / 2 - 50, out.length / 2 + 3000]) {
    if (moved > 0) out.copyWithin(at, at + moved, at + 1000).fill(moved, at + 2000, at + 2000 + moved);
  }
  return out;
}

const old = program(220, 3, new Set());
const fresh = program(223, 3, new Set([5, 90, 91, 200]));
const text = (n: number) => new TextEncoder().encode("words that come again and again, ".repeat(n));
const cases: readonly [name: string, old: Uint8Array, fresh: Uint8Array, blockSize: number][] = [
  ["a program whose functions moved", old, fresh, 1 << 20],
  ["the same in small blocks", old, fresh, 3001],
  ["nothing in common", text(3), concatBytes(text(40), fresh.subarray(2000, 5000)), 1 << 20],
  [
    "packed parts of three kinds",
    concatBytes(gzip(old), text(2), deflate(old.subarray(0, 9000), { level: 9 })),
    concatBytes(text(2), gzip(fresh, { level: 1 }), deflate(fresh.subarray(0, 9000), { level: 9 }), text(1)),
    8000,
  ],
  ["a block of two strips", large(0), large(7), 16 << 20],
  ["an empty file", old, new Uint8Array(0), 1 << 20],
];

describe("the format as documented", () => {
  for (const [name, from, to, blockSize] of cases) {
    it(name, async () => {
      const file = (which: string) => path.join(folder, which);
      const settings = { digests: nodeDigests, effort: "fast", blockSize } as const;
      writeFileSync(file("old"), from);
      writeFileSync(
        file("patch"),
        await makeOtaforge(createPlainMaker(), memoryReader(from), memoryReader(to), settings),
      );
      execFileSync("python3", [DECODER, file("old"), file("patch"), file("new")], { stdio: "inherit" });
      expect(readFileSync(file("new")).equals(to)).toBe(true);
    });
  }
});
