import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { VECTORS, vectorPackages } from "../../test/support/sigmastar.ts";
import type { ManifestItem } from "../trust/index.ts";
import { captureIo, type CapturedIo } from "./io.ts";
import { otaforgeMain } from "./otaforge.ts";
import { openPackage } from "./package-input.ts";
import { runGuarded } from "./run.ts";
import { findClaim } from "./trust.ts";

const root = mkdtempSync(join(tmpdir(), "sstar-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
function folder(): string {
  const cwd = join(root, String(count++));
  mkdirSync(cwd);
  return cwd;
}
async function otaforge(cwd: string, ...argv: string[]): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd });
  return { code: await runGuarded("otaforge", otaforgeMain, argv, io), io };
}
function vector(name: string): Buffer {
  return readFileSync(join(VECTORS, name, "expected.bin"));
}

describe("otaforge with SigmaStar packages", () => {
  it("recognises, verifies and inspects every vector, plain and gzipped", async () => {
    const cwd = folder();
    for (const [name, bytes] of vectorPackages()) {
      const gzipped = name.length % 2 === 0;
      writeFileSync(join(cwd, "p"), gzipped ? gzipSync(bytes) : bytes);
      const { code, io } = await otaforge(cwd, "verify", "p");
      expect([name, code, io.stdout()]).toEqual([name, 0, expect.stringContaining("integrity good")]);
      const json = JSON.parse((await otaforge(cwd, "inspect", "p", "--json")).io.stdout()) as Record<string, unknown>;
      expect(json).toMatchObject({ family: "sigmastar", generation: /v\d\.\d/.exec(name)?.[0], gzipped, ok: true });
    }
  });

  it("says what a package will do", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "p"), vector("v1.6/out_layout"));
    const { io } = await otaforge(cwd, "inspect", "p");
    expect(io.stdout()).toContain("writes 500 bytes to /dev/mtd0; skips /dev/mtd1 (mask 0)");
    expect(io.stdout()).toContain("removes /config/x/old.txt");
    writeFileSync(join(cwd, "p"), vector("v1.6/file_update_diff"));
    expect((await otaforge(cwd, "inspect", "p")).io.stdout()).toMatch(/patches \/dev\/mtd4 to \d+ bytes/);
  });

  it("reports damage with exit 3, and inspect shows what stands before it", async () => {
    const cwd = folder();
    const bytes = new Uint8Array(vector("v1.6/multi_append"));
    (bytes[bytes.length - 2000] as number) ^= 1;
    writeFileSync(join(cwd, "p"), bytes);
    const verify = await otaforge(cwd, "verify", "p");
    expect([verify.code, verify.io.stderr()]).toEqual([3, expect.stringContaining("record")]);
    const inspect = await otaforge(cwd, "inspect", "p", "--json");
    expect(inspect.code).toBe(3);
    expect(JSON.parse(inspect.io.stdout())).toMatchObject({ ok: false, problem: { code: "SIGMASTAR_RECORD_DAMAGED" } });
    const header = new Uint8Array(vector("v1.6/multi_append"));
    header[41] = 9;
    writeFileSync(join(cwd, "p"), header);
    const damaged = await otaforge(cwd, "verify", "p");
    expect([damaged.code, damaged.io.stderr()]).toEqual([3, expect.stringContaining("MD5 of the v1.6 header")]);
    writeFileSync(join(cwd, "p"), gzipSync(bytes).subarray(0, 300));
    expect((await otaforge(cwd, "verify", "p")).code).toBe(3);
  });

  it("extracts parts by number, name and destination, and never leaves a damaged one", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "p"), vector("v1.6/multi_append"));
    expect((await otaforge(cwd, "extract", "p", "-C", "all")).code).toBe(0);
    expect(readdirSync(join(cwd, "all")).sort()).toEqual([
      "00-k",
      "01-k",
      "02-u",
      "03-f",
      "04-new.bin",
      "begin.sh",
      "end.sh",
    ]);
    const inputs = join(VECTORS, "v1.6/multi_append/inputs");
    expect(readFileSync(join(cwd, "all/04-new.bin")).equals(readFileSync(join(inputs, "n/new.bin")))).toBe(true);
    expect((await otaforge(cwd, "extract", "p", "-C", "some", "/config/f", "0", "end.sh")).code).toBe(0);
    expect(readdirSync(join(cwd, "some")).sort()).toEqual(["00-k", "03-f", "end.sh"]);
    expect((await otaforge(cwd, "extract", "p", "-C", "none", "nothing")).code).toBe(2);
    const bytes = new Uint8Array(vector("v1.6/payload_60k"));
    (bytes[bytes.length - 1] as number) ^= 1;
    writeFileSync(join(cwd, "p"), bytes);
    expect((await otaforge(cwd, "extract", "p", "-C", "bad")).code).toBe(3);
    expect(readdirSync(join(cwd, "bad"))).toEqual([]);
  });

  it("compares packages part by part", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "a"), vector("v1.6/multi_append"));
    writeFileSync(join(cwd, "b.gz"), gzipSync(vector("v1.6/multi_append")));
    writeFileSync(join(cwd, "c"), vector("v0.4/multi_append"));
    expect((await otaforge(cwd, "compare", "a", "b.gz")).code).toBe(0);
    const other = await otaforge(cwd, "compare", "a", "c", "--json");
    expect(other.code).toBe(5);
    const { differences } = JSON.parse(other.io.stdout()) as { differences: { field: string }[] };
    expect(differences.map((d) => d.field)).toEqual(["generation"]);
  });
});

