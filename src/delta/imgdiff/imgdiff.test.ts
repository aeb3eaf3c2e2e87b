import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { deflateRaw, gzip } from "pako";
import { describe, expect, it } from "vitest";
import { concatBytes, writeU16, writeU32 } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";
import { isOtaError } from "../../core/errors.ts";
import { memoryReader } from "../../core/streams.ts";
import { encodeText } from "../../core/text.ts";
import { PATCH_MEMORY_SIZE } from "../bsdiff40/streams.ts";
import { createCore } from "../core.ts";
import { applyImgdiff2, createPlainMaker, readImgdiff2, type ImgdiffApplyOptions } from "../index.ts";
import { createDeflater, deflateReproduces, zlibDefaults } from "../deflate/deflate.ts";

const vectors = new URL("../../../test/vectors/delta/imgdiff/", import.meta.url);

async function gather(old: Uint8Array, patch: Uint8Array, options?: ImgdiffApplyOptions): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of applyImgdiff2(memoryReader(old), memoryReader(patch), options)) parts.push(part);
  return concatBytes(...parts);
}

/** One memory for all: a thousand runs would otherwise spend their time clearing theirs. */
const core = createCore(PATCH_MEMORY_SIZE);

/** The result, or the error's code; an error after the first byte is marked `late`. */
async function outcome(
  old: Uint8Array,
  patch: Uint8Array,
  options?: ImgdiffApplyOptions,
): Promise<Uint8Array | string> {
  let given = 0;
  const parts: Uint8Array[] = [];
  try {
    for await (const part of applyImgdiff2(memoryReader(old), memoryReader(patch), { core, ...options })) {
      given += part.length;
      parts.push(part);
    }
    return concatBytes(...parts);
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return given > 0 ? `late ${e.code}` : e.code;
  }
}

const short = (result: Uint8Array | string) => (typeof result === "string" ? result : `${result.length} bytes`);

const make = (old: Uint8Array, fresh: Uint8Array, options: { zip?: boolean; bonus?: Uint8Array } = {}) =>
  createPlainMaker().imgdiff2(memoryReader(old), memoryReader(fresh), options);

interface Case {
  readonly name: string;
  readonly zip: boolean;
  readonly source: Uint8Array;
  readonly target: Uint8Array;
  readonly patch?: Uint8Array;
  readonly bonus?: Uint8Array;
}

const cases: Case[] = readdirSync(vectors)
  .filter((n) => !n.endsWith(".md"))
  .map((name) => {
    const file = (f: string) => new URL(`${name}/${f}`, vectors);
    const read = (f: string) => new Uint8Array(readFileSync(file(f)));
    const about = JSON.parse(readFileSync(file("case.json"), "utf8")) as { made_by: string };
    return {
      name,
      zip: about.made_by.includes("-z"),
      source: read("source"),
      target: read("target"),
      ...(existsSync(file("patch")) ? { patch: read("patch") } : {}),
      ...(existsSync(file("bonus")) ? { bonus: read("bonus") } : {}),
    };
  });

const bonusOf = (c: Case) => (c.bonus === undefined ? {} : { bonus: c.bonus });

describe("vectors made by imgdiff", () => {
  for (const c of cases) {
    if (c.patch === undefined) {
      it(`refuses ${c.name}, as the original tool does`, async () => {
        await expect(make(c.source, c.target, { zip: c.zip })).rejects.toMatchObject({ code: "IMGDIFF_STRUCTURE" });
      });
      continue;
    }
    const theirs = c.patch;
    it(`applies ${c.name} exactly`, async () => {
      expect(await gather(c.source, theirs, bonusOf(c))).toEqual(c.target);
    });
    it(`makes ${c.name} at most 2 % and 64 bytes larger`, async () => {
      const ours = await make(c.source, c.target, { zip: c.zip, ...bonusOf(c) });
      expect(await gather(c.source, ours, bonusOf(c))).toEqual(c.target);
      expect(ours.length).toBeLessThanOrEqual(theirs.length * 1.02 + 64);
    });
  }
});

const zipEdit = cases.find((c) => c.name === "zip-edit") as Case & { patch: Uint8Array };
const bonusCase = cases.find((c) => c.name === "image-bonus") as Case & { patch: Uint8Array; bonus: Uint8Array };

describe("hostile patches", () => {
  it("refuses a patch cut short anywhere, before the first byte", async () => {
    for (let size = 0; size < zipEdit.patch.length; size++) {
      const result = await outcome(zipEdit.source, zipEdit.patch.subarray(0, size));
      expect(typeof result === "string" && !result.startsWith("late"), `${size}: ${short(result)}`).toBe(true);
    }
  });

  it("gives a typed error before the first byte or some result for any changed byte", async () => {
    for (let at = 0; at < zipEdit.patch.length; at++) {
      const patch = zipEdit.patch.slice();
      patch[at] = (patch[at] as number) ^ (1 << (at % 8));
      const result = await outcome(zipEdit.source, patch, { maxExpandedBytes: 1 << 20 });
      expect(typeof result === "string" && result.startsWith("late"), `byte ${at}: ${short(result)}`).toBe(false);
    }
  });

  it("refuses an old file that is another one, where that can be known", async () => {
    const other = zipEdit.source.slice();
    other.fill(0xff, 40, 400);
    expect(await outcome(other, zipEdit.patch)).toBe("IMGDIFF_BASE");
    expect(await outcome(zipEdit.source.subarray(0, 3000), zipEdit.patch)).toBe("IMGDIFF_BASE");
  });

  it("asks for the bonus data it needs", async () => {
    expect(await outcome(bonusCase.source, bonusCase.patch)).toBe("IMGDIFF_BASE");
    expect(await outcome(bonusCase.source, bonusCase.patch, { bonus: new Uint8Array(20_000) })).toBe("IMGDIFF_BONUS");
    await expect(make(zipEdit.source, zipEdit.target, { zip: true, bonus: bonusCase.bonus })).rejects.toMatchObject({
      code: "IMGDIFF_BONUS",
    });
  });

  it("stops a chunk that expands beyond the limit", async () => {
    expect(await outcome(zipEdit.source, zipEdit.patch, { maxExpandedBytes: 4000 })).toBe("IMGDIFF_DAMAGED");
  });

  it("refuses zip mode for a file that is no zip", async () => {
    await expect(make(bonusCase.source, zipEdit.target, { zip: true })).rejects.toMatchObject({
      code: "IMGDIFF_NOT_ZIP",
    });
  });
});

