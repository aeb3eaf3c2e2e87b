/** Every maker of packages leaves a record from which the same package is made again: one row a kind of package. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { abBuild } from "../../test/support/ab-build.ts";
import { fullImage, NEW, OLD } from "../../test/support/k230-delta.ts";
import { recordable } from "./build-record.ts";
import { otaFromTargetFilesMain } from "./commands/ota-from-target-files.ts";
import { kdimgMain } from "./commands/kdimg.ts";
import { otapackMain } from "./commands/otapack.ts";
import { captureIo } from "./io.ts";
import { otaforgeMain } from "./otaforge.ts";
import { runGuarded, type CommandMain } from "./run.ts";

const at = mkdtempSync(join(tmpdir(), "otaforge-records-"));
afterAll(() => rmSync(at, { recursive: true }));

const VECTORS = join(import.meta.dirname, "../../test/vectors/android");
const KEY = join(VECTORS, "signing/generated/k4_f4_sha256");
const MAKERS: Readonly<Record<string, CommandMain>> = {
  otapack: recordable("otapack", otapackMain, "asked"),
  kdimg: recordable("kdimg", kdimgMain, "asked"),
  ota_from_target_files: recordable("ota_from_target_files", otaFromTargetFilesMain, "asked"),
  otaforge: otaforgeMain,
};

beforeAll(async () => {
  const old = Buffer.alloc(60_000, "an image of some kind, old ");
  const fresh = Buffer.from(old);
  fresh.write("new", 30_000);
  writeFileSync(join(at, "old.img"), old);
  writeFileSync(join(at, "new.img"), fresh);
  for (const [name, file] of [
    ["old", "one"],
    ["new", "two"],
  ] as const) {
    mkdirSync(join(at, name));
    writeFileSync(join(at, name, "a"), file.repeat(500));
    writeFileSync(join(at, `${name}-ab.zip`), (await abBuild(name, 6)).zip);
  }
  writeFileSync(join(at, "base.kdimg"), fullImage(OLD));
  writeFileSync(join(at, "next.kdimg"), fullImage(NEW));
});

async function run(main: CommandMain, argv: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const io = captureIo({ cwd: at });
  const code = await runGuarded("test", main, argv, io);
  return { code, out: io.stdout(), err: io.stderr() };
}

const sigmastar = (generation: string): string[] =>
  ["otaforge", "pack", "sigmastar", "P", "--generation", generation].concat(
    ["--block", "/dev/mtd5=new.img", "--update", "/a=new/a"],
    generation === "v0.2" ? [] : ["--patch", "/dev/mtd6=old.img:new.img", "--folder-patch", "/data=old:new"],
  );
const target = (era: string, name: string): string => join(VECTORS, era, name);
const ota = (...options: string[]): string[] => ["ota_from_target_files", "--build-record", ...options, "P"];

describe("a package is made again byte for byte from its record", () => {
  test.each([
    ["SigmaStar v0.2", sigmastar("v0.2")],
    ["SigmaStar v0.3", sigmastar("v0.3")],
    ["SigmaStar v0.4", sigmastar("v0.4")],
    ["SigmaStar v1.6", sigmastar("v1.6")],
    ["K230 delta", ["kdimg", "delta", "base.kdimg", "next.kdimg", "P", "--build-record"]],
    ["Android A/B, full", ota("-k", KEY, "new-ab.zip")],
    ["Android A/B, delta", ota("-k", KEY, "-i", "old-ab.zip", "new-ab.zip")],
    [
      "Android blocks, incremental",
      ota(
        "-k",
        KEY,
        "--block",
        "-i",
        target("block71/v4", "old-target_files.zip"),
        target("block71/v4", "new-target_files.zip"),
      ),
    ],
    ["Android files, full", ota("-k", KEY, target("ota44/basic", "new-target_files.zip"))],
    [
      "Android files, incremental",
      ota(
        "-k",
        KEY,
        "-i",
        target("ota44/basic", "old-target_files.zip"),
        target("ota44/basic", "new-target_files.zip"),
      ),
    ],
  ])("%s", async (kind, [maker, ...argv]) => {
    const name = `${kind.replaceAll(/[ ,/]+/g, "-")}.pkg`;
    const made = await run(
      MAKERS[maker as string] as CommandMain,
      argv.map((a) => (a === "P" ? name : a)),
    );
    expect([made.code, made.err]).toEqual([0, expect.any(String)]);
    const record = JSON.parse(readFileSync(join(at, `${name}.build.json`), "utf8")) as {
      steps: { inputs: object[] }[];
    };
    expect(record.steps[0]?.inputs.length).toBeGreaterThan(0);
    const again = await run(otaforgeMain, ["verify", name, "--rebuild", "--json"]);
    expect([again.code, again.err]).toEqual([0, expect.any(String)]);
    expect(JSON.parse(again.out)).toMatchObject({ rebuild: { identical: true } });
    // A byte of the package is another: its own checks say so (3), its manifest (4), or the comparison with the rebuilt one (5).
    const bytes = readFileSync(join(at, name));
    const spot = bytes.length - 30;
    bytes[spot] = (bytes[spot] as number) ^ 1;
    writeFileSync(join(at, name), bytes);
    const bent = await run(otaforgeMain, ["verify", name, "--rebuild", "--json"]);
    expect([3, 4, 5]).toContain(bent.code);
  });
});
