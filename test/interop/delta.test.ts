// Patches before Debian's bspatch and bsdiff 4.3, streams before its bzip2.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { concatBytes } from "../../src/core/bytes.ts";
import { CUT_FINE, CUT_SMALL, CUT_TO_FIT, PIECE_MEMORY_SIZE } from "../../src/delta/bzip2/writer.ts";
import type * as coreFiles from "../../src/delta/any-core.node.ts";
import { compressBzip2, decompressBzip2 } from "../../src/delta/index.ts";
import type * as library from "../../src/library/delta.ts";
import { DAMAGES, hostilePairs, noise, programLike } from "../support/delta-inputs.ts";

const { createDeltaEngine, diff, patch } = (await import(
  new URL("../../dist/library/delta.js", import.meta.url).href
)) as typeof library;

/** The compiled core for the streams, too: the oracle's time belongs to the unit tests. */
const { createAnyCore } = (await import(
  new URL("../../dist/delta/any-core.node.js", import.meta.url).href
)) as typeof coreFiles;
const core = createAnyCore(PIECE_MEMORY_SIZE);

const scratch = mkdtempSync(join(tmpdir(), "otaforge-interop-"));
const engine = createDeltaEngine({ jobs: 2 });
afterAll(async () => {
  await engine.close();
  rmSync(scratch, { recursive: true });
});

const file = (name: string) => join(scratch, name);
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

function bspatch(old: Uint8Array, patchBytes: Uint8Array): Uint8Array {
  writeFileSync(file("old"), old);
  writeFileSync(file("patch"), patchBytes);
  execFileSync("bspatch", [file("old"), file("new"), file("patch")]);
  return new Uint8Array(readFileSync(file("new")));
}

function bsdiff(old: Uint8Array, fresh: Uint8Array): Uint8Array {
  writeFileSync(file("old"), old);
  writeFileSync(file("new"), fresh);
  execFileSync("bsdiff", [file("old"), file("new"), file("patch")]);
  return new Uint8Array(readFileSync(file("patch")));
}

