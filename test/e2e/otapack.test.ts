/** The launchers themselves, as a shell would start them. They run what `npm ci` (or `npm run build`) compiled. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { VECTORS } from "../support/sigmastar.ts";

const bin = (name: string): string => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
const root = mkdtempSync(join(tmpdir(), "otapack-e2e-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function folder(vector: string): string {
  const cwd = mkdtempSync(join(root, "case-"));
  cpSync(join(VECTORS, vector, "inputs"), cwd, { recursive: true });
  return cwd;
}

describe("the launchers", () => {
  it.each(["v1.6/out_layout", "v0.4/multi_append", "v0.2/dir_update"])("otapack makes %s", (name) => {
    const cwd = folder(name);
    const spec = JSON.parse(readFileSync(join(VECTORS, name, "cmd.json"), "utf8")) as {
      modes: Record<string, string>;
      steps: { argv: string[]; vendor_stdout: string }[];
      generation: string;
    };
    for (const [path, mode] of Object.entries(spec.modes)) spawnSync("chmod", [mode, join(cwd, path)]);
    const env = { ...process.env, OTAFORGE_SIGMASTAR_GENERATION: spec.generation };
    for (const { argv, vendor_stdout } of spec.steps) {
      const { status, stdout } = spawnSync(bin("otapack"), argv.slice(1), { cwd, env, encoding: "utf8" });
      expect([status, stdout]).toEqual([0, vendor_stdout]);
    }
    expect(readFileSync(join(cwd, "out.ota")).equals(readFileSync(join(VECTORS, name, "expected.bin")))).toBe(true);
  });

  it("image-ota reads its answers from a pipe, whatever the umask and time zone", () => {
    const name = "flow/v1.6_spinand_some";
    const { answers } = JSON.parse(readFileSync(join(VECTORS, name, "cmd.json"), "utf8")) as { answers: string[] };
    const results: Buffer[] = [];
    for (const [umask, TZ] of [
      ["022", "UTC"],
      ["077", "Asia/Shanghai"],
    ] as const) {
      const cwd = folder(name);
      const { status, stderr } = spawnSync(
        "sh",
        ["-c", `umask ${umask}; exec "$0" --config partition.config --images images`, bin("image-ota")],
        { cwd, env: { ...process.env, TZ }, input: `${answers.join("\n")}\n`, encoding: "utf8" },
      );
      expect([status, stderr]).toEqual([0, ""]);
      results.push(readFileSync(join(cwd, "images/SStarOta.bin.gz")));
    }
    const [first, second] = results as [Buffer, Buffer];
    expect(first.equals(second)).toBe(true);
    expect(gunzipSync(first).equals(readFileSync(join(VECTORS, name, "expected.bin")))).toBe(true);
  });

  it.each(["SIGTERM", "SIGINT"] as const)(
    "%s during an append leaves the package as it was, exit 7",
    async (signal) => {
      const cwd = mkdtempSync(join(root, "signal-"));
      const [pack, image] = [join(cwd, "p"), join(cwd, "image")];
      writeFileSync(image, "");
      truncateSync(image, 2 ** 31);
      expect(spawnSync(bin("otapack"), ["-c", pack]).status).toBe(0);
      const before = readFileSync(pack);
      const child = spawn(bin("otapack"), ["-a", pack, "-s", image, "-d", "/dev/mtd0", "--block-update"]);
      const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
      while (statSync(pack).size < 10_000_000 && child.exitCode === null) await sleep(5);
      child.kill(signal);
      expect(await ended).toBe(7);
      expect(readFileSync(pack).equals(before)).toBe(true);
    },
  );
});
