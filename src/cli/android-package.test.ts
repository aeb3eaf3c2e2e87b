import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { captureIo } from "./io.ts";
import { otaforgeMain } from "./otaforge.ts";
import { runGuarded } from "./run.ts";

const VECTORS = join(import.meta.dirname, "../../test/vectors/android");
const UNSIGNED = join(VECTORS, "ota44/basic/incr/unsigned.zip");
const FULL = join(VECTORS, "ota44/basic/full/unsigned.zip");
const KEY = join(VECTORS, "signing/generated/k4_f4_sha256");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-android-"));
afterAll(() => rmSync(scratch, { recursive: true }));

async function otaforge(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = captureIo({ cwd: scratch });
  const code = await runGuarded("otaforge", otaforgeMain, argv, io);
  return { code, out: io.stdout(), err: io.stderr() };
}

const AOSP = join(VECTORS, "../../../../shared/vectors/android/signing/aosp-testdata");

describe("Android packages at the front door", () => {
  it("inspects a package: kind, signature, metadata, entries, and the script in plain sentences", async () => {
    const { code, out, err } = await otaforge("inspect", UNSIGNED, "--json", "--progress", "none");
    expect(code, err).toBe(0);
    const seen = JSON.parse(out) as Record<string, unknown> & { entries: unknown[]; steps: { text: string }[] };
    expect(seen).toMatchObject({
      family: "android",
      kind: "files",
      signature: "unsigned",
      metadata: { "pre-device": "tinydev" },
    });
    expect(seen.entries.length).toBe(19);
    expect(seen.steps.length).toBeGreaterThan(20);
    const text = await otaforge("inspect", UNSIGNED, "--progress", "none");
    expect(text.out).toContain("file-based package");
    const target = await otaforge("inspect", join(VECTORS, "ota44/basic/old-target_files.zip"), "--progress", "none");
    expect(target.out).toContain("target files of a build");
  });

  it("extracts entries and folders, and follows no link that stands there", async () => {
    const folder = join(scratch, "out");
    expect((await otaforge("extract", FULL, "-C", folder, "boot.img", "system/etc", "--progress", "none")).code).toBe(
      0,
    );
    expect(readdirSync(folder)).toEqual(["boot.img", "system"]);
    expect(readFileSync(join(folder, "system/etc/tiny.conf")).length).toBe(10);
    expect((await otaforge("extract", FULL, "-C", folder, "none.img", "--progress", "none")).code).toBe(2);
    const planted = join(scratch, "planted");
    const victim = join(scratch, "victim");
    mkdirSync(planted);
    mkdirSync(victim);
    symlinkSync(victim, join(planted, "system"));
    const refused = await otaforge("extract", FULL, "-C", planted, "--progress", "none");
    expect(refused.code).toBe(6);
    expect(readdirSync(victim)).toEqual([]);
    const file = join(scratch, "planted-file");
    mkdirSync(file);
    writeFileSync(join(victim, "target"), "keep");
    symlinkSync(join(victim, "target"), join(file, "boot.img"));
    expect((await otaforge("extract", FULL, "-C", file, "boot.img", "--progress", "none")).code).toBe(0);
    expect(lstatSync(join(file, "boot.img")).isFile()).toBe(true);
    expect(readFileSync(join(victim, "target"), "utf8")).toBe("keep");
  });

  it("compares contents and not signatures", async () => {
    const signed = join(scratch, "signed.zip");
    const made = await otaforge("sign", UNSIGNED, "--key", `${KEY}.pk8`, "-o", signed);
    expect(made.code, made.err).toBe(0);
    const same = await otaforge("compare", UNSIGNED, signed, "--progress", "none");
    expect(same.code, same.out).toBe(0);
    const other = await otaforge("compare", UNSIGNED, FULL, "--progress", "none");
    expect(other.code).toBe(5);
    expect(other.out).toContain("only in");
  });

  it("packs with the options of ota_from_target_files", async () => {
    const out = join(scratch, "packed.zip");
    const { code, err } = await otaforge(
      "pack",
      "android",
      "--no_signing",
      "-2",
      join(VECTORS, "ota44/basic/new-target_files.zip"),
      out,
    );
    expect(code, err).toBe(0);
    const json = JSON.parse((await otaforge("inspect", out, "--json", "--progress", "none")).out) as { script: string };
    expect(json.script).toContain("get_stage");
    expect((await otaforge("pack", "android", "--help")).out).toContain("otaforge pack android [options]");
  });

  it.runIf(existsSync(AOSP))(
    "names a test key that everybody has: an error without keys, a warning where it is trusted",
    async () => {
      for (const v of [2, 3, 4, 5]) {
        const file = join(AOSP, `otasigned_v${v}.zip`);
        const bare = await otaforge("verify", file, "--json", "--progress", "none");
        expect([bare.code, JSON.parse(bare.out)]).toMatchObject([4, { accepted: false, signature: "public test key" }]);
        const trusted = await otaforge("verify", file, "--key", join(AOSP, `testkey_v${v}.txt`));
        expect([trusted.code, trusted.err]).toEqual([0, expect.stringContaining("public test key")]);
      }
      const ours = join(VECTORS, "signing/generated/signed_k4_f4_sha256.zip");
      expect((await otaforge("verify", ours, "--progress", "none")).code).toBe(0);
    },
  );
});
