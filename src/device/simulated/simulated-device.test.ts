import { describe, expect, test } from "vitest";
import { concatBytes, equalBytes, isAllByte, isOtaError } from "../../core/index.ts";
import type { ByteStream } from "../../core/index.ts";
import { createSimulatedDevice } from "../index.ts";
import type { SimulatedDevice } from "./index.ts";

const bytes = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value);

async function code(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );
}

async function* once(...parts: Uint8Array[]): ByteStream {
  yield* parts;
}

const readNode = async (device: SimulatedDevice, path: string): Promise<Uint8Array> => {
  const node = await device.nodes.open(path, "read");
  return node.read(0, node.size);
};

const text = async (device: SimulatedDevice, path: string): Promise<string | undefined> => {
  if ((await device.files.stat(path)) === undefined) return undefined;
  const file = await device.files.open(path, "read");
  return new TextDecoder().decode(await file.read(0, file.size));
};

const put = async (device: SimulatedDevice, path: string, content: string): Promise<void> => {
  const file = await device.files.open(path, "create");
  await file.write(0, new TextEncoder().encode(content));
  await file.close();
};

describe("a block node", () => {
  const make = (): SimulatedDevice => createSimulatedDevice({ nodes: { "/dev/a": { kind: "block", size: 8192 } } });

  test("loses what was not flushed and keeps what was", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/a", "write");
    await node.write(0, bytes(512, 1));
    await node.flush();
    await node.write(512, bytes(512, 2));
    expect((await node.read(0, 1024))[1023]).toBe(2);
    const after = await readNode(device.restart(), "/dev/a");
    expect([after[0], after[512]]).toEqual([1, 0]);
  });

  test("a torn write leaves whole sectors, old or new", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const device = make();
      const node = await device.nodes.open("/dev/a", "write");
      device.cutPower({ write: 0, phase: "torn", unflushed: "some", seed });
      expect(await code(node.write(0, bytes(4096, 7)))).toBe("DEVICE_POWER_CUT");
      expect(await code(node.read(0, 1))).toBe("DEVICE_POWER_CUT");
      expect(await code(device.files.stat("/"))).toBe("DEVICE_POWER_CUT");
      const after = await readNode(device.restart(), "/dev/a");
      const sectors = Array.from({ length: 8 }, (_, i) => after.subarray(i * 512, i * 512 + 512));
      for (const sector of sectors) expect(isAllByte(sector, 0) || isAllByte(sector, 7)).toBe(true);
      seen.add(sectors.map((s) => s[0]).join(""));
    }
    expect(seen.size).toBeGreaterThan(20);
  });

  test("unflushed writes come back in any order", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const device = make();
      const node = await device.nodes.open("/dev/a", "write");
      await node.write(0, bytes(512, 1));
      await node.write(512, bytes(512, 2));
      device.cutPower({ write: 0, phase: "after", unflushed: "some", seed });
      expect(await code(node.write(1024, bytes(512, 3)))).toBe("DEVICE_POWER_CUT");
      const after = await readNode(device.restart(), "/dev/a");
      seen.add([after[0], after[512], after[1024]].join(""));
    }
    // The last write may stay although the first is lost.
    expect([...seen].sort()).toEqual(["000", "003", "020", "023", "100", "103", "120", "123"]);
  });

  test("kept and dropped are what they say", async () => {
    for (const unflushed of ["kept", "dropped"] as const) {
      const device = make();
      const node = await device.nodes.open("/dev/a", "write");
      device.cutPower({ write: 1, phase: "after", unflushed, seed: 1 });
      expect(await code(node.write(0, bytes(8192, 9)))).toBe("DEVICE_POWER_CUT");
      expect(isAllByte(await readNode(device.restart(), "/dev/a"), unflushed === "kept" ? 9 : 0)).toBe(true);
    }
  });

  test("refuses a write past its end and an unknown node", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/a", "write");
    expect(await code(node.write(8000, bytes(512, 1)))).toBe("DEVICE_TOO_SMALL");
    expect(await code(device.nodes.open("/dev/b", "read"))).toBe("DEVICE_NOT_FOUND");
    expect(device.writes).toBe(0);
  });

  test("a fork and its origin do not see each other's writes", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/a", "write");
    await node.write(100, bytes(10, 1));
    const twin = device.fork();
    const other = await twin.nodes.open("/dev/a", "write");
    await other.write(105, bytes(10, 2));
    await node.write(95, bytes(6, 3));
    expect((await node.read(94, 22)).join("")).toBe("0333333111111111000000");
    expect((await other.read(94, 22)).join("")).toBe("0000000111112222222222".slice(1) + "0");
  });

  test("faults hit the write they were meant for, lasting ones all later ones", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/a", "write");
    device.failWrite(1, { code: "DEVICE_IO", lasting: false });
    await node.write(0, bytes(512, 1));
    expect(await code(node.flush())).toBe("DEVICE_IO");
    await node.flush();
    device.failWrite(0, { code: "DEVICE_NO_SPACE", lasting: true });
    expect(await code(node.write(0, bytes(512, 1)))).toBe("DEVICE_NO_SPACE");
    expect(await code(node.write(0, bytes(512, 1)))).toBe("DEVICE_NO_SPACE");
    device.failReads("/dev/a");
    expect(await code(node.read(0, 1))).toBe("DEVICE_IO");
  });
});

