/** The wide net before the deep one: cuts by the ten thousand of all families' installers on the simulated device. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { OtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { openImage } from "../../src/android/images/sparse.ts";
import { runUpdater } from "../../src/android/updater/index.ts";
import { rehearsalSubject as k230Subject } from "../../src/cli/k230-rehearsal.ts";
import { rehearsalSubject as sigmastarSubject } from "../../src/cli/sigmastar-rehearsal.ts";
import { createSimulatedDevice, type SimulatedDevice, type SimulatedSpec } from "../../src/device/index.ts";
import { CARD_NODE } from "../../src/k230/index.ts";
import { describeReport, rehearse, type RehearsalSubject } from "../../src/rehearse/index.ts";
import { ANDROID_VECTORS, BY_NAME, entryOf, installedDevice, vectorReader } from "../support/android-install.ts";
import { noise, testPackage } from "../support/sigmastar-package.ts";
import { COUNTS, report } from "./counts.ts";
import { labCard, labImage, labPair } from "./k230-card.ts";

async function k230(running: "a" | "b"): Promise<RehearsalSubject> {
  const [old, other, fresh] = [labPair(1, 9000), labPair(3, 9000), labPair(5, 9000)];
  const content = labCard(running === "a" ? { a: old, b: other } : { a: other, b: old }, running, 2 * 1024 * 1024);
  return k230Subject({
    spec: { nodes: { [CARD_NODE]: { kind: "block", content } } },
    image: await labImage(fresh),
    card: {},
    profile: "safe",
    allowPartial: false,
  });
}

/** Everything a SigmaStar package can touch, on flash with small erase blocks so that a write has many neighbours. */
async function sigmastar(): Promise<RehearsalSubject> {
  const nand = { eraseSize: 8192, writeSize: 512, badBlocks: [1, 5] };
  const spec: SimulatedSpec = {
    nodes: {
      "/dev/mtd0": { kind: "nand", size: 16 * 8192, content: noise(20_000, 1), ...nand },
      "/dev/mtd1": { kind: "nor", size: 65536, content: noise(30_000, 2), eraseSize: 4096 },
      "/dev/mmcblk0p3": { kind: "block", content: noise(65536, 3) },
    },
    ubi: { "/dev/ubi0_0": { name: "rootfs", size: 65536, content: noise(40_000, 4) } },
    ubiFreeBytes: 65536,
    files: {
      "/customer/app.conf": "old settings\n",
      "/customer/old.log": "old\n",
      "/customer/libapp.so": noise(9000, 5),
    },
    fileSystems: { "/customer": { node: "/dev/mtdblock9" } },
  };
  const bytes = testPackage({
    begin: "true",
    records: [
      { operation: "BLK_UPDATE", destination: "/dev/mtd0", payload: noise(21_000, 11) },
      { operation: "BLK_UPDATE", destination: "/dev/mtd1", payload: noise(10_000, 12) },
      { operation: "BLK_UPDATE", destination: "/dev/mmcblk0p3", payload: noise(20_000, 13) },
      { operation: "UBI_UPDATE", destination: "/dev/ubi0_0", payload: noise(30_000, 14) },
      { operation: "FILE_UPDATE", destination: "/customer/app.conf", payload: "new settings\n" },
      { operation: "FILE_UPDATE", destination: "/customer/libapp.so", payload: noise(9500, 15) },
      { operation: "FILE_DELETE", destination: "/customer/old.log" },
    ],
  });
  return sigmastarSubject({ spec, package: bytes, items: [], profile: "safe" });
}

function updaterSubject(start: SimulatedDevice, packagePath: string, era: "4.4" | "7.1"): RehearsalSubject {
  const bytes = new Uint8Array(readFileSync(new URL(packagePath, ANDROID_VECTORS)));
  return {
    makeDevice: () => start.fork(),
    async install(device) {
      let log = "";
      const { exitCode } = await runUpdater({
        device,
        package: memoryReader(bytes),
        era,
        profile: "safe",
        pipe: () => undefined,
        log: (text) => void (log += text),
      });
      if (exitCode !== 0)
        throw new OtaError("DEVICE_IO", { what: "the updater failed", where: "script", found: log.slice(-300) });
    },
  };
}

const androidFiles = async (): Promise<RehearsalSubject> =>
  updaterSubject(await installedDevice("ota44/basic/old-target_files.zip"), "ota44/basic/incr/unsigned.zip", "4.4");

async function androidBlocks(): Promise<RehearsalSubject> {
  const old = vectorReader("block71/v4/old-target_files.zip");
  const { raw } = await openImage(memoryReader(await entryOf(old, "IMAGES/system.img")));
  const text = Buffer.from(await entryOf(old, "SYSTEM/build.prop")).toString();
  const properties: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/^([^#=\n]+)=(.*)$/gm)) properties[name as string] = value as string;
  const device = createSimulatedDevice({
    nodes: {
      [`${BY_NAME}/system`]: { kind: "block", content: await raw.read(0, raw.size) },
      [`${BY_NAME}/boot`]: { kind: "block", size: 65536, content: await entryOf(old, "IMAGES/boot.img") },
    },
    files: { "/cache/recovery": { kind: "folder" }, "/file_contexts": "/x u:x\n" },
    properties,
  });
  return updaterSubject(device, "block71/v4/incr/unsigned.zip", "7.1");
}

describe("simulated power cuts", () => {
  // A K230's cut costs a millisecond or two, an Android script with all its patches fifty times as much.
  test.each([
    ["K230, A to B", () => k230("a"), 0.45, true],
    ["K230, B to A", () => k230("b"), 0.45, true],
    ["SigmaStar: NAND, NOR, block, UBI and files", sigmastar, 0.092, true],
    ["Android, files", androidFiles, 0.004, false],
    ["Android, blocks", androidBlocks, 0.004, false],
  ] as const)("%s: every one ends old, new or resumed", async (name, make, share, faults) => {
    const cuts = Math.ceil(COUNTS.simulatedCuts * share);
    const result = await rehearse(await make(), { cuts, seed: 7, faults, monotonicMs: () => performance.now() });
    report(`simulated, ${name}: ${describeReport(result).split("\n", 2).join("; ")}`);
    expect(result.firstBroken).toBeUndefined();
    expect(result.broken).toBe(0);
    expect(result.cuts).toBeGreaterThanOrEqual(cuts);
  });
});
