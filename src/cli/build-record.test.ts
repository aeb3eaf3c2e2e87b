import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { VECTORS } from "../../test/support/sigmastar.ts";
import { recordable } from "./build-record.ts";
import { imageOtaMain } from "./commands/image-ota.ts";
import { kdimgMain } from "./commands/kdimg.ts";
import { otapackMain } from "./commands/otapack.ts";
import { captureIo, type CapturedIo } from "./io.ts";
import { otaforgeMain } from "./otaforge.ts";
import { runGuarded, type CommandMain } from "./run.ts";

const otapack = recordable("otapack", otapackMain, "asked");
const kdimg = recordable("kdimg", kdimgMain, "asked");
const imageOta = recordable("image-ota", imageOtaMain, "asked");

interface Record {
  package: { file: string; sha256: string };
  steps: { command: string[]; inputs: { path: string; sha256: string }[] }[];
}

function bench(): string {
  const at = mkdtempSync(join(tmpdir(), "otaforge-record-"));
  mkdirSync(join(at, "img"));
  mkdirSync(join(at, "old"));
  mkdirSync(join(at, "new/empty"), { recursive: true });
  writeFileSync(join(at, "img/root.sqfs"), Buffer.alloc(70_000, "content "));
  writeFileSync(join(at, "old/a"), "one");
  writeFileSync(join(at, "new/a"), "two");
  symlinkSync("a", join(at, "new/link"));
  return at;
}

async function run(main: CommandMain, cwd: string, ...argv: string[]): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd });
  return { code: await runGuarded("test", main, argv, io), io };
}

const json = (...path: string[]): unknown => JSON.parse(readFileSync(join(...path), "utf8"));
const rebuild = (cwd: string, name: string, ...more: string[]) =>
  run(otaforgeMain, cwd, "verify", name, "--rebuild", "--json", ...more);
const rebuilt = (io: CapturedIo): Record_ => (JSON.parse(io.stdout()) as { rebuild: Record_ }).rebuild;
interface Record_ {
  identical: boolean;
  firstDifference?: { offset: number };
}