describe("raw NAND", () => {
  const make = (): SimulatedDevice =>
    createSimulatedDevice({ nodes: { "/dev/mtd0": { kind: "nand", size: 4 * 131072, badBlocks: [2] } } });

  test("is written once an erase, in pages, and not on bad blocks", async () => {
    const node = await make().nodes.open("/dev/mtd0", "write");
    await node.write(0, bytes(2048, 1));
    expect(await code(node.write(0, bytes(2048, 2)))).toBe("DEVICE_NOT_ERASED");
    expect(await code(node.write(2048, bytes(100, 2)))).toBe("DEVICE_NOT_ERASED");
    await node.erase?.(0, 131072);
    await node.write(0, bytes(2048, 2));
    expect((await node.read(0, 1))[0]).toBe(2);
    expect(await node.isBad?.(2 * 131072)).toBe(true);
    expect(await code(node.erase?.(2 * 131072, 131072) as Promise<void>)).toBe("DEVICE_BAD_BLOCK");
    expect(await code(node.write(2 * 131072, bytes(2048, 2)))).toBe("DEVICE_BAD_BLOCK");
    await node.markBad?.(131072);
    expect(await node.isBad?.(131072 + 5)).toBe(true);
  });

  test("a cut inside a page leaves it unreadable until its block is erased", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/mtd0", "write");
    device.cutPower({ write: 0, phase: "torn", unflushed: "some", seed: 3 });
    expect(await code(node.write(0, bytes(2048, 1)))).toBe("DEVICE_POWER_CUT");
    const again = await device.restart().nodes.open("/dev/mtd0", "write");
    expect(await code(again.read(0, 2048))).toBe("DEVICE_IO");
    await again.erase?.(0, 131072);
    expect(isAllByte(await again.read(0, 2048), 0xff)).toBe(true);
  });

  test("a cut inside an erase leaves a block that must be erased again", async () => {
    const device = make();
    const node = await device.nodes.open("/dev/mtd0", "write");
    await node.write(0, bytes(131072, 5));
    device.cutPower({ write: 0, phase: "torn", unflushed: "some", seed: 3 });
    expect(await code(node.erase?.(0, 131072) as Promise<void>)).toBe("DEVICE_POWER_CUT");
    const again = await device.restart().nodes.open("/dev/mtd0", "write");
    expect(await code(again.write(0, bytes(2048, 2)))).toBe("DEVICE_NOT_ERASED");
    await again.erase?.(0, 131072);
    await again.write(0, bytes(2048, 2));
  });
});

