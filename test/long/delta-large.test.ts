/** Inputs beyond 2 GiB, and with OTAFORGE_LONG=1 beyond 4 GiB: in windows, with bounded memory, exact in their last byte. */
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, openSync, closeSync, ftruncateSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type * as library from "../../src/library/delta.ts";
import { noise } from "../support/delta-inputs.ts";

const { diff, patchStream } = (await import(
  new URL("../../dist/library/delta.js", import.meta.url).href
)) as typeof library;

const MIB = 1024 * 1024;
const SIZE = process.env["OTAFORGE_LONG"] === "1" ? 4400 * MIB : 2100 * MIB;

/** A sparse file with a little content every 256 MiB and at its very end, all of it moved by `shift`. */
function sparseFile(path: string, size: number, shift: number): void {
  const file = openSync(path, "w");
  ftruncateSync(file, size);
  for (let at = 0; at + 2 * MIB < size; at += 256 * MIB) writeSync(file, noise(MIB, at / MIB + 1), 0, MIB, at + shift);
  writeSync(file, Uint8Array.of(1, 2, 3, shift % 251), 0, 4, size - 4);
  closeSync(file);
}

async function digestOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of stream) hash.update(part);
  return hash.digest("hex");
}

it(`a pair of ${SIZE / MIB} MiB`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-large-"));
  try {
    const [old, fresh] = [join(folder, "old"), join(folder, "new")];
    sparseFile(old, SIZE, 1000);
    sparseFile(fresh, SIZE + 5000, 4000);
    const made = await diff(old, fresh, { effort: "fast" });
    // Content that moved was found in every window: otherwise each piece would be a mebibyte of extra.
    expect(made.length).toBeLessThan(MIB / 2);
    expect(await digestOf(patchStream(old, made))).toBe(await digestOf(createReadStream(fresh)));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
