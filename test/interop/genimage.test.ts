/**
 * Raw card images against upstream genimage, where the K230's packer is the same: MBR, explicit offsets and sizes, alignment,
 * includes, comments, in-config images.
 *
 * Where the vendor's packer differs, and so do we (specification section 6): the file ends with its last partition instead of
 * its last image; a partition without `size` is rounded up to 4 KiB; fractions (`1.5M`) are taken; the CHS sector of a first or last
 * sector that is a multiple of 63 is 0 instead of 1. Upstream knows neither `toc` nor kdimage.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentProgress } from "../../src/core/progress.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../../src/device/index.ts";
import { packFiles } from "../../src/k230/genimage/pack-files.node.ts";
import { noise } from "../support/k230-delta.ts";

const at = mkdtempSync(join(tmpdir(), "otaforge-genimage-"));
const path = (...parts: string[]): string => join(at, ...parts);

beforeAll(() => {
  for (const folder of ["in", "root"]) mkdirSync(path(folder));
  writeFileSync(path("in", "a.bin"), noise(70_000, 1));
  writeFileSync(path("in", "b.bin"), noise(5000, 2));
  writeFileSync(path("in", "c.bin"), noise(131_072, 3));
  writeFileSync(
    path("common.inc"),
    `\tpartition two {\n\t\timage = "b.bin"\n\t\toffset = 1M\n\t\tsize = 128K\n\t\tpartition-type = 0x83\n\t\tbootable = true\n\t}\n`,
  );
});
afterAll(() => rmSync(at, { recursive: true, force: true }));

const partition = (name: string, ...options: string[]): string =>
  `\tpartition ${name} {\n${options.map((o) => `\t\t${o}\n`).join("")}\t}\n`;
const image = (name: string, kind: readonly string[], ...rest: string[]): string =>
  `image ${name} {\n\thdimage {\n${kind.map((o) => `\t\t${o}\n`).join("")}\t}\n${rest.join("")}}\n`;

const CONFIGS: readonly (readonly [what: string, config: string])[] = [
  [
    "an MBR with signature, include, comments and a partition outside of it",
    "# a comment\n" +
      image(
        "card.img",
        ['partition-table-type = "mbr"', "disk-signature = 0x12345678   # trailing"],
        partition("raw", "in-partition-table = false", "offset = 64K", "size = 128K", "image = 'a.bin'"),
        '\tinclude("common.inc")\n',
        partition("three", 'image = "c.bin"', "partition-type = 0xc", "offset = 2M", "size = 1M"),
        partition("four", "partition-type = 0xef", "offset = 3M", "size = 512K", 'image = "b.bin"'),
      ),
  ],
  [
    "no table, offsets in hex",
    image(
      "card.img",
      ['partition-table-type = "none"'],
      partition("a", 'image = "a.bin"', "offset = 0", "size = 0x20000"),
      partition("b", 'image = "b.bin"', "offset = 0x20000", "size = 0x10000"),
      partition("c", 'image = "c.bin"', "offset = 0x40000", "size = 0x20000"),
    ),
  ],
  [
    "offsets by alignment behind an MBR",
    image(
      "card.img",
      ['partition-table-type = "dos"', "align = 512K"],
      partition("a", 'image = "a.bin"', "size = 512K", "partition-type = 0x0c", "bootable = yes"),
      partition("b", 'image = "b.bin"', "size = 2M", "partition-type = 0x83"),
      partition("c", 'image = "c.bin"', "size = 4M", "partition-type = 0x83"),
    ),
  ],
  [
    "an image made before in the same configuration, and a hole",
    image("inner.img", ["partition-table-type = none"], partition("x", 'image = "c.bin"', "size = 128K")) +
      image(
        "card.img",
        ['partition-table-type = "mbr"'],
        partition("p", "partition-type = 0x83", 'image = "inner.img"', "offset = 32K", "size = 256K"),
        partition("q", "partition-type = 0x83", 'image = "c.bin"', "offset = 40M", "size = 4M"),
      ),
  ],
];

describe("hdimage is what genimage makes", () => {
  it.each(CONFIGS)("%s", async (_what, config) => {
    writeFileSync(path("card.cfg"), config);
    rmSync(path("tmp"), { recursive: true, force: true });
    const folders = ["--inputpath", path("in"), "--rootpath", path("root"), "--tmppath", path("tmp")];
    execFileSync("genimage", ["--config", path("card.cfg"), ...folders, "--outputpath", path("theirs")], {
      cwd: at,
      stdio: ["ignore", "ignore", "pipe"],
    });
    await packFiles({
      config: path("card.cfg"),
      inputPath: path("in"),
      outputPath: path("ours"),
      ota: false,
      digests: nodeDigests,
      codecs: nodeCodecs,
      progress: silentProgress,
      openReader: openFileReader,
    });
    const theirs = await openFileReader(path("theirs", "card.img"));
    const ours = await openFileReader(path("ours", "card.img"));
    try {
      expect(ours.size).toBeGreaterThanOrEqual(theirs.size);
      const piece = 16 * 1024 * 1024;
      for (let done = 0; done < ours.size; done += piece) {
        const n = Math.min(piece, ours.size - done);
        const wanted = new Uint8Array(n);
        const have = Math.max(0, Math.min(n, theirs.size - done));
        if (have > 0) wanted.set(await theirs.read(done, have));
        expect(Buffer.compare(await ours.read(done, n), wanted), `piece at ${done}`).toBe(0);
      }
    } finally {
      await theirs.close();
      await ours.close();
    }
  });

  it("a broken configuration fails in both, and ours leaves nothing behind", async () => {
    const config = image(
      "card.img",
      ['partition-table-type = "mbr"'],
      partition("a", "image = 'none.bin'", "size = 1M"),
    );
    writeFileSync(path("bad.cfg"), config);
    const argv = ["--config", path("bad.cfg"), "--inputpath", path("in"), "--rootpath", path("root")];
    expect(() =>
      execFileSync("genimage", [...argv, "--tmppath", path("tmp2"), "--outputpath", path("bad1")], {
        cwd: at,
        stdio: "ignore",
      }),
    ).toThrow();
    const options = { ota: false, digests: nodeDigests, codecs: nodeCodecs, progress: silentProgress };
    const packing = packFiles({
      ...options,
      config: path("bad.cfg"),
      inputPath: path("in"),
      outputPath: path("bad2"),
      openReader: openFileReader,
    });
    await expect(packing).rejects.toMatchObject({ code: "K230_PACK_INPUT" });
    expect(() => readFileSync(path("bad2", "card.img"))).toThrow();
  });
});
