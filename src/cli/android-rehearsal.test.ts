import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ANDROID_VECTORS, blockSpec, BY_NAME, installedSpec } from "../../test/support/android-install.ts";
import type { Device } from "../core/ports.ts";
import type { SimulatedSpec } from "../device/index.ts";
import { rehearse } from "../rehearse/index.ts";
import type { RehearsalOptions, RehearsalSubject } from "../rehearse/index.ts";
import { rehearsalSubject } from "./android-rehearsal.ts";
import { rehearsalSubject as payloadSubject } from "./payload-rehearsal.ts";

/** OTAFORGE_LONG=1: every cut. */
const LONG = process.env["OTAFORGE_LONG"] === "1";
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);
const CACHE = `${BY_NAME}/cache`;
const bytes = (path: string): Uint8Array => new Uint8Array(readFileSync(new URL(path, ANDROID_VECTORS)));

const subjectOf = (spec: SimulatedSpec, path: string): Promise<RehearsalSubject> =>
  rehearsalSubject({
    spec,
    package: bytes(path),
    profile: "safe",
    cacheNode: spec.fileSystems === undefined ? undefined : CACHE,
  });

/** The same installer, whose folders never reach the medium. */
function withoutFolderSync(subject: RehearsalSubject): RehearsalSubject {
  const lazy = (device: Device): Device =>
    new Proxy(device, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (name === "files") return { ...target.files, syncFolder: async () => undefined };
        return typeof value === "function" ? (value as (...a: unknown[]) => unknown).bind(target) : value;
      },
    });
  return { ...subject, install: (device) => subject.install(lazy(device)) };
}

describe("otaforge rehearse for Android packages", () => {
  it.each([
    ["a 4.4 incremental", "ota44/basic/incr", () => installedSpec("ota44/basic/old-target_files.zip")],
    ["a two-step one", "ota44/basic/twostep-incr", () => installedSpec("ota44/basic/old-target_files.zip")],
    ["a 7.1 incremental of files", "block71/v4/file-incr", () => installedSpec("block71/v4/old-target_files.zip")],
    ["a block incremental, version 1", "block71/v1/incr", () => blockSpec("v1")],
    ["a block incremental, version 2", "block71/v2/incr", () => blockSpec("v2")],
    ["a block incremental, version 3", "block71/v3/incr", () => blockSpec("v3")],
    ["a block incremental, version 4", "block71/v4/incr", () => blockSpec("v4")],
    ["a block incremental in two steps", "block71/v4/incr-twostep", () => blockSpec("v4")],
  ] as const)("%s: cuts end as the new system", async (_what, path, spec) => {
    const options: RehearsalOptions = { cuts: LONG ? "all" : 6, seed: SEED, faults: LONG };
    const report = await rehearse(await subjectOf(await spec(), `${path}/unsigned.zip`), options);
    if (LONG) process.stderr.write(`${path}: ${report.cuts} cuts, ${report.broken} broken\n`);
    expect(report.firstBroken).toBeUndefined();
    expect(report.endedOld + report.endedNew + report.resumed).toBe(report.cuts);
    expect(report.cuts).toBeGreaterThanOrEqual(6);
  });

  it.each([
    ["a 4.4 incremental", "ota44/basic/incr", 7, () => installedSpec("ota44/basic/old-target_files.zip")],
    ["a two-step one", "ota44/basic/twostep-incr", 4, () => installedSpec("ota44/basic/old-target_files.zip")],
    ["a 7.1 incremental of files", "block71/v4/file-incr", 37, () => installedSpec("block71/v4/old-target_files.zip")],
    ["blocks, version 1", "block71/v1/incr", 37, () => blockSpec("v1")],
    ["blocks, version 2", "block71/v2/incr", 42, () => blockSpec("v2")],
    ["blocks, version 3", "block71/v3/incr", 42, () => blockSpec("v3")],
    ["blocks, version 4", "block71/v4/incr", 42, () => blockSpec("v4")],
  ] as const)("%s with a cache just large enough: cuts end as the new system", async (_what, path, blocks, spec) => {
    const usual = await spec();
    const cache = (capacity: number): SimulatedSpec => ({
      ...usual,
      fileSystems: {
        ...usual.fileSystems,
        "/cache": { node: CACHE, ...usual.fileSystems?.["/cache"], capacityBytes: capacity * 4096 },
      },
    });
    const small = await subjectOf(cache(blocks - 1), `${path}/unsigned.zip`);
    await expect(rehearse(small, { cuts: 1, seed: 1 })).rejects.toThrow("does not install even without a power cut");
    const report = await rehearse(await subjectOf(cache(blocks), `${path}/unsigned.zip`), {
      cuts: LONG ? "all" : 12,
      seed: SEED,
      faults: LONG,
    });
    if (LONG)
      process.stderr.write(`${path}, ${blocks} blocks of cache: ${report.cuts} cuts, ${report.broken} broken\n`);
    expect(report.firstBroken).toBeUndefined();
    expect(report.endedOld + report.endedNew + report.resumed).toBe(report.cuts);
  });

  it("goes on where a cut left what a done command had kept, in a cache without room for it", async () => {
    const usual = await blockSpec("v2");
    const spec = { ...usual, fileSystems: { "/cache": { node: CACHE, capacityBytes: 42 * 4096 } } };
    const report = await rehearse(await subjectOf(spec, "block71/v2/incr/unsigned.zip"), {
      only: "47.after.kept,40.before.dropped",
      seed: 20261202,
    });
    expect(report.firstBroken).toBeUndefined();
    expect(report.cuts + report.repeatedCuts).toBeGreaterThan(0);
  });

  it("a payload: what the loader would start is complete after every cut", async () => {
    const image = (name: string): Uint8Array => bytes(`payload/generated/${name}.img`);
    const node = (name: string): string => `/dev/block/by-name/${name}`;
    const nodes = {
      [node("boot_a")]: { kind: "block" as const, content: image("boot-old") },
      [node("system_a")]: { kind: "block" as const, content: image("system-old") },
      [node("boot_b")]: { kind: "block" as const, size: image("boot-new").length },
      [node("system_b")]: { kind: "block" as const, size: image("system-new").length },
    };
    const subject = await payloadSubject({
      spec: { running: "a", nodes },
      package: bytes("payload/generated/delta-signed/payload.bin"),
      bare: true,
      profile: "safe",
      nodes: Object.keys(nodes),
    });
    const report = await rehearse(subject, { cuts: 40, seed: 1, faults: false });
    expect(report.firstBroken).toBeUndefined();
    expect(report.resumed + report.endedNew).toBe(report.cuts);
  });

  it("catches an installer that flushes too little", async () => {
    const good = await subjectOf(
      await installedSpec("ota44/basic/old-target_files.zip"),
      "ota44/basic/full/unsigned.zip",
    );
    const report = await rehearse(withoutFolderSync(good), { cuts: 4, seed: 1, faults: false });
    expect(report.broken).toBeGreaterThan(0);
  });
});