describe("UBI volumes", () => {
  const make = (): SimulatedDevice =>
    createSimulatedDevice({
      ubi: { "/dev/ubi0_1": { name: "rootfs", size: 100_000, content: bytes(50_000, 1) } },
      ubiFreeBytes: 100_000,
    });

  test("an update cut anywhere leaves the volume unreadable until a whole one was written", async () => {
    for (let write = 0; write < 6; write++) {
      const device = make();
      device.cutPower({ write, phase: "after", unflushed: "kept", seed: 1 });
      const outcome = await code(device.ubi.update("/dev/ubi0_1", 60_000, once(bytes(60_000, 2))));
      const after = device.restart();
      const state = await code(after.ubi.open("/dev/ubi0_1"));
      const updating = (await after.ubi.info("/dev/ubi0_1"))?.updating;
      expect([outcome, state, updating]).toEqual(
        write < 5 ? ["DEVICE_POWER_CUT", "DEVICE_VOLUME_DAMAGED", true] : ["DEVICE_POWER_CUT", "ok", false],
      );
      await after.ubi.update("/dev/ubi0_1", 60_000, once(bytes(60_000, 2)));
      const volume = await after.ubi.open("/dev/ubi0_1");
      expect(isAllByte(await volume.read(0, volume.size), 2)).toBe(true);
    }
  });

  test("content of another size than announced leaves the volume damaged", async () => {
    for (const length of [10, 30]) {
      const device = make();
      expect(await code(device.ubi.update("/dev/ubi0_1", 20, once(bytes(length, 2))))).toBe("DEVICE_IO");
      expect(await code(device.ubi.open("/dev/ubi0_1"))).toBe("DEVICE_VOLUME_DAMAGED");
    }
  });

  test("a second volume is made, filled and takes over the name", async () => {
    const device = make();
    const path = await device.ubi.create("/dev/ubi0_1", "rootfs_new", 80_000);
    await device.ubi.update(path, 4, once(bytes(4, 9)));
    await device.ubi.swapNames("/dev/ubi0_1", path);
    const after = device.restart();
    expect([(await after.ubi.info("/dev/ubi0_1"))?.name, (await after.ubi.info(path))?.name]).toEqual([
      "rootfs_new",
      "rootfs",
    ]);
    expect((await after.ubi.info(path))?.availableBytes).toBe(20_000);
    expect(await code(after.ubi.create(path, "third", 20_001))).toBe("DEVICE_NO_SPACE");
    expect((await after.nodes.info(path))?.kind).toBe("ubi");
    await after.ubi.remove("/dev/ubi0_1");
    expect(await after.ubi.info("/dev/ubi0_1")).toBeUndefined();
  });

  test("refuses content larger than the volume before the old content is lost", async () => {
    const device = make();
    expect(await code(device.ubi.update("/dev/ubi0_1", 100_001, once()))).toBe("DEVICE_TOO_SMALL");
    expect(await code(device.ubi.open("/dev/ubi0_1"))).toBe("ok");
  });
});

