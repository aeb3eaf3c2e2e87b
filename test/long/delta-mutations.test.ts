/** Damaged BSDIFF40 and IMGDIFF2 patches by the hundred thousand: a typed error before the first byte, or a result that is allowed. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { concatBytes } from "../../src/core/bytes.ts";
import { isOtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import type { ByteStream } from "../../src/core/ports.ts";
import { writeBsdiff40Header, writeOffset } from "../../src/delta/bsdiff40/header.ts";
import { PATCH_MEMORY_SIZE } from "../../src/delta/bsdiff40/streams.ts";
import { createCore } from "../../src/delta/core.ts";
import { PIECE_MEMORY_SIZE, CUT_SMALL } from "../../src/delta/bzip2/writer.ts";
import { applyBsdiff40, applyImgdiff2, compressBzip2, makeBsdiff40 } from "../../src/delta/index.ts";
import { programLike } from "../support/delta-inputs.ts";
import { randomNumbers } from "../support/k230-mutations.ts";

/** OTAFORGE_LONG=1 runs a million of each, 6 minutes a kind and processor; otherwise as many as a box of 20 s each holds. */
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = FULL ? Number.POSITIVE_INFINITY : 20_000;
const COUNT = FULL ? 1_000_000 : Number.POSITIVE_INFINITY;
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);

const core = createCore(PATCH_MEMORY_SIZE);
const encoder = createCore(PIECE_MEMORY_SIZE);
const LIMIT = 1 << 20;

/** The result, or the error's code, `late` in front when bytes had been given by then. */
async function outcome(stream: ByteStream): Promise<Uint8Array | string> {
  const parts: Uint8Array[] = [];
  try {
    for await (const part of stream) parts.push(part);
    return concatBytes(...parts);
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return `${parts.length > 0 ? "late " : ""}${e.code}`;
  }
}

type Random = (below: number) => number;

/** Bits, bytes, cuts, growth, and pieces copied to other places. */
function damage(bytes: Uint8Array, random: Random): Uint8Array {
  let out: Uint8Array = bytes.slice();
  for (let times = 1 + random(3); times > 0 && out.length > 0; times--) {
    const at = random(out.length);
    const kind = random(6);
    if (kind <= 1) out[at] = (out[at] as number) ^ (1 << random(8));
    else if (kind === 2) out[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)] as number;
    else if (kind === 3) out = out.subarray(0, at).slice();
    else if (kind === 4) out = concatBytes(out, new Uint8Array(1 + random(40)).fill(random(256)));
    else out.copyWithin(random(out.length), at, at + 1 + random(16));
  }
  return out;
}

const EDGES = [0, 1, -1, 7, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53 - 1, -(2 ** 53 - 1)];

/** A well-formed patch whose triples are anything: what checksums would not catch. */
function wild(random: Random): { patch: Uint8Array; newSize: number } {
  const count = 1 + random(6);
  const control = new Uint8Array(24 * count);
  let [diff, extra] = [0, 0];
  for (let i = 0; i < 3 * count; i++) {
    let value = random(3) === 0 ? (EDGES[random(EDGES.length)] as number) : random(60) - (i % 3 === 2 ? 30 : 0);
    if (random(40) === 0) value = Number.NaN;
    writeOffset(control, 8 * i, Number.isNaN(value) ? 0 : value);
    if (Number.isNaN(value)) control.fill(0xff, 8 * i, 8 * i + 8);
    if (i % 3 === 0 && value > 0 && value < 1000) diff += value;
    if (i % 3 === 1 && value > 0 && value < 1000) extra += value;
  }
  const newSize = random(4) === 0 ? random(200) : diff + extra;
  const pack = (bytes: Uint8Array) => compressBzip2(bytes, CUT_SMALL, encoder);
  const [c, d, e] = [control, new Uint8Array(diff).fill(random(256)), new Uint8Array(extra)].map(pack) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const header = writeBsdiff40Header({ controlSize: c.length, diffSize: d.length, newSize });
  return { patch: concatBytes(header, c, d, e), newSize };
}

async function box(name: string, one: (random: Random) => Promise<"refused" | "applied">): Promise<void> {
  const end = performance.now() + BOX_MS;
  const total = { refused: 0, applied: 0 };
  for (let i = 0; i < COUNT && performance.now() < end; i++) total[await one(randomNumbers(SEED + i))]++;
  const count = total.refused + total.applied;
  process.stdout.write(`${name}, seed ${SEED}: ${count} patches, ${total.refused} refused, ${total.applied} applied\n`);
  expect(total.refused).toBeGreaterThan(0);
  expect(total.applied).toBeGreaterThan(0);
}

const [old, fresh] = programLike(900, 5);

it("damaged BSDIFF40 patches are refused before the first byte or give new", async () => {
  const good = makeBsdiff40(old, fresh);
  // Bits behind the end of a stream and in unused codes mean nothing: some damages are none.
  await box("bsdiff40 damaged", async (random) => {
    const patch = random(50) === 0 ? good : damage(good, random);
    const result = await outcome(applyBsdiff40(memoryReader(old), memoryReader(patch), { core }));
    if (typeof result !== "string") expect(Buffer.compare(result, fresh)).toBe(0);
    else expect(result).toMatch(/^(BSDIFF|CODEC)_[A-Z]+$/);
    return typeof result === "string" ? "refused" : "applied";
  });
});

it("BSDIFF40 patches with any control triples are refused before the first byte or give as many bytes as they say", async () => {
  await box("bsdiff40 wild", async (random) => {
    const { patch, newSize } = wild(random);
    const result = await outcome(applyBsdiff40(memoryReader(old), memoryReader(patch), { core }));
    if (typeof result !== "string") expect(result.length).toBe(newSize);
    else expect(result).toMatch(/^(BSDIFF|CODEC)_[A-Z]+$/);
    return typeof result === "string" ? "refused" : "applied";
  });
});

it("damaged IMGDIFF2 patches are refused before the first byte or give a bounded result", async () => {
  const folder = new URL("../vectors/delta/imgdiff/", import.meta.url);
  const read = (path: string) => new Uint8Array(readFileSync(new URL(path, folder)));
  const cases = readdirSync(folder).flatMap((name) => {
    if (name.endsWith(".md")) return [];
    const files = readdirSync(new URL(`${name}/`, folder));
    if (!files.includes("patch")) return [];
    const bonus = files.includes("bonus") ? { bonus: read(`${name}/bonus`) } : {};
    return [{ source: read(`${name}/source`), patch: read(`${name}/patch`), bonus }];
  });
  await box("imgdiff2 damaged", async (random) => {
    const { source, patch: good, bonus } = cases[random(cases.length)] as (typeof cases)[number];
    const patch = random(50) === 0 ? good : damage(good, random);
    const stream = applyImgdiff2(memoryReader(source), memoryReader(patch), {
      core,
      maxExpandedBytes: LIMIT,
      ...bonus,
    });
    const result = await outcome(stream);
    if (typeof result === "string") expect(result).toMatch(/^(IMGDIFF|BSDIFF|CODEC|LAYOUT)_[A-Z0-9_]+$/);
    return typeof result === "string" ? "refused" : "applied";
  });
});