describe("bsdiff and bspatch 4.3", () => {
  for (const effort of ["fast", "default", "max"] as const) {
    it(`bspatch takes patches of programs, ${effort}, and they are smaller than bsdiff's`, async () => {
      const [old, fresh] = programLike(600_000, 9);
      const ours = await diff(old, fresh, { effort, engine });
      expect(same(bspatch(old, ours), fresh)).toBe(true);
      expect(ours.length).toBeLessThan(bsdiff(old, fresh).length);
    });
  }

  it("bspatch takes patches of several blocks and ranges", async () => {
    const old = noise(2_500_000, 21);
    const fresh = concatBytes(old.subarray(1_000_000), noise(1_200_000, 22), old.subarray(0, 1_000_000));
    expect(same(bspatch(old, await diff(old, fresh, { engine })), fresh)).toBe(true);
  });

  it("bspatch takes patches of hostile inputs", async () => {
    for (const [name, old, fresh] of hostilePairs(200_000)) {
      expect(same(bspatch(old, await diff(old, fresh, { engine })), fresh), name).toBe(true);
    }
  });

  it("each applies the other's patch of any pair", async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 2000 });
    await fc.assert(
      fc.asyncProperty(bytes, bytes, fc.constantFrom(...DAMAGES), async (old, other, damage) => {
        const fresh = damage(old, other);
        expect(same(bspatch(old, await diff(old, fresh, { engine })), fresh)).toBe(true);
        expect(same(await patch(old, bsdiff(old, fresh)), fresh)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });
});

async function decompressed(bytes: Uint8Array, maxBytes = 1 << 26): Promise<Uint8Array> {
  async function* input() {
    // Pieces of odd sizes: no border of theirs means anything.
    for (let at = 0; at < bytes.length; at += 4093) yield bytes.subarray(at, at + 4093);
  }
  const parts: Uint8Array[] = [];
  for await (const part of decompressBzip2(input(), maxBytes)) parts.push(part);
  return concatBytes(...parts);
}

const bzip2 = (args: string[], input: Uint8Array) => {
  const { status, stdout, stderr } = spawnSync("bzip2", args, { input, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`bzip2: ${stderr.toString()}`);
  return new Uint8Array(stdout);
};

/** What bzip2 meets in difference streams, and what its first stage makes special: runs around its limits of 4 and 255. */
function* samples(): Generator<[string, Uint8Array]> {
  yield ["nothing", new Uint8Array(0)];
  yield ["one byte", Uint8Array.of(7)];
  for (const n of [3, 4, 5, 254, 255, 256, 259, 260, 511, 100_000, 3_000_000])
    yield [`a run of ${n}`, new Uint8Array(n)];
  yield ["runs of 4 to 260", concatBytes(...Array.from({ length: 257 }, (_, i) => new Uint8Array(i + 4).fill(i)))];
  yield ["random bytes", noise(300_000, 31)];
  yield ["a program", programLike(1_000_000, 33)[0]];
  yield ["repeats", Uint8Array.from({ length: 950_000 }, (_, i) => i % 7)];
  yield ["all bytes alike but the last", new Uint8Array(400_000).fill(1, 399_999)];
}

describe("otaforge diff", () => {
  const program = fileURLToPath(new URL("../../bin/otaforge", import.meta.url));

  it.each([[[]], [["--effort", "fast", "--jobs", "1"]]])(
    "makes the same patch and says the same in its short form and in full: %j",
    (options) => {
      const [old, fresh] = programLike(600_000, 33);
      writeFileSync(file("old"), old);
      writeFileSync(file("new"), fresh);
      const made = [[], ["--vendor-compatible"]].map((more) => {
        const names = [file("old"), file("new"), file("patch")];
        const args = [program, "diff", ...names, "--json", ...options, ...more];
        const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
        expect(status).toBe(0);
        return { report: { ...(JSON.parse(stdout) as object), seconds: 0 }, patch: readFileSync(file("patch")) };
      });
      expect(made[0]?.report).toMatchObject({ format: "bsdiff40", core: "wasm", newSize: fresh.length });
      expect(made[1]).toEqual(made[0]);
      execFileSync("bspatch", [file("old"), file("out"), file("patch")]);
      expect(same(new Uint8Array(readFileSync(file("out"))), fresh)).toBe(true);
    },
  );
});

describe("otaforge patch", () => {
  const program = fileURLToPath(new URL("../../bin/otaforge", import.meta.url));
  const run = (...args: string[]) => spawnSync(process.execPath, [program, "patch", ...args], { encoding: "utf8" });

  it("makes of bsdiff's patch what bspatch makes of it, and says the same in its short form and in full", () => {
    const [old, fresh] = programLike(600_000, 31);
    bsdiff(old, fresh);
    const reports = [[], ["--vendor-compatible"]].map((more) => {
      const { status, stdout } = run(file("old"), file("out"), file("patch"), "--json", ...more);
      expect(status).toBe(0);
      expect(same(new Uint8Array(readFileSync(file("out"))), fresh)).toBe(true);
      return { ...(JSON.parse(stdout) as object), seconds: 0 };
    });
    expect(reports[0]).toMatchObject({ format: "bsdiff40", newSize: fresh.length });
    expect(reports[1]).toEqual(reports[0]);
  });

  it("leaves nothing of a damaged patch and says what is wrong with it", () => {
    const [old, fresh] = programLike(200_000, 32);
    const patchBytes = bsdiff(old, fresh);
    writeFileSync(file("cut"), patchBytes.subarray(0, patchBytes.length - 9));
    rmSync(file("out"), { force: true });
    const { status, stdout, stderr } = run(file("old"), file("out"), file("cut"), "--json", "--progress", "none");
    expect(status).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "CODEC_DAMAGED" } });
    expect(stderr).toContain("otaforge: bzip2: ");
    for (const text of [file("cut"), "get it anew"]) expect(stderr).toContain(text);
    expect(readdirSync(scratch).filter((name) => name === "out" || name.endsWith(".part"))).toEqual([]);
  });
});

describe("the bzip2 program", () => {
  for (const [name, bytes] of samples()) {
    it(`reads ours and we read its: ${name}`, async () => {
      for (const cutting of [CUT_TO_FIT, CUT_SMALL, CUT_FINE]) {
        const ours = compressBzip2(bytes, cutting, core);
        expect(same(bzip2(["-dc"], ours), bytes)).toBe(true);
        expect(same(await decompressed(ours), bytes)).toBe(true);
      }
      for (const level of ["-1", "-9"]) expect(same(await decompressed(bzip2([level, "-c"], bytes)), bytes)).toBe(true);
    });
  }

  it("makes one stream that is not larger than its own, within 2 % where nothing shrinks", () => {
    for (const [name, bytes] of samples()) {
      const ours = compressBzip2(bytes, CUT_TO_FIT, core).length;
      expect(ours, name).toBeLessThanOrEqual(bzip2(["-9", "-c"], bytes).length * 1.02 + 40);
    }
  });

  it("several streams one behind the other are one, as bzip2 reads them", async () => {
    const two = concatBytes(bzip2(["-c"], noise(5000, 1)), bzip2(["-1", "-c"], noise(7000, 2)));
    expect(same(await decompressed(two), bzip2(["-dc"], two))).toBe(true);
  });

  it("stops at the limit of what may come out", async () => {
    await expect(decompressed(bzip2(["-c"], new Uint8Array(1_000_000)), 999_999)).rejects.toMatchObject({
      code: "CODEC_BOMB",
    });
  });
});
