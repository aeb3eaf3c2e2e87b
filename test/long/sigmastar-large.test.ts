/** Images beyond 4 GiB: exact sizes and bounded memory, through the launchers. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runWatched, type WatchedRun } from "../support/peak.ts";

const root = mkdtempSync(join(tmpdir(), "large-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const run = (name: string, argv: readonly string[]): WatchedRun => runWatched(name, argv, root);

const SIZE = 2 ** 32 + 5_000_001;

describe("a sparse image of more than 4 GiB", () => {
  const image = join(root, "image");
  closeSync(openSync(image, "w"));
  truncateSync(image, SIZE);
  const file = openSync(image, "r+");
  writeSync(file, Buffer.from("the end"), 0, 7, SIZE - 7);
  closeSync(file);

  it.each(["v0.4", "v1.6"])(
    "packs and verifies in %s with less than 120 MiB, and its last byte counts",
    (generation) => {
      const pack = join(root, "pack");
      expect(run("otapack", ["--generation", generation, "-c", pack]).status).toBe(0);
      const made = run("otapack", [
        "-a",
        pack,
        "-s",
        image,
        "-d",
        "/dev/mmcblk0p5",
        "-t",
        String(SIZE),
        "--block-update",
      ]);
      expect([made.status, made.stdout]).toEqual([0, expect.stringContaining(`Total size: 0x${SIZE.toString(16)}\n`)]);
      expect(made.peakMib).toBeLessThan(120);
      const good = run("otaforge", ["verify", pack, "--progress", "none"]);
      expect([good.status, good.stdout]).toEqual([0, expect.stringContaining("integrity good")]);
      expect(good.peakMib).toBeLessThan(120);
      const last = openSync(pack, "r+");
      writeSync(last, Buffer.from("D"), 0, 1, statSync(pack).size - 1);
      closeSync(last);
      expect(run("otaforge", ["verify", pack, "--progress", "none"]).status).toBe(3);
      rmSync(pack);
    },
  );

  it("is refused by generations with 32-bit sizes, the package as it was", () => {
    const pack = join(root, "small");
    expect(run("otapack", ["--generation", "v0.2", "-c", pack]).status).toBe(0);
    expect(run("otapack", ["-a", pack, "-s", image, "-d", "/dev/mtd0", "--block-update"]).status).toBe(2);
    expect(statSync(pack).size).toBe(20);
  });

  it("packs compressed in one call with less than 120 MiB", () => {
    const argv = ["pack", "sigmastar", "out.gz", "--block", "/dev/mmcblk0p5=image", "--progress", "none"];
    const made = run("otaforge", argv);
    expect(made.status).toBe(0);
    expect(made.peakMib).toBeLessThan(120);
  });

  it("installs compressed with less than 120 MiB, whatever a few kilobytes of it unpack to", () => {
    // Smaller than the others, for the time it takes: memory that grows with the content would be far beyond the bound here, too.
    const size = 250 * 1024 * 1024;
    for (const name of ["part", "target"]) {
      closeSync(openSync(join(root, name), "w"));
      truncateSync(join(root, name), size);
    }
    mkdirSync(join(root, "board"));
    const nodes = { "/dev/mmcblk0p5": { file: "target", kind: "block", size } };
    writeFileSync(join(root, "DEVICE.json"), JSON.stringify({ family: "sigmastar", root: "board", nodes }));
    const made = run("otaforge", ["pack", "sigmastar", "part.gz", "--block", "/dev/mmcblk0p5=part"]);
    expect(made.status).toBe(0);
    for (const [name, ...argv] of [
      ["otaforge", "install", "part.gz"],
      ["otaunpack", "-x", "part.gz"],
    ] as const) {
      const installed = run(name, [...argv, "--device", "DEVICE.json", "--progress", "none"]);
      expect([installed.status, installed.stdout]).toEqual([0, expect.stringContaining("installed: 1 of 1")]);
      expect(installed.peakMib).toBeLessThan(120);
    }
  });
});