describe("otaforge pack sigmastar", () => {
  it("makes in one call what the vendor's program makes in seven", async () => {
    for (const generation of ["v0.2", "v0.4", "v1.6"]) {
      const cwd = folder();
      cpSync(join(VECTORS, generation, "multi_append/inputs"), cwd, { recursive: true });
      execFileSync("chmod", ["600", join(cwd, "n/new.bin")]);
      const records = [
        [
          "--block",
          "/dev/mtd0=k",
          "--block",
          "/dev/mtd1=k",
          "--ubi",
          "/dev/ubi0_1=u",
          "--size",
          "/dev/ubi0_1=0xA00000",
        ],
        ["--size", "/dev/mtd0=0x60000", "--size", "/dev/mtd1=0x60000"],
        ["--add", "/config/n/new.bin=n/new.bin", "--delete", "/config/stale"],
      ].flat();
      const scripts = ["--begin-script", "b.sh", "--end-script", "e.sh", "--generation", generation];
      const { code, io } = await otaforge(cwd, "pack", "sigmastar", "out.bin.gz", ...scripts, ...records, "--json");
      expect([code, io.stderr().includes("warning")]).toEqual([0, false]);
      expect(JSON.parse(io.stdout())).toMatchObject({ generation, records: 5 });
      writeFileSync(join(cwd, "want"), vector(`${generation}/multi_append`));
      const compared = await otaforge(cwd, "compare", "out.bin.gz", "want", "--json");
      const { differences } = JSON.parse(compared.io.stdout()) as { differences: { part: string; field: string }[] };
      expect(differences.filter((d) => d.part === "record 0" || d.part === "record 2")).toEqual([]);
      expect(readdirSync(cwd).filter((f) => f.includes("tmp"))).toEqual([]);
    }
  });

  it("includes dot files, understands otapack's options, and leaves digests of patches in a manifest", async () => {
    const cwd = folder();
    for (const side of ["old", "new"]) {
      mkdirSync(join(cwd, side, ".hidden"), { recursive: true });
      writeFileSync(join(cwd, side, ".profile"), side);
      writeFileSync(join(cwd, side, ".hidden/x"), side.repeat(500));
    }
    expect((await otaforge(cwd, "pack", "sigmastar", "-c", "p")).code).toBe(0);
    const folders = ["-o", "old", "-n", "new", "-d", "/config"];
    expect((await otaforge(cwd, "pack", "sigmastar", "-a", "p", ...folders, "--dir-update")).code).toBe(0);
    const one = await otaforge(cwd, "pack", "sigmastar", "q", "--folder", "/config=old:new");
    expect(one.code).toBe(0);
    expect(readFileSync(join(cwd, "p")).equals(readFileSync(join(cwd, "q")))).toBe(true);
    expect((await otaforge(cwd, "inspect", "q")).io.stdout()).toContain("/config/.hidden/x");
    expect((await otaforge(cwd, "pack", "sigmastar", "r", "--folder-patch", "/config=old:new")).code).toBe(0);
    expect((await otaforge(cwd, "verify", "r")).io.stdout()).toContain("unsigned");
    const envelope = JSON.parse(readFileSync(join(cwd, "r.manifest"), "utf8")) as { payload: string };
    const manifest = JSON.parse(Buffer.from(envelope.payload, "base64").toString()) as { items: { index: number }[] };
    // A patch of three bytes would be larger than they are: that file goes whole, and needs no base.
    expect(manifest.items).toMatchObject([{ index: 0, name: "/config/.hidden/x" }]);
    const patched = await otaforge(
      cwd,
      "pack",
      "sigmastar",
      "v",
      "--folder-patch",
      "/config=old:new",
      "--vendor-compatible",
    );
    expect(patched.code).toBe(0);
    expect((await otaforge(cwd, "inspect", "v")).io.stdout()).toMatch(/\.profile.*diff|diff.*\.profile/i);
    expect((await otaforge(cwd, "inspect", "r")).io.stdout()).not.toMatch(/\.profile.*diff|diff.*\.profile/i);
  });

  it("packs a text whole where compression makes it smaller than its patch, in compressed packages only", async () => {
    const cwd = folder();
    const lines = (word: string): string => Array.from({ length: 60 }, (_, i) => `${word}${i * i * i}`).join("\n");
    writeFileSync(join(cwd, "old"), lines("key"));
    writeFileSync(join(cwd, "new"), lines("another value = "));
    for (const name of ["p.bin", "p.bin.gz"]) {
      expect((await otaforge(cwd, "pack", "sigmastar", name, "--patch", "/x=old:new")).code).toBe(0);
    }
    const size = (name: string): number => readFileSync(join(cwd, name)).length;
    expect((await otaforge(cwd, "inspect", "p.bin")).io.stdout()).toContain("diff");
    const packed = await otaforge(cwd, "inspect", "p.bin.gz");
    expect(packed.io.stdout()).not.toContain("diff");
    expect(size("p.bin.gz")).toBeLessThan(gzipSync(readFileSync(join(cwd, "p.bin"))).length);
  });

  it.each([
    ["beside", []],
    ["inside", ["--embed"]],
  ] as const)("keeps the digests of patches when it is compressed, then signed %s", async (_where, embed) => {
    const cwd = folder();
    writeFileSync(join(cwd, "old.img"), "a".repeat(5000));
    writeFileSync(join(cwd, "new.img"), `${"a".repeat(2500)}b${"a".repeat(2499)}`);
    expect((await otaforge(cwd, "pack", "sigmastar", "p", "--patch", "/dev/mtd5=old.img:new.img")).code).toBe(0);
    writeFileSync(join(cwd, "p.gz"), gzipSync(readFileSync(join(cwd, "p"))));
    writeFileSync(join(cwd, "other.gz"), gzipSync(Buffer.concat([readFileSync(join(cwd, "p")), Buffer.from("x")])));
    copyFileSync(join(cwd, "p.manifest"), join(cwd, "other.manifest"));
    expect((await otaforge(cwd, "keygen", "k")).code).toBe(0);
    const itemsOf = async (name: string): Promise<readonly ManifestItem[] | undefined> => {
      const io = captureIo({ cwd });
      const input = await openPackage(name, io);
      const claim = await findClaim(input, io);
      await input.close();
      return claim?.items;
    };
    const sign = ["--key", "k.pem", ...embed];
    // The manifest that packing left behind names no version.
    expect((await otaforge(cwd, "sign", "p.gz", ...sign)).code).toBe(2);
    for (const name of ["p.gz", "other.gz"]) {
      expect((await otaforge(cwd, "sign", name, ...sign, "--package-version", "2")).code).toBe(0);
    }
    expect(await itemsOf("p.gz")).toMatchObject([{ name: "/dev/mtd5", base: { size: 5000 }, result: { size: 5000 } }]);
    expect(await itemsOf("other.gz")).toEqual([]);
  });

  it("refuses what it does not understand, leaving nothing behind", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "k"), "kernel");
    for (const argv of [
      [],
      ["out", "--blok", "x=k"],
      ["out", "more"],
      ["out", "--block", "k"],
      ["out", "--block", "/dev/mtd0=missing"],
      ["out", "--block", "/dev/mtd0=k", "--size", "/dev/mtd0=5"],
      ["out", "--generation", "v9"],
    ]) {
      const { code, io } = await otaforge(cwd, "pack", "sigmastar", ...argv);
      expect([argv, code]).toEqual([argv, 2]);
      expect(io.stderr()).not.toBe("");
    }
    expect(readdirSync(cwd)).toEqual(["k"]);
  });
});
