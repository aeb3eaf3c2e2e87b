import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { isOtaError } from "../../core/errors.ts";
import { memoryReader } from "../../core/streams.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../../device/index.ts";
import { sha256Hex, vectorBytes, vectorJson, vectorNames } from "../../../test/support/k230-vectors.ts";
import { readKdimg } from "../kdimg.ts";
import { packFiles } from "./pack-files.node.ts";
import { parseConfig } from "./parse.ts";
import { parseSize } from "./values.ts";

interface Input {
  config: string;
  files: Record<string, { file: string }>;
  output: string;
}

function folder(): string {
  return mkdtempSync(join(tmpdir(), "otaforge-pack-"));
}

async function pack(
  files: Record<string, string | Uint8Array>,
  ota = false,
): Promise<{ out: string; notes: string[] }> {
  const [input, out] = [folder(), folder()];
  for (const [name, content] of Object.entries(files)) writeFileSync(join(input, name), content);
  const notes: string[] = [];
  await packFiles({
    config: join(input, "genimage.cfg"),
    inputPath: input,
    outputPath: out,
    ota,
    digests: nodeDigests,
    codecs: nodeCodecs,
    progress: { progress: () => undefined, note: (_level, text) => void notes.push(text) },
    openReader: openFileReader,
  }).catch((e: unknown) => {
    expect(readdirSync(out)).toEqual([]);
    throw e;
  });
  return { out, notes };
}

function filesOf(name: string): Record<string, Uint8Array> {
  const input = vectorJson<Input>(name, "input.json");
  const files: Record<string, Uint8Array> = { "genimage.cfg": vectorBytes(name, input.config) };
  for (const [target, { file }] of Object.entries(input.files)) files[target] = vectorBytes(name, file);
  return files;
}

