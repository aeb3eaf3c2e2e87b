// Real processes, killed at random moments: every package ends, run again, in what a clean installation of it ends in.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { captureIo } from "../../src/cli/io.ts";
import { otaforgeMain } from "../../src/cli/otaforge.ts";
import { openDevice } from "../../src/device/index.ts";
import type { SimulatedSpec } from "../../src/device/index.ts";
import { readTree } from "../support/android-device.ts";
import { writeDiskDevice } from "../support/android-disk-device.ts";
import { ANDROID_VECTORS, blockSpec, installedSpec } from "../support/android-install.ts";
import { randomNumbers } from "../support/k230-mutations.ts";

/** OTAFORGE_LONG=1: this many rounds of all packages; otherwise one of most kinds, and more while the box is not full. */
const FULL_ROUNDS = 40;
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = 30_000;
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);
/** Kills of one installation before it may end; a run that is continued is killed, too, in full runs. */
const KILLS = FULL ? 2 : 1;

const scratch = mkdtempSync(join(tmpdir(), "otaforge-kills-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const basic = (): Promise<SimulatedSpec> => installedSpec("ota44/basic/old-target_files.zip");
const PACKAGES: readonly (readonly [string, () => Promise<SimulatedSpec>])[] = [
  ...["full", "full-wipe", "incr", "twostep-full", "twostep-incr"].map(
    (name) => [`ota44/basic/${name}`, basic] as const,
  ),
  ...(FULL ? ["full-extra", "incr-extra", "incr-wipe"] : []).map((name) => [`ota44/basic/${name}`, basic] as const),
  ...["v1", "v2", "v3", "v4"].map((version) => [`block71/${version}/incr`, () => blockSpec(version)] as const),
  ["block71/v4/file-incr", () => installedSpec("block71/v4/old-target_files.zip")],
];

const packageFile = (name: string): string => fileURLToPath(new URL(`${name}/unsigned.zip`, ANDROID_VECTORS));

interface Run {
  readonly killed: boolean;
  readonly exitCode: number | null;
  readonly ms: number;
  readonly said: string;
}

/** Runs the installed program; `killAfterMs`: until then. */
async function install(folder: string, name: string, killAfterMs?: number): Promise<Run> {
  const start = performance.now();
  const args = [
    join(import.meta.dirname, "../../bin/otaforge"),
    "install",
    packageFile(name),
    "--device",
    join(folder, "DEVICE.json"),
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text: Buffer) => (said += text.toString()));
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((done) =>
    child.on("close", (code, by) => done([code, by])),
  );
  clearTimeout(timer);
  return { killed: signal === "SIGKILL", exitCode, ms: performance.now() - start, said };
}

/** Everything a package may change: files with their attributes, and raw nodes. */
async function snapshot(folder: string): Promise<Record<string, unknown>> {
  const device = await openDevice(join(folder, "DEVICE.json"));
  try {
    const out: Record<string, unknown> = {};
    for (const at of ["/system", "/data", "/cache"]) {
      if ((await device.files.stat(at)) === undefined) continue;
      out[at] = await readTree(device, at, { labels: "text", linkOwners: true });
    }
    for (const name of readdirSync(folder)) {
      if (!name.endsWith(".img")) continue;
      out[name] = createHash("sha256")
        .update(readFileSync(join(folder, name)))
        .digest("hex");
    }
    return out;
  } finally {
    await device.close();
  }
}

interface Prepared {
  readonly name: string;
  readonly old: string;
  readonly wanted: Record<string, unknown>;
}

/** How long a whole process takes here and now. */
async function timed({ name, old }: Prepared): Promise<Run> {
  copy(old, `${old}-timed`);
  return install(`${old}-timed`, name);
}

const copy = (from: string, to: string): void => cpSync(from, to, { recursive: true, verbatimSymlinks: true });

it("an installation that was killed ends, run again, as a clean one", async () => {
  const end = performance.now() + BOX_MS;
  const prepared: Prepared[] = [];
  for (const [name, spec] of PACKAGES) {
    const old = mkdtempSync(join(scratch, "old-"));
    writeDiskDevice(await spec(), old);
    const clean = `${old}-clean`;
    copy(old, clean);
    const io = captureIo();
    const code = await otaforgeMain(["install", packageFile(name), "--device", join(clean, "DEVICE.json")], io);
    expect(code, `${name}: ${io.stderr()}`).toBe(0);
    const wanted = await snapshot(clean);
    expect(wanted, name).not.toEqual(await snapshot(old));
    prepared.push({ name, old, wanted });
  }
  const { ms } = await timed(prepared[0] as Prepared);
  const below = randomNumbers(SEED);
  const counts = { devices: 0, killed: 0 };
  for (let round = 0; FULL ? round < FULL_ROUNDS : round === 0 || performance.now() < end; round++) {
    for (const { name, old, wanted } of prepared) {
      const folder = `${old}-${round}`;
      copy(old, folder);
      // The first third is the start of the program.
      let last: Run | undefined;
      for (let kill = 0; kill < KILLS && last?.exitCode !== 0; kill++) {
        last = await install(folder, name, ms * (0.3 + below(800) / 1000));
        if (last.killed) counts.killed++;
      }
      if (last?.exitCode !== 0) last = await install(folder, name);
      expect(last.exitCode, `${name}, round ${round}: ${last.said}`).toBe(0);
      expect(await snapshot(folder), `${name}, round ${round}`).toEqual(wanted);
      rmSync(folder, { recursive: true });
      counts.devices++;
    }
  }
  expect(counts.killed).toBeGreaterThan(0);
  process.stderr.write(`${counts.devices} devices of ${prepared.length} packages, ${counts.killed} kills\n`);
});
