import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isOtaError } from "../../core/errors.ts";
import { concatBytes } from "../../core/bytes.ts";
import { memoryReader } from "../../core/streams.ts";
import { applyBsdiff40, compressBzip2, makeBsdiff40, readBsdiff40Header } from "../index.ts";
import { writeBsdiff40Header, writeOffset } from "./header.ts";
import { createCore } from "../core.ts";
import type { ApplyOptions } from "./apply.ts";
import { PATCH_MEMORY_SIZE } from "./streams.ts";

const vectors = new URL("../../../test/vectors/delta/bsdiff/", import.meta.url);

async function apply(old: Uint8Array, patch: Uint8Array, options?: ApplyOptions): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of applyBsdiff40(memoryReader(old), memoryReader(patch), options)) parts.push(part);
  return concatBytes(...parts);
}

// One memory for all: its state must not leak from one patch into the next.
const core = createCore(PATCH_MEMORY_SIZE);

/** What happens: the result, or the error's code; and whether bytes came before the error. */
async function outcome(old: Uint8Array, patch: Uint8Array): Promise<Uint8Array | string> {
  let given = 0;
  const parts: Uint8Array[] = [];
  try {
    for await (const part of applyBsdiff40(memoryReader(old), memoryReader(patch), { core })) {
      given += part.length;
      parts.push(part);
    }
    return concatBytes(...parts);
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return given > 0 ? `late ${e.code}` : e.code;
  }
}

function patchOf(triples: number[][], diff: Uint8Array, extra: Uint8Array, newSize: number): Uint8Array {
  const control = new Uint8Array(24 * triples.length);
  triples.forEach((triple, i) => {
    triple.forEach((v, k) => {
      writeOffset(control, 24 * i + 8 * k, v);
    });
  });
  const c = compressBzip2(control);
  const d = compressBzip2(diff);
  return concatBytes(
    writeBsdiff40Header({ controlSize: c.length, diffSize: d.length, newSize }),
    c,
    d,
    compressBzip2(extra),
  );
}

describe("vectors made by bsdiff 4.3", () => {
  for (const name of readdirSync(vectors).filter((n) => !n.endsWith(".md"))) {
    it(`applies ${name} exactly`, async () => {
      const read = (file: string) => new Uint8Array(readFileSync(new URL(`${name}/${file}`, vectors)));
      if (!existsSync(new URL(`${name}/patch`, vectors))) return;
      const target = read("target");
      expect(await apply(read("source"), read("patch"))).toEqual(target);
      expect(await apply(read("source"), read("patch"), { check: "along" })).toEqual(target);
      expect(readBsdiff40Header(read("patch")).newSize).toBe(target.length);
    });
  }
});

describe("making and applying", () => {
  const bytes = fc.uint8Array({ maxLength: 400 });
  it("gives the new file back for any two files", async () => {
    await fc.assert(
      fc.asyncProperty(bytes, bytes, bytes, async (a, b, c) => {
        const old = concatBytes(a, b, a);
        const fresh = concatBytes(c, a, b.slice(3), a);
        expect(await apply(old, makeBsdiff40(old, fresh))).toEqual(fresh);
      }),
      { numRuns: 60 },
    );
  });
});

