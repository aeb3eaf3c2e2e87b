/** Containers made by the programs that make them in the field are opened, and made again bit by bit. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { concatBytes, equalBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { applyForge, createPlainMaker, makeOtaforge, readForge, repackerNames } from "../../src/delta/index.ts";
import { allRepackers, REPACKER_CHOICES, repackersNamed } from "../../src/delta/repackers.node.ts";
import { nodeDigests as digests } from "../../src/device/digests.ts";
import { mutated, randomOf, text } from "../support/forge-mutations.ts";

const folder = mkdtempSync(path.join(tmpdir(), "delta-repackers-"));
afterAll(() => rmSync(folder, { recursive: true }));

const old = text(9000, 1);
const fresh = concatBytes(old.subarray(0, 20_000), text(40, 2), old.subarray(20_100));

const filter = (program: string, args: readonly string[], input: Uint8Array): Uint8Array =>
  new Uint8Array(execFileSync(program, args, { input, maxBuffer: 1 << 28 }));

/** A squashfs image of a tree with the content in three files, one of them large enough for several blocks. */
function squashfs(name: string, args: readonly string[], content: Uint8Array): Uint8Array {
  const tree = path.join(folder, `${name}-tree`);
  mkdirSync(path.join(tree, "folder"), { recursive: true });
  writeFileSync(path.join(tree, "large"), content);
  writeFileSync(path.join(tree, "folder", "small"), content.subarray(0, 3000));
  writeFileSync(path.join(tree, "folder", "other"), content.subarray(70_000, 75_000));
  const image = path.join(folder, `${name}.img`);
  const fixed = ["-noappend", "-all-root", "-all-time", "1700000000", "-mkfs-time", "1700000000"];
  execFileSync("mksquashfs", [tree, image, "-b", "16384", "-comp", ...args, ...fixed, "-quiet", "-no-progress"]);
  rmSync(tree, { recursive: true });
  return new Uint8Array(readFileSync(image));
}

async function roundTrip(a: Uint8Array, b: Uint8Array, names: readonly string[]) {
  const patch = await makeOtaforge(createPlainMaker(), memoryReader(a), memoryReader(b), {
    digests,
    effort: "fast",
    ...repackersNamed(names),
  });
  const parts: Uint8Array[] = [];
  const settings = { digests, repackers: allRepackers() };
  for await (const part of applyForge(memoryReader(a), memoryReader(patch), settings)) parts.push(part);
  expect(equalBytes(concatBytes(...parts), b)).toBe(true);
  const { needs, newSegments } = await readForge(memoryReader(patch), digests);
  return {
    size: patch.length,
    needs: repackerNames(needs),
    opened: newSegments.items.filter((s) => s.repacker !== 0).length,
  };
}

it("says what to do about a program that is not there or cannot be started", async () => {
  const programs = path.join(folder, "programs");
  mkdirSync(programs);
  const packed = filter("xz", ["-c"], old);
  const before = process.env["PATH"];
  process.env["PATH"] = programs;
  try {
    const told = { code: "FORGE_REPACKER", details: { hint: expect.stringContaining("--repack") as string } };
    await expect(roundTrip(packed, packed.slice(), ["xz"])).rejects.toMatchObject(told);
    writeFileSync(path.join(programs, "xz"), "not a program", { mode: 0o644 });
    await expect(roundTrip(packed, packed.slice(), ["xz"])).rejects.toMatchObject(told);
  } finally {
    process.env["PATH"] = before;
  }
});

describe("squashfs", () => {
  for (const [args, needs] of [
    [["gzip"], "zlib"],
    [["xz"], "xz"],
    [["xz", "-Xbcj", "x86"], "xz"],
    [["zstd"], "zstd"],
    [["lz4"], "lz4"],
    [["lz4", "-Xhc"], "lz4"],
  ] as const) {
    it(args.join(" "), async () => {
      const a = squashfs("a", args, old);
      const b = squashfs("b", args, fresh);
      const opened = await roundTrip(a, b, REPACKER_CHOICES);
      expect(opened.needs).toEqual([needs]);
      expect(opened.opened).toBeGreaterThan(3);
      const closed = await roundTrip(a, b, []);
      expect(closed.opened).toBe(0);
      expect(opened.size).toBeLessThan(closed.size / 3);
    });
  }

  it("gives damaged images back as well", async () => {
    const random = randomOf(5);
    for (const args of [["lz4"], ["xz"]]) {
      const a = squashfs("a", args, old);
      const b = squashfs("b", args, fresh);
      // Superblock and tables most of all: positions and sizes that lie.
      for (let i = 0; i < 6; i++) {
        const cut = i % 2 === 0 ? 96 : b.length;
        await roundTrip(a, concatBytes(mutated(b.subarray(0, cut), random), b.subarray(cut)), REPACKER_CHOICES);
      }
    }
  });
});

describe("payloads of kernels and initial file systems", () => {
  for (const [name, program, args, needs] of [
    [
      "xz with a branch filter, as Linux packs itself",
      "xz",
      ["-c", "--check=crc32", "--x86", "--lzma2=,dict=32MiB"],
      "xz",
    ],
    ["lz4, as Linux packs itself", "lz4", ["-l", "-9", "-c", "-q"], "lz4"],
    ["zstd, as Linux packs itself", "zstd", ["-22", "--ultra", "-c", "-q", "--single-thread"], "zstd"],
    ["GNU gzip -9, Image.gz and uImage", "gzip", ["-n", "-9"], "gnu-gzip"],
    ["GNU gzip with a name", "gzip", ["-6"], "gnu-gzip"],
  ] as const) {
    it(name, async () => {
      // Enough for blocks of deflate to end where GNU gzip ends them and zlib does not.
      const large = text(20_000, 1);
      const larger = concatBytes(large.subarray(0, 30_000), text(40, 2), large.subarray(30_100));
      const around = (packed: Uint8Array) => concatBytes(text(100, 3), packed, text(50, 4));
      const a = around(filter(program, args, large));
      const b = around(filter(program, args, larger));
      const opened = await roundTrip(a, b, REPACKER_CHOICES);
      expect(opened).toMatchObject({ needs: [needs], opened: 1 });
      // Without the program nothing is opened that needs it.
      const inside = await roundTrip(a, b, ["deflate", "zlib", "gzip"]);
      expect(inside.needs).toEqual([]);
      expect(opened.size).toBeLessThan(inside.size / 3);
    });
  }

  it("says what is missing on a device without the program", async () => {
    const a = filter("xz", ["-c"], old);
    const b = filter("xz", ["-c"], fresh);
    const patch = await makeOtaforge(createPlainMaker(), memoryReader(a), memoryReader(b), {
      digests,
      effort: "fast",
      ...repackersNamed(["xz"]),
    });
    const apply = applyForge(memoryReader(a), memoryReader(patch), { digests });
    await expect(apply[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "FORGE_REPACKER",
      details: { found: "xz" },
    });
  });
});