describe("files", () => {
  test("data needs a sync of the file, names one of the folder", async () => {
    const device = createSimulatedDevice({ files: { "/a": "old" } });
    const file = await device.files.open("/a", "update");
    await file.write(0, new TextEncoder().encode("new"));
    expect(await text(device.restart(), "/a")).toBe("old");
    await file.sync();
    expect(await text(device.restart(), "/a")).toBe("new");
    await put(device, "/b", "content");
    expect(await text(device.restart(), "/b")).toBeUndefined();
    await device.files.syncFolder("/");
    // The name is there now, the content was never synced.
    expect(await text(device.restart(), "/b")).toBe("");
  });

  test("the classic write, sync, rename, sync of the folder is old or new at every cut", async () => {
    const outcomes = new Set<string | undefined>();
    for (let write = 0; write < 6; write++) {
      for (let seed = 0; seed < 30; seed++) {
        const device = createSimulatedDevice({ files: { "/etc/conf": "old content" } });
        device.cutPower({ write, phase: seed % 2 ? "torn" : "after", unflushed: "some", seed });
        await (async () => {
          const file = await device.files.open("/etc/conf.new", "create");
          await file.write(0, new TextEncoder().encode("new content"));
          await file.sync();
          await device.files.rename("/etc/conf.new", "/etc/conf");
          await device.files.syncFolder("/etc");
        })().catch(() => undefined);
        outcomes.add(await text(device.restart(), "/etc/conf"));
      }
    }
    expect([...outcomes].sort()).toEqual(["new content", "old content"]);
  });

  test("a rename without a sync of the content can leave an empty or mixed file", async () => {
    const outcomes = new Set<string | undefined>();
    for (let seed = 0; seed < 60; seed++) {
      const device = createSimulatedDevice({ files: { "/conf": "old" } });
      await put(device, "/conf.new", "new");
      await device.files.rename("/conf.new", "/conf");
      device.cutPower({ write: 0, phase: "before", unflushed: "some", seed });
      await device.files.syncFolder("/").catch(() => undefined);
      outcomes.add(await text(device.restart(), "/conf"));
    }
    expect([...outcomes].sort()).toEqual(["", "new", "old"]);
  });

  test("a rename between folders happens in both or in neither", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const device = createSimulatedDevice({ files: { "/x/a": "1", "/y/b": "2" } });
      await device.files.rename("/x/a", "/y/a");
      await put(device, "/x/c", "3");
      device.cutPower({ write: 0, phase: "before", unflushed: "some", seed });
      await device.files.syncFolder("/y").catch(() => undefined);
      const after = device.restart();
      const [x, y] = [await after.files.list("/x"), await after.files.list("/y")];
      expect(x.includes("a")).toBe(!y.includes("a"));
      // Order within a folder is kept: what came after a lost change is lost, too.
      if (x.includes("a")) expect(x).toEqual(["a"]);
    }
  });

  test("links are never followed, parts that are no folders and `..` are refused", async () => {
    const device = createSimulatedDevice({
      files: { "/l": { link: "/d" }, "/d/f": "x", "/f": "y" },
    });
    for (const work of [
      device.files.open("/l/f", "read"),
      device.files.open("/l", "create"),
      device.files.makeFolder("/l/g"),
      device.files.list("/l"),
      device.files.rename("/f", "/l/f"),
    ]) {
      expect(await code(work)).toBe("DEVICE_LINK_REFUSED");
    }
    expect(await code(device.files.open("/f/x", "read"))).toBe("DEVICE_NOT_FOLDER");
    expect(await code(device.files.open("/d/../f", "read"))).toBe("DEVICE_PATH_REFUSED");
    expect(await code(device.files.open("d", "read"))).toBe("DEVICE_PATH_REFUSED");
    expect(await device.files.readLink("/l")).toBe("/d");
    await device.files.remove("/l");
    expect(await device.files.stat("/l")).toBeUndefined();
  });

  test("a full file system refuses to grow and frees what is removed", async () => {
    const device = createSimulatedDevice({
      fileSystems: { "/data": { capacityBytes: 8192 }, "/tmp": { volatile: true } },
      files: { "/data/a": "1" },
    });
    expect((await device.files.space("/data/x")).freeBytes).toBe(4096);
    await put(device, "/data/b", "2");
    expect(await code(put(device, "/data/c", "3"))).toBe("DEVICE_NO_SPACE");
    await device.files.remove("/data/b");
    await put(device, "/data/c", "3");
    expect((await device.files.space("/tmp")).volatile).toBe(true);
    expect(await code(device.files.rename("/data/c", "/tmp/c"))).toBe("DEVICE_OTHER_FILE_SYSTEM");
    await put(device, "/tmp/t", "4");
    const kept = await device.files.open("/tmp/t", "update");
    await kept.sync();
    await device.files.syncFolder("/tmp");
    expect(await device.restart().files.list("/tmp")).toEqual([]);
  });

  test("a mounted node is busy, an unmounted one shows the folder below", async () => {
    const device = createSimulatedDevice({
      nodes: { "/dev/m": { kind: "block", size: 4096 } },
      fileSystems: { "/system": { node: "/dev/m", fsType: "ext4" } },
      files: { "/system/f": "x" },
    });
    expect(await code(device.nodes.open("/dev/m", "write"))).toBe("DEVICE_BUSY");
    await device.mounts.unmount("/system");
    expect(await device.files.list("/system")).toEqual([]);
    expect(await code(device.nodes.open("/dev/m", "write"))).toBe("ok");
    await device.mounts.mount("/dev/m", "/system", { fsType: "ext4" });
    expect(await text(device, "/system/f")).toBe("x");
    expect(await device.mounts.list()).toEqual([{ at: "/system", node: "/dev/m", fsType: "ext4", readOnly: false }]);
  });
});

describe("the rest of the device", () => {
  test("scripts are noted and never run, properties answered, each start is another boot", async () => {
    const device = createSimulatedDevice({ properties: { "ro.x": "1" }, hardware: "h", running: "a" });
    const script = { name: "begin script", text: bytes(3, 65), variables: { OTA_STATUS: "0" } };
    expect(await device.scripts.run(script)).toEqual({ ran: false, exitCode: 0 });
    expect(device.scriptsNoted).toEqual([script]);
    expect([await device.properties.get("ro.x"), await device.properties.get("ro.y")]).toEqual(["1", undefined]);
    expect(await device.bootId()).not.toBe(await device.restart().bootId());
    expect([device.hardware, device.running]).toEqual(["h", "a"]);
  });

  test("a file can be a raw target that keeps its size", async () => {
    const device = createSimulatedDevice({ files: { "/sd/boot.img": bytes(1000, 1) } });
    expect(await device.nodes.info("/sd/boot.img")).toEqual({ kind: "file", size: 1000 });
    const node = await device.nodes.open("/sd/boot.img", "write");
    await node.write(10, bytes(990, 2));
    await node.flush();
    expect(await code(node.write(10, bytes(991, 2)))).toBe("DEVICE_TOO_SMALL");
    const after = await readNode(device.restart(), "/sd/boot.img");
    expect(equalBytes(after, concatBytes(bytes(10, 1), bytes(990, 2)))).toBe(true);
  });
});
