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
