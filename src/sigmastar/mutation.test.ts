import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { writeU32 } from "../core/bytes.ts";
import { memoryReader } from "../core/streams.ts";
import { vectorPackages } from "../../test/support/sigmastar.ts";
import { extremes, flips, outcome, truncations } from "../../test/support/sigmastar-mutations.ts";
import { digests } from "../../test/support/sigmastar.ts";
import { inspectPackage } from "./inspect.ts";
import { memoryFile, appendRecords } from "./pack.ts";
import { mapPackage, verifyPackage } from "./read.ts";
import { OtaError } from "../core/errors.ts";

// The small ones here, all of them in test/long.
const small = vectorPackages().filter(
  ([name, bytes]) =>
    /(script_add|create_both_long_options|dir_update_without_destination|file_update_diff)$/.test(name) &&
    bytes.length < 8000,
);

describe("mutated packages", () => {
  it.each(small)(
    "%s: a flipped byte is an error, or lies in a field that its generation does not protect",
    async (_n, bytes) => {
      await flips(bytes);
    },
  );

  it.each(small)("%s: cut at any offset it is an error", async (_n, bytes) => {
    await truncations(bytes);
  });

  it.each(small)("%s: every size and count at its extremes is an error, at once", async (_n, bytes) => {
    await extremes(bytes);
  });

  it("any bytes give a value or a typed error", async () => {
    const starts = small.map(([, bytes]) => bytes);
    const edit = fc.array(fc.tuple(fc.nat({ max: 4000 }), fc.nat({ max: 255 })), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...starts), edit, async (bytes, edits) => {
        const copy = bytes.slice();
        for (const [at, value] of edits) if (at < copy.length) copy[at] = value;
        await outcome(copy);
        await inspectPackage(streamOf(copy), digests).catch(typed);
      }),
      { numRuns: 300 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        await outcome(bytes);
      }),
      { numRuns: 300 },
    );
  });

  it("append leaves a package it refuses as it was", async () => {
    for (const [, bytes] of small) {
      for (const at of [0, 5, 9, 17, 40, bytes.length - 1]) {
        const copy = bytes.slice();
        (copy[at] as number) ^= 0x40;
        const good = await mapPackage(memoryReader(copy), digests).then(
          () => true,
          () => false,
        );
        if (good) continue;
        const file = memoryFile(copy);
        await expect(appendRecords(file, [], { digests })).rejects.toBeInstanceOf(OtaError);
        expect(Buffer.compare(file.bytes(), copy)).toBe(0);
      }
    }
  });

  it("claims of gigabytes cost no memory", async () => {
    const bytes = (small.find(([n]) => n === "v0.2/create_both_long_options") as [string, Uint8Array])[1].slice();
    writeU32(bytes, 12, 0xffffffff);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 50; i++) await verifyPackage(streamOf(bytes), digests).catch(typed);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * 1024 * 1024);
  });
});

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

function typed(e: unknown): void {
  if (!(e instanceof OtaError)) throw e;
}