describe("build records", () => {
  test("a package is made again byte for byte; what differs is named by its offset", async () => {
    const at = bench();
    const pack = ["pack", "sigmastar", "S.bin", "--block", "/dev/mtd5=img/root.sqfs", "--folder", "/data=old:new"];
    expect((await run(otaforgeMain, at, ...pack)).code).toBe(0);
    const record = json(at, "S.bin.build.json") as Record;
    expect(record.steps[0]?.inputs.map((i) => i.path)).toEqual(["img/root.sqfs", "new/a", "new/link", "old/a"]);
    const good = await rebuild(at, "S.bin");
    expect([good.code, rebuilt(good.io)]).toMatchObject([0, { identical: true }]);
    // The second package is whole as well, and is not the one the record tells of.
    writeFileSync(join(at, "img/other.sqfs"), Buffer.alloc(70_000, "Content "));
    const other = pack.map((a) => a.replace("S.bin", "T.bin").replace("root", "other"));
    await run(otaforgeMain, at, ...other, "--no-build-record");
    const bad = await rebuild(at, "T.bin", "--rebuild=S.bin.build.json");
    expect(bad.code).toBe(5);
    const [a, b] = [readFileSync(join(at, "S.bin")), readFileSync(join(at, "T.bin"))];
    expect(rebuilt(bad.io).firstDifference?.offset).toBe(a.findIndex((byte, i) => byte !== b[i]));
    expect(readdirSync(at).filter((n) => n.startsWith("."))).toEqual([]);
  });

  test("records are the same wherever and whenever a package is made, and hold no absolute output", async () => {
    const texts: string[] = [];
    for (const at of [bench(), bench()]) {
      const out = join(at, "out.bin");
      expect((await run(otapack, at, "-c", out, "--build-record")).code).toBe(0);
      for (const file of ["img/root.sqfs", "new/a"]) {
        const append = ["-a", out, "-s", file, "-d", "/dev/mtd5", "--block-update", "--build-record"];
        expect((await run(otapack, at, ...append)).code).toBe(0);
      }
      expect((json(at, "out.bin.build.json") as Record).steps).toHaveLength(3);
      expect((await rebuild(at, "out.bin")).code).toBe(0);
      texts.push(
        readFileSync(join(at, "out.bin.build.json"), "utf8") + readFileSync(join(at, "out.bin.cdx.json"), "utf8"),
      );
    }
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toContain(tmpdir());
  });

  test("vendor-named commands write one only when asked, and remove one of an earlier package", async () => {
    const at = bench();
    await run(otapack, at, "-c", "p.bin", "--build-record");
    expect(readdirSync(at)).toContain("p.bin.build.json");
    await run(otapack, at, "-c", "p.bin");
    expect(readdirSync(at).filter((n) => n.startsWith("p."))).toEqual(["p.bin"]);
  });

  test("an input that changed or is gone, and a command that makes no packages, are refused", async () => {
    const at = bench();
    await run(otaforgeMain, at, "pack", "sigmastar", "S.bin", "--block", "/dev/mtd5=img/root.sqfs");
    writeFileSync(join(at, "img/root.sqfs"), "changed");
    const changed = await rebuild(at, "S.bin");
    expect(changed.code).toBe(5);
    expect(changed.io.stderr()).toContain("img/root.sqfs");
    const record = json(at, "S.bin.build.json") as Record;
    for (const command of [["sh", "-c", "touch pwned"], ["otaforge", "keygen", "k"], ["toString"]]) {
      const step = { ...record.steps[0], inputs: [], command };
      writeFileSync(join(at, "evil.json"), JSON.stringify({ ...record, steps: [step] }));
      const evil = await rebuild(at, "S.bin", "--rebuild=evil.json");
      expect(evil.code).toBe(5);
      expect(evil.io.stderr()).toContain("no maker");
    }
    const outside = { ...record.steps[0], inputs: [], output: "../../../x" };
    writeFileSync(join(at, "evil.json"), JSON.stringify({ ...record, steps: [outside] }));
    expect((await rebuild(at, "S.bin", "--rebuild=evil.json")).code).not.toBe(0);
    writeFileSync(join(at, "evil.json"), JSON.stringify({ otaforgeBuild: 1 }));
    expect((await rebuild(at, "S.bin", "--rebuild=evil.json")).code).toBe(3);
    expect((await rebuild(at, "S.bin", "--rebuild=none.json")).code).toBe(6);
  });

  test("the listing is CycloneDX: every input a component with its digest", async () => {
    const at = bench();
    await run(otaforgeMain, at, "pack", "sigmastar", "S.bin", "--block", "/dev/mtd5=img/root.sqfs");
    const bom = json(at, "S.bin.cdx.json") as {
      bomFormat: string;
      specVersion: string;
      version: number;
      metadata: { component: { type: string; "bom-ref": string; hashes: { alg: string; content: string }[] } };
      components: { type: string; name: string; "bom-ref": string; hashes: { alg: string; content: string }[] }[];
      dependencies: { ref: string; dependsOn?: string[] }[];
    };
    const record = json(at, "S.bin.build.json") as Record;
    expect([bom.bomFormat, bom.specVersion, bom.version]).toEqual(["CycloneDX", "1.6", 1]);
    expect(bom.metadata.component).toMatchObject({
      type: "firmware",
      hashes: [{ alg: "SHA-256", content: record.package.sha256 }],
    });
    expect(bom.components.map((c) => [c.type, c.name, c.hashes[0]?.alg, c.hashes[0]?.content])).toEqual(
      record.steps.flatMap((s) => s.inputs.map((i) => ["file", i.path, "SHA-256", i.sha256])),
    );
    const refs = new Set([bom.metadata.component["bom-ref"], ...bom.components.map((c) => c["bom-ref"])]);
    expect(refs.size).toBe(bom.components.length + 1);
    for (const d of bom.dependencies)
      for (const ref of [d.ref, ...(d.dependsOn ?? [])]) expect(refs.has(ref)).toBe(true);
  });

  test("kdimg pack and image-ota make the same package again", async () => {
    const at = bench();
    writeFileSync(
      join(at, "k.cfg"),
      `image o.kdimg {\n kdimage {\n  image_info = "i"\n  chip_info = "c"\n  board_info = "b"\n  partition-table-type = "none"\n }\n partition rtt {\n  in-partition-table = false\n  offset = 10M\n  size = 20M\n  image = "root.sqfs"\n }\n}\n`,
    );
    const packed = await run(
      kdimg,
      at,
      "pack",
      "k.cfg",
      "--inputpath",
      "img",
      "--outputpath",
      join(at, "out"),
      "--build-record",
    );
    expect([packed.code, packed.io.stderr()]).toEqual([0, expect.any(String)]);
    const made = await rebuild(at, "out/o.kdimg");
    expect([made.code, rebuilt(made.io)]).toMatchObject([0, { identical: true }]);
    const flow = join(at, "flow");
    cpSync(join(VECTORS, "flow", readdirSync(join(VECTORS, "flow")).sort()[0] as string, "inputs"), flow, {
      recursive: true,
    });
    const options = ["--config", "partition.config", "--images", join(flow, "images"), "--build-record"];
    const asked = await run(imageOta, flow, ...options);
    expect([asked.code, asked.io.stderr()]).toEqual([2, expect.stringContaining("--yes")]);
    expect((await run(imageOta, flow, ...options, "--yes")).code).toBe(0);
    const again = await rebuild(flow, "images/SStarOta.bin.gz");
    expect([again.code, rebuilt(again.io)]).toMatchObject([0, { identical: true }]);
  });
});
