import { describe, expect, it } from "vitest";
import { makePackage, readFile } from "../../../test/support/android-device.ts";
import { install, smallDevice, SYSTEM } from "../../../test/support/android-attacks.ts";
import { BY_NAME, installedDevice, vectorReader } from "../../../test/support/android-install.ts";
import type { OtaError } from "../../core/errors.ts";
import type { SimulatedDevice } from "../../device/index.ts";

const MOUNT = `mount("ext4", "EMMC", "${SYSTEM}", "/system");`;
const meta = { "META-INF/com/android/metadata": "post-build=new\n" };

describe("what is found out before the first change", () => {
  const cases: [string, string, RegExp][] = [
    [
      "an entry that is not there",
      'package_extract_file("nothing.img", "/dev/block/by-name/boot");',
      /lacks nothing.img/,
    ],
    ["a node that is not there", 'package_extract_file("boot.img", "/dev/block/by-name/other");', /no .*other/],
    ["a node that is too small", 'package_extract_file("large.img", "/dev/block/by-name/boot");', /room for 65536/],
    ["a file system that is not there", 'format("ext4", "EMMC", "/dev/block/none", "0", "/data");', /none/],
    ["flash that is not there", 'write_raw_image(package_extract_file("boot.img"), "radio");', /radio/],
    ["a list for no device", 'block_image_update("/dev/x", package_extract_file("l"), "n", "p");', /\/dev\/x/],
  ];
  it.each(cases)("%s", async (_what, statement, expected) => {
    const device = smallDevice();
    const script = `${MOUNT}\ndelete("/system/bin/old");\n${statement}\n`;
    const reader = await makePackage(script, { "boot.img": "boot", "large.img": new Uint8Array(70000), ...meta });
    await expect(install(device, reader)).rejects.toMatchObject({
      code: "ANDROID_PREFLIGHT",
      message: expect.stringMatching(expected) as string,
    });
    expect(device.targetWrites).toBe(0);
  });

  it("room for what is unpacked, with what is replaced and deleted given back", async () => {
    const spec = {
      fileSystems: {
        "/system": { node: SYSTEM, mounted: false, capacityBytes: 100_000 },
        "/cache": { node: "/dev/block/by-name/cache" },
      },
      files: { "/system/bin/old": new Uint8Array(60_000), "/cache/recovery": { kind: "folder" as const } },
    };
    const content = { "system/bin/new": new Uint8Array(80_000), ...meta };
    const unpack = 'package_extract_dir("system", "/system");';
    const full = smallDevice(spec);
    await expect(install(full, await makePackage(`${MOUNT} ${unpack}`, content))).rejects.toMatchObject({
      code: "ANDROID_PREFLIGHT",
    });
    expect(full.targetWrites).toBe(0);
    const device = smallDevice(spec);
    await install(device, await makePackage(`${MOUNT} delete("/system/bin/old"); ${unpack}`, content));
    expect((await readFile(device, "/system/bin/new")).length).toBe(80_000);
  });

  it("a weak battery", async () => {
    const reader = await makePackage(MOUNT);
    for (const [percent, charging, good] of [
      [19, false, false],
      [19, true, true],
      [14, true, false],
      [20, false, true],
    ] as const) {
      const run = install(smallDevice(), reader, { battery: { percent, charging } });
      if (good) await run;
      else await expect(run).rejects.toMatchObject({ code: "ANDROID_BATTERY" });
    }
  });
});

describe("failures a script of 4.4 does not look at", () => {
  it("stop it in the safe profile, with the medium's own error", async () => {
    const script = `${MOUNT} package_extract_dir("system", "/system"); unmount("/system");`;
    const reader = await makePackage(script, { "system/bin/new": "new", ...meta });
    const whole = smallDevice();
    await install(whole, reader);
    for (let write = 0; write < whole.log.length; write++) {
      const device = smallDevice();
      device.failWrite(write, { code: "DEVICE_IO", lasting: false });
      const ended = await install(device, reader).then(
        () => "installed",
        (e: unknown) => (e as { code: string }).code,
      );
      if (ended === "installed") expect(Buffer.from(await readFile(device, "/system/bin/new")).toString()).toBe("new");
      else expect(ended).toBe("DEVICE_IO");
    }
  });
});

