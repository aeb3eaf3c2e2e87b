/** Packages of builds whose 1 GiB image is packed in the zip: the image goes through a temporary file, not through memory. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memoryReader } from "../../src/core/streams.ts";
import type { ByteStream } from "../../src/core/ports.ts";
import { createZipWriter, openZip } from "../../src/core/zip/index.ts";
import { nodeCodecs as codecs, nodeDigests } from "../../src/device/index.ts";
import { noise } from "../support/ab-build.ts";
import { runWatched } from "../support/peak.ts";

const root = mkdtempSync(join(tmpdir(), "android-large-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const VECTORS = join(import.meta.dirname, "../vectors/android/block71/v4");

const MIB = 2 ** 20;
const SIZE = 1024 * MIB;
const BLOCKS = SIZE / 4096;
/** One file in the middle of the image, and content at its end that belongs to none. */
const FILE_AT = 300 * MIB;
const MAP = `/system/app/big.bin ${FILE_AT / 4096}-${(FILE_AT + 4 * MIB) / 4096 - 1}\n`;

/** Zeros but for a superblock, a file and the end; the new one differs in a few bytes of the file and in the end. */
async function* rawImage(which: "old" | "new"): ByteStream {
  const zeros = new Uint8Array(MIB);
  for (let at = 0; at < SIZE; at += MIB) {
    if (at === 0) yield noise(MIB, which === "old" ? 1 : 2);
    else if (at >= FILE_AT && at < FILE_AT + 4 * MIB) {
      const part = noise(MIB, at / MIB);
      if (which === "new") part.set(noise(64, 9), 1000);
      yield part;
    } else if (at === SIZE - MIB) yield noise(MIB, which === "old" ? 3 : 4);
    else yield zeros;
  }
}

/** The raw image in one data chunk of a sparse one, as a builder that knows of no holes writes it. */
async function* sparseImage(which: "old" | "new"): ByteStream {
  const head = Buffer.alloc(40);
  head.writeUInt32LE(0xed26ff3a, 0);
  [1, 0, 28, 12].forEach((v, i) => head.writeUInt16LE(v, 4 + 2 * i));
  [4096, BLOCKS, 1].forEach((v, i) => head.writeUInt32LE(v, 12 + 4 * i));
  head.writeUInt16LE(0xcac1, 28);
  head.writeUInt32LE(BLOCKS, 32);
  head.writeUInt32LE(12 + SIZE, 36);
  yield new Uint8Array(head);
  yield* rawImage(which);
}

async function makeBuild(which: "old" | "new", form: "raw" | "sparse"): Promise<string> {
  const path = join(root, `${which}-${form}.zip`);
  const vector = await openZip(memoryReader(new Uint8Array(readFileSync(join(VECTORS, `${which}-target_files.zip`)))), {
    codecs,
  });
  const file = await open(path, "w");
  const sink = {
    write: async (offset: number, bytes: Uint8Array): Promise<void> => {
      await file.write(bytes, 0, bytes.length, offset);
    },
  };
  const writer = createZipWriter(sink, { codecs, crc32: (b, c) => nodeDigests.crc32(b, c), level: 1 });
  for (const e of vector.entries) {
    if (e.name.startsWith("IMAGES/system.")) continue;
    await writer.add({ name: e.name, externalAttributes: e.externalAttributes }, await vector.read(e));
  }
  await writer.add({ name: "META/ab_partitions.txt" }, Buffer.from("system\n"));
  const image = form === "raw" ? { size: SIZE, data: rawImage(which) } : { size: SIZE + 40, data: sparseImage(which) };
  await writer.add({ name: "IMAGES/system.img", method: 8 }, image);
  await writer.add({ name: "IMAGES/system.map" }, Buffer.from(MAP));
  await writer.finish();
  await file.close();
  return path;
}

/** What a package of the vectors, whose image is half a MiB, takes: the program itself. */
let floorMib = 0;
/** What may come on top: an image is 1024. */
const MORE_MIB = 250;

describe("a packed image of 1 GiB", () => {
  beforeAll(async () => {
    for (const which of ["old", "new"] as const)
      for (const form of ["raw", "sparse"] as const) await makeBuild(which, form);
    const argv = ["--block", "--no_signing", join(VECTORS, "new-target_files.zip"), "floor.zip"];
    floorMib = runWatched("ota_from_target_files", argv, root).peakMib;
    rmSync(join(root, "floor.zip"));
  }, 600_000);

  it.each([
    ["a full package, raw", ["--block", "new-raw.zip"]],
    ["a full package, sparse", ["--block", "new-sparse.zip"]],
    ["a full package with brotli", ["--block", "--brotli", "new-raw.zip"]],
    ["an incremental, raw", ["--block", "-i", "old-raw.zip", "new-raw.zip"]],
    ["an incremental, sparse", ["--block", "-i", "old-sparse.zip", "new-sparse.zip"]],
    ["a verify package", ["--block", "--gen_verify", "new-raw.zip"]],
    ["a payload", ["--payload", "-i", "old-raw.zip", "new-sparse.zip"]],
  ])("%s: memory does not hold it, and nothing is left over", (_, args) => {
    const made = runWatched("ota_from_target_files", ["--no_signing", ...args, "out.zip"], root);
    expect(made.status, made.stderr).toBe(0);
    expect(made.peakMib).toBeLessThan(floorMib + MORE_MIB);
    rmSync(join(root, "out.zip"));
    expect(readdirSync(root).sort()).toEqual(["new-raw.zip", "new-sparse.zip", "old-raw.zip", "old-sparse.zip"]);
  });
});