describe("hostile patches", () => {
  const old = new Uint8Array(100).fill(7);
  const one = new Uint8Array(1);
  const ten = new Uint8Array(10);
  it("refuses negative, huge and overflowing control triples before the first byte", async () => {
    for (const triple of [
      [-1, 11, 0],
      [11, -1, 0],
      [11, 0, 0],
      [2 ** 53 - 1, 0, 0],
      [5, 6, 0],
      [5, 2 ** 53 - 1, 0],
    ]) {
      expect(await outcome(old, patchOf([triple], ten, ten, 10))).toBe("BSDIFF_CONTROL");
    }
    expect(
      await outcome(
        old,
        patchOf(
          [
            [5, 0, 2 ** 53 - 1],
            [5, 0, 0],
          ],
          ten,
          one,
          10,
        ),
      ),
    ).toBe("BSDIFF_CONTROL");
  });
  it("takes triples that only seek, as bsdiff writes them, but not endlessly many", async () => {
    const seeks = (count: number): [number, number, number][] => [
      ...Array.from({ length: count }, (_, i): [number, number, number] => [0, 0, i % 2 === 0 ? 5 : -5]),
      [10, 0, 0],
    ];
    expect(String(await outcome(old, patchOf(seeks(4), ten, new Uint8Array(0), 10)))).not.toMatch(/^BSDIFF/);
    expect(await outcome(old, patchOf(seeks(12), ten, new Uint8Array(0), 10))).toBe("BSDIFF_CONTROL");
  });
  it("counts bytes outside old as zero", async () => {
    const diff = Uint8Array.from([1, 2, 3, 4]);
    const patch = patchOf(
      [
        [0, 0, -2],
        [4, 0, 0],
      ],
      diff,
      new Uint8Array(0),
      4,
    );
    expect(await apply(old, patch)).toEqual(Uint8Array.from([1, 2, 10, 11]));
    const behind = patchOf(
      [
        [0, 0, 98],
        [4, 0, 0],
      ],
      diff,
      new Uint8Array(0),
      4,
    );
    expect(await apply(old, behind)).toEqual(Uint8Array.from([8, 9, 3, 4]));
  });
  it("refuses streams that are shorter or longer than the triples say", async () => {
    const none = new Uint8Array(0);
    expect(await outcome(old, patchOf([[10, 0, 0]], new Uint8Array(9), none, 10))).toBe("BSDIFF_STREAM");
    expect(await outcome(old, patchOf([[10, 0, 0]], new Uint8Array(11), none, 10))).toBe("BSDIFF_STREAM");
    expect(await outcome(old, patchOf([[0, 10, 0]], none, new Uint8Array(9), 10))).toBe("BSDIFF_STREAM");
    expect(await outcome(old, patchOf([[0, 10, 0]], none, new Uint8Array(11), 10))).toBe("BSDIFF_STREAM");
    expect(await outcome(old, patchOf([], none, none, 10))).toBe("BSDIFF_STREAM");
    expect(
      await outcome(
        old,
        patchOf(
          [
            [10, 0, 0],
            [10, 0, 0],
          ],
          ten,
          none,
          10,
        ),
      ),
    ).toBe("BSDIFF_STREAM");
  });
  it("refuses every truncation and bytes behind the end before the first byte", async () => {
    const fresh = Uint8Array.from({ length: 300 }, (_, i) => (i * 37) % 251);
    const patch = makeBsdiff40(old, fresh);
    for (let n = 0; n < patch.length; n++) {
      expect(await outcome(old, patch.subarray(0, n))).toMatch(/^(BSDIFF|CODEC)_[A-Z]+$/);
    }
    expect(await outcome(old, concatBytes(patch, one))).toBe("CODEC_DAMAGED");
    expect(await apply(old, concatBytes(patch, one), { ignoreTrailing: true })).toEqual(fresh);
  });
  it("gives a typed error or the right result for mutated patches", async () => {
    const fresh = Uint8Array.from({ length: 200 }, (_, i) => (i * i) % 253);
    const patch = makeBsdiff40(old, fresh);
    await fc.assert(
      fc.asyncProperty(fc.nat(patch.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bad = patch.slice();
        bad[at] = (bad[at] as number) ^ flip;
        const result = await outcome(old, bad);
        if (typeof result === "string") expect(result).toMatch(/^(BSDIFF|CODEC)_[A-Z]+$/);
        else expect(result).toEqual(fresh);
      }),
      { numRuns: 2000 },
    );
  });
  it("refuses header sizes that are negative, unsafe or beyond the patch", () => {
    const head = writeBsdiff40Header({ controlSize: 1, diffSize: 1, newSize: 1 });
    for (const at of [8, 16, 24]) {
      const negative = head.slice();
      negative[at + 7] = 0x80;
      expect(() => readBsdiff40Header(negative)).toThrow(/negative/);
      const unsafe = head.slice();
      unsafe[at + 6] = 0x20;
      expect(() => readBsdiff40Header(unsafe)).toThrow(/beyond/);
    }
  });
});