describe("packing like the vendor's packer", () => {
  const good = vectorNames("pack-").filter((n) => !n.startsWith("pack-error-") && !n.startsWith("pack-v16-"));
  it.each(good)("%s is byte-identical", async (name) => {
    const { output } = vectorJson<Input>(name, "input.json");
    const expected = vectorJson<{ size: number; sha256: string }>(name, "expected.json");
    const { out } = await pack(filesOf(name));
    const bytes = readFileSync(join(out, output));
    expect([bytes.length, sha256Hex(bytes)]).toEqual([expected.size, expected.sha256]);
    expect(readdirSync(out)).toEqual([output]);
  });

  const bad = vectorNames("pack-error-").filter((n) => n !== "pack-error-plain-decimal-size");
  it.each(bad)("%s is refused and leaves no file", async (name) => {
    await expect(pack(filesOf(name))).rejects.toSatisfy((e) => isOtaError(e) && e.kind === "usage");
  });

  it("counts parts right where an old packer did not", async () => {
    const { out } = await pack(filesOf("pack-v16-imageless-count-bug"));
    const { parts } = await readKdimg(memoryReader(readFileSync(join(out, "s.kdimg"))));
    expect(parts.map((p) => p.name)).toEqual(["rtt"]);
  });

  it("takes a plain decimal size, which crashes the vendor's packer", async () => {
    const { out } = await pack(filesOf("pack-error-plain-decimal-size"));
    const { parts } = await readKdimg(memoryReader(readFileSync(join(out, "s.kdimg"))));
    expect(parts[0]).toMatchObject({ name: "rtt", maxSize: 65536 });
  });

  it("makes the release's OTA image, its gz and md5 from a card's configuration", async () => {
    const files = filesOf("pack-hdimage-ab");
    const { out } = await pack(files, true);
    expect(readdirSync(out)).toEqual(["d_ota.kdimg", "d_ota.kdimg.gz", "d_ota.kdimg.md5"]);
    const bytes = readFileSync(join(out, "d_ota.kdimg"));
    expect(gunzipSync(readFileSync(join(out, "d_ota.kdimg.gz"))).equals(bytes)).toBe(true);
    const { header, parts } = await readKdimg(memoryReader(bytes));
    expect(header).toMatchObject({ imageInfo: "ota_rtt_rtapp", chipInfo: "none", boardInfo: "none" });
    expect(parts.map((p) => [p.name, p.contentSize])).toEqual([
      ["rtt", 8192],
      ["rtapp", 1234],
    ]);
    expect(readFileSync(join(out, "d_ota.kdimg.md5"), "utf8")).toMatch(
      /^[0-9a-f]{32} {2}d_ota.kdimg\n[0-9a-f]{32} {2}d_ota.kdimg.gz\n$/,
    );
  });

  it("makes the very OTA image the packer's own OTA configuration makes, and zeros for a missing application", async () => {
    const files = filesOf("pack-ota");
    const whole = await pack(files, true);
    expect(sha256Hex(readFileSync(join(whole.out, "o_ota.kdimg")))).toBe(
      vectorJson<{ sha256: string }>("pack-ota", "expected.json").sha256,
    );
    delete files["rtapp.bin"];
    const { out, notes } = await pack(files, true);
    const image = await readKdimg(memoryReader(readFileSync(join(out, "o_ota.kdimg"))));
    expect(image.parts[1]).toMatchObject({ name: "rtapp", contentSize: 4096 });
    expect(notes.join()).toContain("zero-filled rtapp");
  });

  it("reads comments, includes and images made before, and says the line of a mistake", async () => {
    const part = 'partition p {\n offset = 1M # here\n image = "inner.img"\n}\n';
    const { out } = await pack({
      "genimage.cfg":
        'image inner.img {\n hdimage {\n }\n partition a {\n offset=0\n size=4K\n image="x"\n }\n}\ninclude("more.inc")\n',
      "more.inc": `image o.kdimg {\n kdimage {\n image_info="1"\n chip_info="2"\n board_info="3"\n }\n${part}}\n`,
      x: "xyz",
    });
    const { parts } = await readKdimg(memoryReader(readFileSync(join(out, "o.kdimg"))));
    expect(parts[0]).toMatchObject({ name: "p", contentSize: 4096, maxSize: 4096 });
    await expect(pack({ "genimage.cfg": "image a.img {\n oops\n}\n" })).rejects.toThrow(/genimage\.cfg:2/);
    await expect(pack({ "genimage.cfg": "image a.img {\n hdimage {\n }\n" })).rejects.toThrow(/never closed/);
    await expect(pack({ "genimage.cfg": 'include("loop.inc")', "loop.inc": 'include("loop.inc")' })).rejects.toThrow(
      /nested/,
    );
    await expect(parseConfig('include("none")', "c.cfg")).rejects.toThrow(/not there/);
  });

  it("refuses partitions that overlap and a missing input", async () => {
    const card = (b: string): string =>
      `image a.img {\nhdimage {\n}\npartition a {\noffset = 0\nsize = 8K\nimage = "x"\n}\npartition b {\n${b}\n}\n}\n`;
    await expect(pack({ "genimage.cfg": card("offset = 4K\nsize = 4K"), x: "x" })).rejects.toThrow(/overlaps a/);
    await expect(pack({ "genimage.cfg": card("offset = 8K\nimage = none"), x: "x" })).rejects.toThrow(/not there/);
  });

  it("reads sizes with units", () => {
    const place = { file: "c", line: 1 };
    const sizes = { "0x10": 16, "64K": 65536, "1.5M": 1572864, "2G": 2 ** 31, "3T": 3 * 2 ** 40, "4k": 4096, "7": 7 };
    for (const [text, size] of Object.entries(sizes)) expect(parseSize(text, place)).toBe(size);
    for (const text of ["", "x", "-1", "1Q", "0x", "99999999T"])
      expect(() => parseSize(text, place)).toThrow(/not a size/);
  });

  const small = (options: string, partitions: string): string =>
    `image s.kdimg {\nkdimage {\nimage_info = "a"\nchip_info = "b"\nboard_info = "c"\n${options}\n}\n${partitions}}\n`;
  const rtt = (offset: string): string => `partition rtt {\noffset = ${offset}\nsize = 64K\nimage = "r"\n}\n`;

  it("refuses a partition over the table of contents, and takes one beside it", async () => {
    const toc = "toc = true\ntoc-offset = 0xe0000";
    const input = (offset: string) => ({ "genimage.cfg": small(toc, rtt(offset)), r: new Uint8Array(100) });
    await expect(pack(input("0xd8000"))).rejects.toSatisfy((e) => isOtaError(e, "K230_PACK_OVERLAP"));
    await expect(pack(input("0xe0000"))).rejects.toSatisfy((e) => isOtaError(e, "K230_PACK_OVERLAP"));
    await pack(input("0xd0000"));
    await pack(input("0xf0000"));
  });

  it("writes a kdimage of table type gpt without its GPT, and says so", async () => {
    const { out, notes } = await pack({
      "genimage.cfg": small('partition-table-type = "gpt"', rtt("1M")),
      r: new Uint8Array(100),
    });
    const { parts } = await readKdimg(memoryReader(readFileSync(join(out, "s.kdimg"))));
    expect(parts.map((p) => p.name)).toEqual(["rtt"]);
    expect(notes.join()).toContain("no GPT");
  });
});
