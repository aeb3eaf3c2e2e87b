import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { isOtaError } from "../core/index.ts";
import { copyToSimulation, createSimulatedDevice, openDevice } from "./index.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

test("a simulated copy holds what the image device holds and writes nothing real", async () => {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-copy-"));
  folders.push(folder);
  for (const name of ["root", "root/etc", "root/system", "system"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "root/etc/conf"), "text");
  chmodSync(join(folder, "root/etc/conf"), 0o4711);
  writeFileSync(join(folder, "system/build.prop"), "x=1");
  symlinkSync("conf", join(folder, "root/etc/link"));
  writeFileSync(join(folder, "a.img"), new Uint8Array(3000).fill(7));
  writeFileSync(join(folder, "v.img"), "volume");
  const description = {
    hardware: "board",
    root: "root",
    ubiFreeBytes: 1000,
    nodes: {
      "/dev/a": { file: "a.img", kind: "block", size: 8192 },
      "/dev/n": { file: "n.img", kind: "nand", size: 262144, badBlocks: [1] },
      "/dev/ubi0_2": { file: "v.img", kind: "ubi", size: 5000, name: "vol" },
      "/dev/ubi0_3": { file: "never-written.img", kind: "ubi", size: 6000 },
    },
    mounts: { "/system": { dir: "system", node: "/dev/s", fsType: "ext4", freeBytes: 4096 } },
    properties: { "ro.x": "1" },
  };
  writeFileSync(join(folder, "DEVICE.json"), JSON.stringify(description));
  const opened = await openDevice(join(folder, "DEVICE.json"));
  const device = createSimulatedDevice(structuredClone(await copyToSimulation(opened)));
  expect(device.hardware).toBe("board");
  expect(await device.nodes.info("/dev/a")).toEqual({ kind: "block", size: 8192 });
  expect((await (await device.nodes.open("/dev/a", "read")).read(2999, 2)).join()).toBe("7,0");
  expect(await (await device.nodes.open("/dev/n", "read")).isBad?.(131072)).toBe(true);
  const { name, size, availableBytes } = (await device.ubi.info("/dev/ubi0_2")) ?? {};
  expect([name, size, availableBytes]).toEqual(["vol", 5000, 1000]);
  expect((await device.ubi.open("/dev/ubi0_2")).size).toBe(6);
  expect((await device.ubi.info("/dev/ubi0_3"))?.size).toBe(6000);
  expect((await device.ubi.open("/dev/ubi0_3")).size).toBe(0);
  expect([await device.files.list("/"), await device.files.list("/etc")]).toEqual([
    ["etc", "system"],
    ["conf", "link"],
  ]);
  expect((await device.files.stat("/etc/conf"))?.mode).toBe(0o4711);
  expect(await device.files.readLink("/etc/link")).toBe("conf");
  expect(await device.files.list("/system")).toEqual(["build.prop"]);
  expect(await device.files.space("/system")).toEqual({ freeBytes: 4096, volatile: false });
  expect(await device.mounts.list()).toEqual([{ at: "/system", node: "/dev/s", fsType: "ext4", readOnly: false }]);
  expect(await device.properties.get("ro.x")).toBe("1");
  await expect(copyToSimulation(opened, { maxBytes: 1000 })).rejects.toSatisfy((e) =>
    isOtaError(e, "DEVICE_TOO_SMALL"),
  );
});
