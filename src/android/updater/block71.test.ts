import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { collectRun, sha1 } from "../../../test/support/android-device.ts";
import {
  ANDROID_VECTORS,
  BY_NAME,
  entryOf,
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
const BLOCK = 4096;

/** The raw form of a sparse image (formats/android.md section 3.2), by a reader that is not the one under test. */
function unsparse(b: Buffer): Buffer {
  const out = Buffer.alloc(b.readUInt32LE(16) * BLOCK);
  let at = b.readUInt16LE(8);
  let block = 0;
  for (let i = 0; i < b.readUInt32LE(20); i++) {
    const [type, blocks, total] = [b.readUInt16LE(at), b.readUInt32LE(at + 4), b.readUInt32LE(at + 8)];
    const data = b.subarray(at + 12, at + total);
    if (type === 0xcac1) data.copy(out, block * BLOCK);
    if (type === 0xcac2) out.fill(data, block * BLOCK, (block + blocks) * BLOCK);
    block += blocks;
    at += total;
  }
  return out;
}

const NODE = `${BY_NAME}/system`;

async function device(version: string): Promise<SimulatedDevice> {
  const old = vectorReader(`block71/${version}/old-target_files.zip`);
  const raw = unsparse(Buffer.from(await entryOf(old, "IMAGES/system.img")));
  const properties: Record<string, string> = {};
  for (const line of Buffer.from(await entryOf(old, "SYSTEM/build.prop"))
    .toString()
    .split("\n")) {
    const equal = line.indexOf("=");
    if (equal > 0) properties[line.slice(0, equal)] = line.slice(equal + 1);
  }
  const boot = await entryOf(old, "IMAGES/boot.img").catch(() => entryOf(old, "BOOTABLE_IMAGES/boot.img"));
  return createSimulatedDevice({
    nodes: {
      [NODE]: { kind: "block", content: raw },
      [`${BY_NAME}/boot`]: { kind: "block", size: 8 << 20, content: boot },
      [`${BY_NAME}/recovery`]: { kind: "block", size: 8 << 20 },
      [`${BY_NAME}/misc`]: { kind: "block", size: 1 << 20 },
    },
    files: { "/cache/recovery": { kind: "folder" }, "/file_contexts": "/x u:x\n" },
    properties,
  });
}

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
