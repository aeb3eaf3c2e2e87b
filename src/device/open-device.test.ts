import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { equalBytes, isAllByte, isOtaError } from "../core/index.ts";
import type { ByteStream } from "../core/index.ts";
import { acquireLock, openDevice, openJournal } from "./index.ts";
import type { OpenDeviceOptions, OpenedDevice } from "./index.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function scratch(description: object, files: Record<string, string | Uint8Array> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-device-"));
  folders.push(folder);
  for (const name of ["root", "system"]) mkdirSync(join(folder, name));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  writeFileSync(join(folder, "DEVICE.json"), JSON.stringify(description));
  return folder;
}

const openIn = (folder: string, options?: OpenDeviceOptions): Promise<OpenedDevice> =>
  openDevice(join(folder, "DEVICE.json"), options);

const bytes = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value);
async function* once(...parts: Uint8Array[]): ByteStream {
  yield* parts;
}
const code = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "ok",
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );

describe("an image device", () => {
  test("block nodes are files, made when they are missing, never larger than the node", async () => {
    const folder = scratch(
      { nodes: { "/dev/a": { file: "a.img", kind: "block" }, "/dev/b": { file: "b.img", kind: "block", size: 4096 } } },
      { "a.img": bytes(1000, 1) },
    );
    const device = await openIn(folder);
    expect(await device.nodes.info("/dev/a")).toEqual({ kind: "block", size: 1000 });
    expect(await device.nodes.info("/dev/c")).toBeUndefined();
    const a = await device.nodes.open("/dev/a", "write");
    await a.write(10, bytes(990, 2));
    await a.flush();
    expect(await code(a.write(10, bytes(991, 2)))).toBe("DEVICE_TOO_SMALL");
    await a.close();
    expect(readFileSync(join(folder, "a.img"))[10]).toBe(2);
    const b = await device.nodes.open("/dev/b", "read");
    expect(isAllByte(await b.read(0, 4096), 0)).toBe(true);
    expect(await code(b.write(0, bytes(1, 1)))).not.toBe("ok");
    await b.close();
    expect(await code(device.nodes.open("/dev/c", "read"))).toBe("DEVICE_NOT_FOUND");
    truncateSync(join(folder, "b.img"), 5000);
    expect(await code(device.nodes.open("/dev/b", "read"))).toBe("DEVICE_DESCRIPTION");
  });

  test("NAND has bad blocks, pages and erase-before-write; marked blocks are remembered", async () => {
    const folder = scratch({
      nodes: { "/dev/mtd7": { file: "nand.img", kind: "nand", size: 4 * 131072, badBlocks: [1] } },
    });
    const node = await (await openIn(folder)).nodes.open("/dev/mtd7", "write");
    await node.write(0, bytes(2048, 1));
    expect(await code(node.write(0, bytes(2048, 2)))).toBe("DEVICE_NOT_ERASED");
    expect(await code(node.write(4096, bytes(100, 2)))).toBe("DEVICE_NOT_ERASED");
    expect(await code(node.write(131072, bytes(2048, 2)))).toBe("DEVICE_BAD_BLOCK");
    expect(await code(node.erase?.(0, 2 * 131072) as Promise<void>)).toBe("DEVICE_BAD_BLOCK");
    await node.erase?.(0, 131072);
    await node.write(0, bytes(4096, 2));
    expect(await node.isBad?.(131072)).toBe(true);
    await node.markBad?.(2 * 131072 + 5);
    await node.close();
    const again = await (await openIn(folder)).nodes.open("/dev/mtd7", "read");
    expect([await again.isBad?.(2 * 131072), await again.isBad?.(3 * 131072)]).toEqual([true, false]);
    expect((await again.read(0, 4097)).subarray(4094).join()).toBe("2,2,255");
    await again.close();
  });

  test("UBI volumes follow the kernel's update marker, across runs", async () => {
    const folder = scratch(
      { ubiFreeBytes: 5000, nodes: { "/dev/ubi0_1": { file: "v.ubifs", kind: "ubi", size: 4096, name: "rootfs" } } },
      { "v.ubifs": bytes(100, 1) },
    );
    const device = await openIn(folder);
    expect(await device.ubi.info("/dev/ubi0_1")).toEqual({
      name: "rootfs",
      volumeId: 1,
      size: 4096,
      type: "dynamic",
      updating: false,
      availableBytes: 5000,
    });
    expect(await code(device.ubi.update("/dev/ubi0_1", 4097, once()))).toBe("DEVICE_TOO_SMALL");
    expect(await code(device.ubi.update("/dev/ubi0_1", 60, once(bytes(50, 2))))).toBe("DEVICE_IO");
    const later = await openIn(folder);
    expect(await code(later.ubi.open("/dev/ubi0_1"))).toBe("DEVICE_VOLUME_DAMAGED");
    await later.ubi.update("/dev/ubi0_1", 60, once(bytes(50, 2), bytes(10, 3)));
    const second = await later.ubi.create("/dev/ubi0_1", "new", 3000);
    await later.ubi.update(second, 3, once(bytes(3, 7)));
    await later.ubi.swapNames(second, "/dev/ubi0_1");
    const last = await openIn(folder);
    expect((await last.ubi.info(second))?.name).toBe("rootfs");
    expect((await last.ubi.info(second))?.availableBytes).toBe(2000);
    expect((await last.nodes.info(second))?.kind).toBe("ubi");
    const volume = await last.ubi.open(second);
    expect((await volume.read(0, 3)).join()).toBe("7,7,7");
    await volume.close();
    await last.ubi.remove(second);
    expect(await (await openIn(folder)).ubi.info(second)).toBeUndefined();
    expect(readFileSync(join(folder, "v.ubifs")).length).toBe(60);
  });

  test("mounts are folders; a mounted node is busy; android starts with nothing mounted", async () => {
    const mounts = { "/system": { dir: "system", node: "/dev/by-name/system" } };
    const nodes = { "/dev/by-name/system": { file: "s.img", kind: "block", size: 512 } };
    const running = await openIn(scratch({ root: "root", mounts, nodes }));
    expect((await running.mounts.list()).map(({ at }) => at)).toEqual(["/system"]);
    expect(await code(running.nodes.open("/dev/by-name/system", "write"))).toBe("DEVICE_BUSY");
    await running.mounts.unmount("/system");
    expect(await code(running.nodes.open("/dev/by-name/system", "write").then((n) => n.close()))).toBe("ok");
    const folder = scratch({ family: "android", root: "root", mounts, nodes });
    const recovery = await openIn(folder);
    expect(await recovery.mounts.list()).toEqual([]);
    await recovery.mounts.mount("/dev/by-name/system", "/system", { fsType: "ext4" });
    expect(await code(recovery.mounts.mount("/dev/x", "/data", { fsType: "ext4" }))).toBe("DEVICE_NOT_FOUND");
    await (await recovery.files.open("/system/a", "create")).close();
    expect(readFileSync(join(folder, "system/a")).length).toBe(0);
  });

  test("scripts are noted, and run only when asked, with their variables and on standard input", async () => {
    const folder = scratch({ root: "root" });
    const text = new TextEncoder().encode('echo "$OTA_STATUS" "$OTA_X" > out; exit 3\n');
    const script = { name: "begin script", text, variables: { OTA_STATUS: "0", OTA_X: "a'b\"; $(id)" } };
    expect(await (await openIn(folder)).scripts.run(script)).toEqual({ ran: false, exitCode: 0 });
    expect(await (await openIn(folder, { runScripts: true })).scripts.run(script)).toEqual({ ran: true, exitCode: 3 });
    expect(readFileSync(join(folder, "root/out"), "utf8")).toBe(`0 a'b"; $(id)\n`);
    const wrong = { ...script, variables: { "a b": "1" } };
    expect(await code((await openIn(folder)).scripts.run(wrong))).toBe("USAGE");
  });

  test("state lies beside the description, the lock keeps a second run out", async () => {
    const folder = scratch({ root: "root", hardware: "h", running: "a" });
    const device = await openIn(folder, { running: "b" });
    expect([device.hardware, device.running, await device.bootId()]).toEqual(["h", "b", undefined]);
    const lock = await acquireLock(device, "otaforge install x");
    expect(await code(acquireLock(device, "second"))).toBe("DEVICE_LOCKED");
    await openJournal(device.state, "install").save({ step: 1 });
    expect(readFileSync(join(folder, ".otaforge/install.0"), "utf8")).toContain('{"step":1}');
    await lock.release();
    expect(await device.state.list("/")).toEqual(["install.0", "install.1"]);
  });

  test("a card is one node, whatever the file is called", async () => {
    const device = await openIn(scratch({ family: "k230", card: "card.img" }, { "card.img": bytes(2048, 5) }));
    const card = await device.nodes.open("/dev/card", "write");
    await card.write(512, bytes(512, 6));
    expect(equalBytes(await card.read(511, 2), Uint8Array.of(5, 6))).toBe(true);
    await card.close();
  });
});

describe("the board", () => {
  test("has this machine's files, mounts and boot id", async () => {
    const folder = scratch({ kind: "board", state: "state", properties: { "ro.x": "1" } });
    const board = await openIn(folder);
    expect(board.kind).toBe("board");
    expect((await board.files.stat("/proc"))?.kind).toBe("folder");
    expect((await board.mounts.list()).some(({ at }) => at === "/")).toBe(true);
    expect(await board.bootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect([await board.properties.get("ro.x"), await board.properties.get("ro.y")]).toEqual(["1", undefined]);
    const path = join(folder, "boot.img");
    writeFileSync(path, bytes(100, 1));
    const node = await board.nodes.open(path, "write");
    await node.write(0, bytes(100, 2));
    await node.flush();
    await node.close();
    expect(isAllByte(readFileSync(path), 2)).toBe(true);
    expect(await board.nodes.info("/dev/null")).toBeUndefined();
    expect((await board.files.space(folder)).freeBytes).toBeGreaterThan(0);
  });
});