describe("a script that stopped", () => {
  const ended = async (device: SimulatedDevice, script: string): Promise<OtaError> => {
    const reader = await makePackage(script, { "system/bin/new": "new", ...meta });
    return install(device, reader).then(
      () => expect.unreachable(),
      (e: unknown) => e as OtaError,
    );
  };

  it("says that nothing was written when nothing was, and that something was when it was", async () => {
    const refused = await ended(smallDevice(), `${MOUNT} abort("E1000: unexpected contents.");`);
    expect(refused.message).toMatch(/found E1000: unexpected contents\. Nothing was written: /);
    const half = await ended(smallDevice(), `${MOUNT} delete("/system/bin/old"); abort("no");`);
    expect(half.message).toMatch(/found no\. The device may be partly updated\. /);
    const cacheAlone = await ended(
      smallDevice(),
      `package_extract_file("system/bin/new", "/cache/recovery/x"); abort("no");`,
    );
    expect(cacheAlone.message).toContain("Nothing was written: ");
  });

  it("says what stopped it, whatever the script does not say", async () => {
    const found = async (script: string): Promise<string | undefined> =>
      (await ended(smallDevice(), script)).details.found as string | undefined;
    expect(await found('abort("");')).toBe("an abort without a message");
    expect(await found('format("vfat", "EMMC", "/dev/block/by-name/system", "0", "/system");')).toBe(
      'format: unsupported fs_type "vfat" partition_type "EMMC"',
    );
    expect(await found('ui_print("a" "b");')).toMatch(/^line 1 col \d+: syntax error/);
    expect(await found('mount("ext4", "EMMC", "/dev/none", "/mnt");')).toBe('mount of "/dev/none" failed');
  });

  it("shows what the log said last", async () => {
    const spec = {
      nodes: { "/dev/block/by-name/x": { kind: "block" as const, size: 65536 } },
      fileSystems: { "/cache": { node: "/dev/block/by-name/cache", capacityBytes: 4096 } },
    };
    const script = `block_image_update("/dev/block/by-name/x", package_extract_file("list"), "new", "patch") || abort("E1001: no");`;
    const list = "1\n3\nbsdiff 0 10 2,0,3 2,4,7\n";
    const notes: string[] = [];
    const progress = { progress: () => undefined, note: (_: string, text: string) => void notes.push(text) };
    const reader = await makePackage(script, { list, new: "", patch: "no patch..", ...meta });
    await expect(install(smallDevice(spec), reader, { progress })).rejects.toMatchObject({
      details: { found: "E1001: no" },
    });
    expect(notes).toContainEqual(expect.stringMatching(/^updater: Failed to apply bsdiff patch\. ./));
    expect(notes.filter((note) => note.includes("E1001"))).toEqual(["E1001: no"]);
  });

  it("says so of the medium's failure, too", async () => {
    const unpack = `${MOUNT} package_extract_dir("system", "/system"); unmount("/system");`;
    const whole = smallDevice();
    await install(whole, await makePackage(unpack, { "system/bin/new": "new", ...meta }));
    const device = smallDevice();
    device.failWrite(whole.log.length - 1, { code: "DEVICE_IO", lasting: true });
    expect((await ended(device, unpack)).message).toContain("The device may be partly updated. ");
  });
});

describe("two-step packages", () => {
  it("run through their restarts on an image, and a board is asked to restart", async () => {
    const reader = vectorReader("ota44/basic/twostep-incr/unsigned.zip");
    const nodeOf = (at: string): string | undefined => (at === "/cache" ? `${BY_NAME}/cache` : undefined);
    const device = await installedDevice("ota44/basic/old-target_files.zip");
    expect(await install(device, reader, { nodeOf })).toMatchObject({ outcome: "installed", restarts: 2 });
  });
});