/** A zip of deflated or stored entries; level 0 stores. */
function zipOf(entries: readonly { name: string; data: Uint8Array; level: number }[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, data, level } of entries) {
    const packed = level === 0 ? data : deflateRaw(data, { level: level as 6 });
    const text = encodeText(name);
    const shared = new Uint8Array(26);
    writeU16(shared, 0, 20);
    writeU16(shared, 4, level === 0 ? 0 : 8);
    writeU32(shared, 10, crc32(data));
    writeU32(shared, 14, packed.length);
    writeU32(shared, 18, data.length);
    writeU16(shared, 22, text.length);
    const local = concatBytes(Uint8Array.of(0x50, 0x4b, 3, 4), shared, text);
    const tail = new Uint8Array(14);
    writeU32(tail, 10, at);
    directory.push(concatBytes(Uint8Array.of(0x50, 0x4b, 1, 2, 20, 0), shared, tail, text));
    parts.push(local, packed);
    at += local.length + packed.length;
  }
  const central = concatBytes(...directory);
  const end = new Uint8Array(22);
  end.set([0x50, 0x4b, 5, 6]);
  writeU16(end, 8, entries.length);
  writeU16(end, 10, entries.length);
  writeU32(end, 12, central.length);
  writeU32(end, 16, at);
  return concatBytes(...parts, central, end);
}

const content = fc
  .tuple(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 60 }),
    fc.uint8Array({ maxLength: 200 }),
  )
  .map(([word, times, rest]) => concatBytes(...Array.from({ length: times }, () => word), rest));

describe("any pair", () => {
  it("gives new back from images with gzip members", async () => {
    const image = fc
      .array(fc.tuple(fc.uint8Array({ maxLength: 300 }), content, fc.constantFrom(1, 6, 9)), { maxLength: 3 })
      .map((parts) =>
        concatBytes(...parts.map(([plain, data, level]) => concatBytes(plain, gzip(data, { level: level as 6 })))),
      );
    await fc.assert(
      fc.asyncProperty(image, image, async (old, fresh) => {
        let patch: Uint8Array;
        try {
          patch = await make(old, fresh);
        } catch (e) {
          expect(isOtaError(e, "IMGDIFF_STRUCTURE")).toBe(true);
          return;
        }
        expect(await gather(old, patch)).toEqual(fresh);
      }),
      { numRuns: 60 },
    );
  });

  it("gives new back from zips", async () => {
    const zip = fc
      .array(
        fc.record({ name: fc.constantFrom("a", "b", "c/d", "e"), data: content, level: fc.constantFrom(0, 1, 6, 9) }),
        {
          maxLength: 4,
        },
      )
      .map(zipOf);
    await fc.assert(
      fc.asyncProperty(zip, zip, async (old, fresh) => {
        const patch = await make(old, fresh, { zip: true });
        expect(await gather(old, patch)).toEqual(fresh);
      }),
      { numRuns: 60 },
    );
  });

  it("patches contents, not packed bytes, when zlib can pack them again", async () => {
    const text = encodeText(Array.from({ length: 2000 }, (_, i) => `line ${(i * 7919) % 1000} of the file\n`).join(""));
    const changed = text.slice();
    changed.set(encodeText("LINE"), 100);
    for (const level of [6, 9]) {
      const old = zipOf([{ name: "x", data: text, level }]);
      const fresh = zipOf([{ name: "x", data: changed, level }]);
      const patch = await make(old, fresh, { zip: true });
      const chunks = await readImgdiff2(memoryReader(patch));
      expect(chunks.map((c) => c.type)).toContain("deflate");
      expect(patch.length).toBeLessThan(700);
    }
  });
});

describe("deflate as vanilla zlib does it", () => {
  it("gives the same bytes however the input is cut", () => {
    const random = (seed: number) =>
      Uint8Array.from({ length: 70_000 }, (_, i) => (i * i * seed + (i >> 3)) & (i % 5 === 0 ? 255 : 31));
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 99 }),
        fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 6 }),
        (seed, cuts) => {
          const data = random(seed);
          for (const level of [1, 6, 9]) {
            const deflater = createDeflater(zlibDefaults(level));
            const parts: Uint8Array[] = [];
            let at = 0;
            for (const size of [...cuts, data.length]) {
              parts.push(...deflater.push(data.subarray(at, at + size)));
              at += size;
            }
            parts.push(...deflater.finish());
            const whole = deflateRaw(data, { level: level as 6 });
            expect(concatBytes(...parts)).toEqual(whole);
            expect(deflateReproduces(data, whole, zlibDefaults(level))).toBe(true);
          }
        },
      ),
      { numRuns: 12 },
    );
  });
});
