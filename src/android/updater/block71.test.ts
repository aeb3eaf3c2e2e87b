import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { collectRun, sha1 } from "../../../test/support/android-device.ts";
import {
  ANDROID_VECTORS,
  blockSpec,
  BY_NAME,
  installedDevice,
  vectorReader,
} from "../../../test/support/android-install.ts";
import type { SimulatedDevice } from "../../device/index.ts";
import { createSimulatedDevice } from "../../device/index.ts";

interface Run {
  readonly updater_exit: number;
  readonly system_is_target: boolean;
  readonly system_sha1: string;
  readonly command_pipe: string[];
}
const NODE = `${BY_NAME}/system`;

const device = async (version: string): Promise<SimulatedDevice> => createSimulatedDevice(await blockSpec(version));

async function systemSha1(on: SimulatedDevice): Promise<string> {
  const node = await on.nodes.open(NODE, "read");
  return sha1(await node.read(0, node.size));
}

const runs = (path: string): Run[] =>
  (JSON.parse(readFileSync(new URL(`block71/${path}/case.json`, ANDROID_VECTORS), "utf8")) as { install_runs: Run[] })
    .install_runs;

describe("block packages recorded from the 7.1 updater", () => {
  it.each(["v1/incr", "v2/incr", "v3/incr", "v4/incr", "v4/incr-verify", "v4/incr-twostep"])("%s", async (path) => {
    const on = await device(path.slice(0, 2));
    const reader = vectorReader(`block71/${path}/unsigned.zip`);
    for (const run of runs(path)) {
      const got = await collectRun({ device: on, package: reader, era: "7.1", profile: "vendor" });
      expect(got.pipe, got.log).toEqual(run.command_pipe);
      expect(got.exitCode).toBe(run.updater_exit);
      expect(await systemSha1(on)).toBe(run.system_sha1);
    }
  });

  it("v4/file-incr, over a file system", async () => {
    const on = await installedDevice("block71/v4/old-target_files.zip");
    const reader = vectorReader("block71/v4/file-incr/unsigned.zip");
    for (const run of runs("v4/file-incr")) {
      const got = await collectRun({ device: on, package: reader, era: "7.1", profile: "vendor" });
      expect(got.pipe, got.log).toEqual(run.command_pipe);
      expect(got.exitCode).toBe(run.updater_exit);
    }
  });
});

const PACKAGES = ["v1/incr", "v2/incr", "v3/incr", "v4/incr", "v4/incr-verify", "v4/incr-twostep"] as const;

describe("block packages run again in the safe profile", () => {
  const once = (on: SimulatedDevice, path: string) =>
    collectRun({
      device: on,
      package: vectorReader(`block71/${path}/unsigned.zip`),
      era: "7.1",
      profile: "safe",
    });
  /** A run as recovery makes it: a package that asks for a restart gets it. */
  const go = async (on: SimulatedDevice, path: string) => {
    let got = await once(on, path);
    for (let restarts = 0; got.reboot !== undefined && restarts < 3; restarts++) got = await once(on, path);
    return got;
  };
  const written = (on: SimulatedDevice): string[] => on.log.filter((w) => w.where === NODE).map(({ kind }) => kind);
  const imageOf = async (on: SimulatedDevice): Promise<Uint8Array> => {
    const node = await on.nodes.open(NODE, "read");
    return (await node.read(0, node.size)).slice();
  };
  const replace = async (on: SimulatedDevice, bytes: Uint8Array): Promise<void> => {
    const node = await on.nodes.open(NODE, "write");
    await node.write(0, bytes);
    await node.flush();
    await node.close();
  };

  it.each(PACKAGES)("%s: what is finished is done", async (path) => {
    const on = await device(path.slice(0, 2));
    expect((await go(on, path)).exitCode).toBe(0);
    const wanted = await systemSha1(on);
    let next = on;
    for (let times = 0; times < 2; times++) {
      next = next.restart({ keepLog: true });
      const got = await go(next, path);
      expect({ exitCode: got.exitCode, message: got.message }, got.log).toEqual({ exitCode: 0, message: undefined });
      expect(await systemSha1(next)).toBe(wanted);
      // From version 3 on `new` and `zero` are written again, with the same bytes.
      if (/v[12]/.test(path)) expect(written(next).filter((kind) => kind !== "flush")).toEqual([]);
    }
  });

  it.each(PACKAGES)("%s: a cut at any of the last writes, and the same package ends it", async (path) => {
    const start = await device(path.slice(0, 2));
    const whole = start.fork();
    expect((await go(whole, path)).exitCode).toBe(0);
    const wanted = await systemSha1(whole);
    // The end of the notes, the boot image, and the last commands of the list.
    for (let write = whole.writes - 1; write > whole.writes - 60; write -= 11) {
      const on = start.fork();
      on.cutPower({ write, phase: "torn", unflushed: "some", seed: write });
      await go(on, path).catch(() => undefined);
      const again = on.restart();
      const got = await go(again, path);
      expect(await systemSha1(again)).toBe(wanted);
      expect({ exitCode: got.exitCode, message: got.message }, `write ${write}\n${got.log}`).toEqual({
        exitCode: 0,
        message: undefined,
      });
    }
  });

  it.each(["v1/incr", "v2/incr", "v3/incr"])("%s: a cache of any size takes all of it or nothing", async (path) => {
    const spec = await blockSpec(path.slice(0, 2));
    const old = sha1(await imageOf(createSimulatedDevice(spec)));
    const results = new Set<number>();
    for (let blocks = 4; blocks <= 60; blocks += 4) {
      const cache = { node: `${BY_NAME}/cache`, capacityBytes: blocks * 4096 };
      const on = createSimulatedDevice({ ...spec, fileSystems: { "/cache": cache } });
      const got = await go(on, path);
      results.add(got.exitCode);
      if (got.exitCode === 0) continue;
      expect(await systemSha1(on), `${blocks} blocks\n${got.log}`).toBe(old);
      expect(written(on)).toEqual([]);
      expect(await on.files.list("/cache/recovery")).toEqual([]);
    }
    expect([...results].sort()).toEqual([0, 7]);
  });

  it.each(["v1/incr", "v2/incr"])("%s: notes of earlier runs are not believed over another content", async (path) => {
    const start = await device(path.slice(0, 2));
    const old = await imageOf(start);
    const whole = start.fork();
    expect((await go(whole, path)).exitCode).toBe(0);
    const wanted = await systemSha1(whole);
    // A finished one, and one cut in the middle, flashed back with the state left where it is.
    for (const write of [undefined, Math.floor(whole.writes / 2)]) {
      let on = start.fork();
      if (write !== undefined) on.cutPower({ write, phase: "torn", unflushed: "some", seed: 3 });
      await go(on, path).catch(() => undefined);
      on = on.restart();
      await replace(on, old);
      expect((await go(on, path)).exitCode).toBe(0);
      expect(await systemSha1(on), `after a cut at ${write}`).toBe(wanted);
      // And over something else the package refuses, as over any base it is not for.
      const foreign = old.map((b) => b ^ 0x55);
      await replace(on, foreign);
      const got = await go(on, path);
      expect(got).toMatchObject({ exitCode: 7, message: "E1000: system partition has unexpected contents" });
      expect(await systemSha1(on)).toBe(sha1(foreign));
    }
  });
});
