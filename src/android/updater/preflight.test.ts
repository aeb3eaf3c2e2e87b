import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { collectRun, makePackage, sha1 } from "../../../test/support/android-device.ts";
import { blockSpec, BY_NAME, entryOf, installedSpec, vectorReader } from "../../../test/support/android-install.ts";
import type { SimulatedFileSystem, SimulatedSpec } from "../../device/index.ts";
import { createSimulatedDevice } from "../../device/index.ts";

const OLD = "ota44/basic/old-target_files.zip";
const PACKAGE = "ota44/basic/incr/unsigned.zip";
/** What the boot partition's patch keeps on the cache, bytes; the packages' files are smaller. */
const BOOT = 26_624;

type Cache = Partial<SimulatedFileSystem> | undefined;

/** The recorded device with another cache; undefined: with none. */
async function withCache(cache: Cache, files: SimulatedSpec["files"] = {}): Promise<SimulatedSpec> {
  const spec = await installedSpec(OLD);
  const { "/cache": usual, ...fileSystems } = spec.fileSystems ?? {};
  return {
    ...spec,
    files: { ...spec.files, ...files },
    fileSystems: cache === undefined ? fileSystems : { ...fileSystems, "/cache": { ...usual, ...cache } },
  };
}

const run = (device: ReturnType<typeof createSimulatedDevice>, profile: "safe" | "vendor" = "safe") =>
  collectRun({ device, package: vectorReader(PACKAGE), era: "4.4", profile });

describe("a cache that cannot keep a partition's old content", () => {
  it.each([
    ["missing", undefined, /no \/cache/],
    ["read-only", { readOnly: true }, /\/cache is read-only/],
    ["too small", { capacityBytes: 6 * 4096 }, new RegExp(`/cache needs ${BOOT} bytes, 24576 are free`)],
  ] as const)("%s: refused before the first write", async (_what, cache, reason) => {
    const device = createSimulatedDevice(await withCache(cache));
    const got = await run(device);
    expect(got.exitCode).toBe(7);
    expect(got.preflight?.join("\n")).toMatch(reason);
    expect(device.writes).toBe(0);
  });

  it("full of what may be deleted: emptied and used", async () => {
    const content = new Uint8Array(24 * 1024);
    const device = createSimulatedDevice(
      await withCache({ capacityBytes: 8 * 4096 }, { "/cache/old.log": { content } }),
    );
    expect((await run(device)).exitCode).toBe(0);
    expect(await device.files.list("/cache")).not.toContain("old.log");
  });

  it("full of the copy that a patched file's run left behind: the run goes on", async () => {
    const content = await entryOf(vectorReader(OLD), "SYSTEM/bin/toolbox");
    const capacityBytes = Math.ceil(BOOT / 4096) * 4096 + 4096;
    const device = createSimulatedDevice(await withCache({ capacityBytes }, { "/cache/saved.file": { content } }));
    expect((await run(device)).exitCode).toBe(0);
  });

  it("is no reason to refuse a partition that is patched already", async () => {
    const spec = await withCache({ readOnly: true });
    const boot = await entryOf(vectorReader("ota44/basic/new-target_files.zip"), "BOOTABLE_IMAGES/boot.img").catch(() =>
      entryOf(vectorReader("ota44/basic/new-target_files.zip"), "IMAGES/boot.img"),
    );
    const node = Object.keys(spec.nodes ?? {}).find((path) => path.endsWith("/boot")) ?? `${BY_NAME}/boot`;
    const device = createSimulatedDevice({
      ...spec,
      nodes: { ...spec.nodes, [node]: { kind: "block", size: 8 << 20, content: boot } },
    });
    expect((await run(device)).preflight ?? []).not.toContain("/cache is read-only");
  });
});

describe("stashes that another package's interrupted run left", () => {
  const folder = createHash("sha1").update(`${BY_NAME}/system`).digest("hex");
  const imageOf = async (device: ReturnType<typeof createSimulatedDevice>): Promise<string> => {
    const node = await device.nodes.open(`${BY_NAME}/system`, "read");
    return sha1(await node.read(0, node.size));
  };

  it.each(["v1", "v2", "v3", "v4"])("%s: are neither believed nor left to fill the cache", async (version) => {
    const spec = await blockSpec(version);
    const go = async (stale: boolean) => {
      const names = [
        ...Array.from({ length: 40 }, (_, i) => `line${i}`),
        ...Array.from({ length: 9 }, (_, i) => `${i}`),
      ];
      const content = new Uint8Array(37 * 4096).fill(7);
      const left = names.map((name) => [`/cache/recovery/${folder}/${name}`, { content }] as const);
      const device = createSimulatedDevice({
        ...spec,
        files: { ...spec.files, ...(stale ? Object.fromEntries(left) : {}) },
        fileSystems: {
          "/cache": { node: `${BY_NAME}/cache`, capacityBytes: left.length * content.length + 20 * 4096 },
        },
      });
      const reader = vectorReader(`block71/${version}/incr/unsigned.zip`);
      const got = await collectRun({ device, package: reader, era: "7.1", profile: "safe" });
      expect(got.exitCode, got.log).toBe(0);
      return imageOf(device);
    };
    expect(await go(true)).toBe(await go(false));
  });
});

describe("a two-step package that updates blocks", () => {
  it.each(["v4/incr-twostep"])("%s: another base is refused before stage 1 writes recovery over boot", async (path) => {
    const spec = await blockSpec(path.slice(0, 2));
    const system = `${BY_NAME}/system`;
    const node = spec.nodes?.[system] as { kind: "block"; content: Uint8Array };
    const run = (content: Uint8Array) => {
      const device = createSimulatedDevice({ ...spec, nodes: { ...spec.nodes, [system]: { ...node, content } } });
      const reader = vectorReader(`block71/${path}/unsigned.zip`);
      return collectRun({ device, package: reader, era: "7.1", profile: "safe" }).then((got) => ({ ...got, device }));
    };
    const other = new Uint8Array(node.content);
    // A block that the package moves.
    other.fill(0x55, 20 * 4096, 21 * 4096);
    const refused = await run(other);
    expect(refused.preflight).toEqual([`${system} is not what the package updates`]);
    expect(refused.device.writes).toBe(0);
    const good = await run(node.content);
    expect(good.reboot, good.log).toBeDefined();
  });
});

describe("a file system that cannot be written", () => {
  it.each(["incr", "twostep-incr"])("%s: refused before the first write", async (name) => {
    const spec = await installedSpec(OLD);
    const { "/system": system, ...others } = spec.fileSystems ?? {};
    const device = createSimulatedDevice({
      ...spec,
      fileSystems: { ...others, "/system": { ...system, readOnly: true } },
    });
    const reader = vectorReader(`ota44/basic/${name}/unsigned.zip`);
    const got = await collectRun({ device, package: reader, era: "4.4", profile: "safe" });
    expect(got.preflight?.join("\n"), got.log).toMatch(/the file system on .* is read-only/);
    expect(device.writes).toBe(0);
  });

  it("is no reason to refuse a script that only reads it", async () => {
    const device = createSimulatedDevice({
      nodes: { "/dev/x": { kind: "block", size: 4096 } },
      fileSystems: { "/system": { node: "/dev/s", mounted: false, readOnly: true } },
    });
    const script = `mount("ext4", "EMMC", "/dev/s", "/system"); package_extract_file("x", "/dev/x");`;
    const got = await collectRun({
      device,
      package: await makePackage(script, { x: "new" }),
      era: "4.4",
      profile: "safe",
    });
    expect(got.exitCode, got.log).toBe(0);
  });
});
