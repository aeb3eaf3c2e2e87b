// Packages of invented builds, installed by our own updater: what is on the device afterwards is the new build.
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { collectRun, readTree } from "../../../test/support/android-device.ts";
import { memoryReader } from "../../core/streams.ts";
import { silentProgress } from "../../core/progress.ts";
import { createZipWriter, memorySink, openZip } from "../../core/zip/index.ts";
import { createPlainMaker } from "../../delta/index.ts";
import {
  createSimulatedDevice,
  nodeCodecs as codecs,
  nodeDigests as digests,
  type SimulatedDevice,
  type SimulatedFile,
} from "../../device/index.ts";
import { REBOOT_EXIT } from "../updater/run.ts";
import { openTargetFiles, type FileMetadata, type FileTree, type TargetFiles } from "../target-files/index.ts";
import { patchMakerOf } from "./delta-patches.ts";
import { makeFull71 } from "./full71.ts";
import { makeIncremental71 } from "./incremental71.ts";
import { makeFull } from "./full.ts";
import { makeIncremental } from "./incremental.ts";
import type { MadePackage } from "./options.ts";
import { writePlan } from "./write-package.ts";

/** A small generator, the same numbers for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let x = (seed * 2654435761) >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x % below;
  };
}

interface Item {
  readonly content?: Buffer;
  readonly link?: string;
}
type Tree = Map<string, Item>;

const NAMES = [
  "app/Foo.apk",
  "app/UPPER.APK",
  "lib/libone.so",
  "lib/sub/libtwo.so",
  "etc/with blank",
  "etc/it's $HOME `x`;",
  'etc/quo"te',
  "etc/ümlaut",
  "etc/a.gz",
  "media/ring.ogg",
  "usr/share/x=y",
  "bin/tool",
  "bin/-dash",
  "xbin/su",
  "framework/core.jar",
  "vendor/deep/er/file.bin",
];

function bytes(random: (below: number) => number, size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, () => random(200)));
}

/** The old tree changed: files edited, moved, removed, new, turned into links and back. */
function change(old: Tree, random: (below: number) => number): Tree {
  const fresh: Tree = new Map();
  for (const [name, item] of old) {
    const what = random(10);
    if (what === 0) continue;
    if (what === 1) fresh.set(name, { link: `target${random(3)}` });
    else if (what === 2) fresh.set(name, { content: bytes(random, 1500) });
    else if (what === 3 && item.content !== undefined) {
      const folder = ["moved", "etc", "brand/new"][random(3)] as string;
      const to = `${folder}/${name.slice(name.lastIndexOf("/") + 1)}`;
      if (!old.has(to)) fresh.set(to, item);
    } else if (what < 7 && item.content !== undefined) {
      const content = Buffer.from(item.content);
      for (let i = 0; i < 20; i++) content[random(content.length)] = random(256);
      fresh.set(name, { content: Buffer.concat([content, bytes(random, random(50))]) });
    } else fresh.set(name, item);
  }
  fresh.set("etc/added file", { content: bytes(random, 300) });
  return fresh;
}

function firstTree(random: (below: number) => number): Tree {
  const tree: Tree = new Map();
  for (const name of NAMES) {
    if (random(8) === 0) tree.set(name, { link: `target${random(3)}` });
    else tree.set(name, { content: bytes(random, 1000 + random(3000)) });
  }
  return tree;
}

interface BuildShape {
  readonly which: "old" | "new";
  readonly fstab: 1 | 2;
  readonly metadata: boolean;
  readonly renames: boolean;
  /** What stands in VENDOR/. */
  readonly vendor?: Tree;
}

const FSTABS = {
  1: "/system ext4 /dev/system\n/data ext4 /dev/data length=-16384\n/cache ext4 /dev/cache\n/boot emmc /dev/boot\n/recovery emmc /dev/recovery\n/sdcard vfat /dev/sd1 /dev/sd\n",
  2: "/dev/system /system ext4 ro wait\n/dev/data /data ext4 rw wait,length=-16384\n/dev/cache /cache ext4 rw wait\n/dev/boot /boot emmc x x\n/dev/recovery /recovery emmc x x\n/dev/misc /misc emmc x x\n/dev/vendor /vendor ext4 ro wait\n/dev/x auto vfat defaults voldmanaged=sd:auto\n",
};

function propText(which: string): string {
  return `# made\nro.product.device=shape\nro.build.fingerprint=acme/${which}\nro.build.version.incremental=${which}\nro.build.date.utc=${which === "old" ? 1000 : 2000}\nro.build.date=${which}\n`;
}

async function build(tree: Tree, shape: BuildShape): Promise<TargetFiles> {
  const sink = memorySink();
  const zip = createZipWriter(sink, { codecs });
  const add = (name: string, content: string | Uint8Array, mode = 0o100644): Promise<unknown> =>
    zip.add({ name, externalAttributes: mode * 65536 }, new Uint8Array(Buffer.from(content)));
  const addTree = async (name: "system" | "vendor", files: Tree): Promise<string[]> => {
    const folder = (path: string): string => `${path} 0 2000 751 selabel=u:object_r:system_file:s0 capabilities=0x0`;
    const config = [`${name} 0 0 755 selabel=u:object_r:system_file:s0 capabilities=0x0`];
    const folders = new Set<string>();
    for (const [path, item] of files) {
      for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) folders.add(path.slice(0, at));
      if (item.link !== undefined) await add(`${name.toUpperCase()}/${path}`, item.link, 0o120777);
      else await add(`${name.toUpperCase()}/${path}`, item.content as Buffer);
      const mode = /bin\//.test(path) ? "755" : "640";
      config.push(`${name}/${path} ${path.length} 2000 ${mode} selabel=u:object_r:l${path.length}:s0 capabilities=0x0`);
    }
    return [...config, ...[...folders].map((f) => folder(`${name}/${f}`)), `${name}/not/there 0 0 644\n`];
  };
  await add("SYSTEM/build.prop", propText(shape.which));
  const config = await addTree("system", tree);
  config.unshift("system/build.prop 0 0 644 selabel=u:object_r:prop:s0 capabilities=0x0");
  await add("META/filesystem_config.txt", config.join("\n"));
  if (shape.vendor !== undefined) {
    await add("META/vendor_filesystem_config.txt", (await addTree("vendor", shape.vendor)).join("\n"));
  }
  await add(
    "META/misc_info.txt",
    `recovery_api_version=3\nfstab_version=${shape.fstab}\nmultistage_support=1\nboot_size=0x100000\n` +
      `${shape.metadata ? "use_set_metadata=1\n" : ""}${shape.renames ? "update_rename_support=1\n" : ""}`,
  );
  await add("RECOVERY/RAMDISK/etc/recovery.fstab", FSTABS[shape.fstab]);
  await add("OTA/bin/updater", "updater");
  for (const image of ["boot", "recovery"]) {
    await add(`BOOTABLE_IMAGES/${image}.img`, `${image} ${shape.which} `.repeat(300));
  }
  await zip.finish();
  return openTargetFiles(
    { zip: await openZip(memoryReader(sink.bytes()), { codecs }) },
    { digests, profile: "safe", note: () => undefined, ...(shape.vendor === undefined ? {} : { era: "7.1" }) },
  );
}

function deviceWith(tree: Tree, which: "old" | "new", vendor: Tree = new Map<string, Item>()): SimulatedDevice {
  const files: Record<string, SimulatedFile> = { "/system/build.prop": { content: Buffer.from(propText(which)) } };
  for (const [mountPoint, contents] of [["/system", tree] as const, ["/vendor", vendor] as const]) {
    for (const [name, { content, link }] of contents) {
      files[`${mountPoint}/${name}`] = link === undefined ? { content: new Uint8Array(content as Buffer) } : { link };
    }
  }
  const image = (name: string): Uint8Array => new Uint8Array(Buffer.from(`${name} ${which} `.repeat(300)));
  const properties = Object.fromEntries(
    propText(which)
      .split("\n")
      .filter((l) => l.includes("="))
      .map((l) => l.split("=") as [string, string]),
  );
  return createSimulatedDevice({
    nodes: {
      "/dev/boot": { kind: "block", size: 1 << 20, content: image("boot") },
      "/dev/recovery": { kind: "block", size: 1 << 20, content: image("recovery") },
      "/dev/misc": { kind: "block", size: 1 << 16 },
    },
    files,
    fileSystems: {
      "/system": { node: "/dev/system", mounted: false, capacityBytes: 8 << 20 },
      "/vendor": { node: "/dev/vendor", mounted: false, capacityBytes: 8 << 20 },
      "/data": { node: "/dev/data", mounted: false, capacityBytes: 8 << 20 },
      "/cache": { node: "/dev/cache", capacityBytes: 8 << 20 },
    },
    properties,
  });
}

/** Runs a package, and again after each restart it asks for: the device afterwards, and how often it restarted. */
async function install(
  made: MadePackage,
  device: SimulatedDevice,
  era: "4.4" | "7.1",
): Promise<{ readonly device: SimulatedDevice; readonly restarts: number }> {
  const sink = memorySink();
  await writePlan(made.plan, sink, { codecs, digests });
  for (let restarts = 0, now = device; ; restarts++, now = now.restart()) {
    const run = await collectRun({ device: now, package: memoryReader(sink.bytes()), era, profile: "safe" });
    if (run.exitCode === REBOOT_EXIT && restarts < 2) continue;
    expect(run.exitCode, `${run.pipe.join("\n")}\n${run.log}\n${made.script}`).toBe(0);
    return { device: now, restarts };
  }
}

/** Everything but what the packages bring for recovery. */
async function compare(
  device: SimulatedDevice,
  fresh: Tree,
  checkOwners: boolean,
  partition: "system" | "vendor" = "system",
): Promise<void> {
  await device.mounts.mount(`/dev/${partition}`, `/${partition}`, { fsType: "ext4" });
  const found = await readTree(device, `/${partition}`, { labels: "text" });
  const expected = new Map([...fresh].map(([name, item]) => [`/${name}`, item]));
  if (partition === "system") expected.set("/build.prop", { content: Buffer.from(propText("new")) });
  for (const [path, item] of expected) {
    const entry = found[path];
    if (item.link !== undefined) expect(entry, path).toMatchObject({ link: item.link });
    else {
      const sha1 = createHash("sha1")
        .update(item.content as Buffer)
        .digest("hex");
      expect(entry?.sha1, path).toBe(sha1);
      if (checkOwners && path !== "/build.prop") {
        const label = checkOwners ? { "security.selinux": `u:object_r:l${path.length - 1}:s0` } : {};
        expect(entry, path).toMatchObject({ uid: path.length - 1, gid: 2000, xattr: label });
      }
    }
  }
  const extra = Object.entries(found)
    .filter(([path, e]) => e.dir === undefined && !expected.has(path) && !/recovery/.test(path))
    .map(([path]) => path);
  expect(extra).toEqual([]);
}

describe("packages of invented builds, installed", () => {
  for (let seed = 1; seed <= 6; seed++) {
    const metadata = seed % 2 === 0;
    // 4.4's set_perm statements are gone in 5.0: builds of 7.1 have set_metadata.
    const era = metadata && seed % 3 === 0 ? "7.1" : "4.4";
    const shape = { fstab: seed % 2 === 0 ? 2 : 1, metadata, renames: seed % 4 !== 1 } as const;
    it(`arrive: seed ${seed}, fstab version ${shape.fstab}, ${era}`, async () => {
      const random = randomOf(seed);
      const old = firstTree(random);
      const fresh = change(old, random);
      const source = await build(old, { which: "old", ...shape });
      const target = await build(fresh, { which: "new", ...shape });
      const options = { digests, patches: patchMakerOf(createPlainMaker(), 1), progress: silentProgress };
      const incremental =
        era === "4.4"
          ? await makeIncremental(source, target, options)
          : await makeIncremental71(source, target, options);
      const device = deviceWith(old, "old");
      await install(incremental, device, era);
      await compare(device, fresh, metadata);
      const full = era === "4.4" ? await makeFull(target, options) : await makeFull71(target, options);
      const other = deviceWith(old, "old");
      await install(full, other, era);
      await compare(other, fresh, metadata);
    });
  }
});

describe("7.1 packages of files with a vendor partition, installed", () => {
  const options = { digests, patches: patchMakerOf(createPlainMaker(), 1), progress: silentProgress };
  const shape = { fstab: 2, metadata: true, renames: true } as const;

  for (let seed = 11; seed <= 16; seed++) {
    it(`arrive: seed ${seed}`, async () => {
      const random = randomOf(seed);
      const [oldSystem, oldVendor] = [firstTree(random), firstTree(random)];
      const [newSystem, newVendor] = [change(oldSystem, random), change(oldVendor, random)];
      const source = await build(oldSystem, { which: "old", ...shape, vendor: oldVendor });
      const target = await build(newSystem, { which: "new", ...shape, vendor: newVendor });
      for (const twoStep of [false, true]) {
        for (const verify of [false, true]) {
          const how = { ...options, twoStep, verify };
          for (const made of [await makeFull71(target, how), await makeIncremental71(source, target, how)]) {
            const { device, restarts } = await install(made, deviceWith(oldSystem, "old", oldVendor), "7.1");
            expect(restarts).toBe(twoStep ? 2 : 0);
            await compare(device, newSystem, true);
            await compare(device, newVendor, true, "vendor");
          }
        }
      }
    });
  }

  it("come in the original's order, and the fraction of the vendor's patches goes on where the system's ended", async () => {
    const random = randomOf(20);
    const file = (): Item => ({ content: bytes(random, 4000) });
    const edited = ({ content }: Item): Item => ({ content: Buffer.concat([content as Buffer, bytes(random, 9)]) });
    const old: Tree = new Map([
      ["lib/a.so", file()],
      ["lib/gone.so", file()],
      ["app/moves.so", file()],
    ]);
    const vendor: Tree = new Map([
      ["lib/b.so", file()],
      ["lib/gone.so", file()],
      ["app/moves.so", file()],
    ]);
    const next = (tree: Tree, name: string): Tree =>
      new Map([
        [name, edited(tree.get(name) as Item)],
        ["etc/new", file()],
        ["lib/moves.so", tree.get("app/moves.so") as Item],
        ["lib/link", { link: "z" }],
        ["lib/other", { link: "a" }],
      ]);
    const source = await build(old, { which: "old", ...shape, vendor });
    const target = await build(next(old, "lib/a.so"), { which: "new", ...shape, vendor: next(vendor, "lib/b.so") });
    const full = await makeFull71(target, { ...options, wipeUserData: true });
    const ofFull = full.script.match(
      /^(show_progress|format|mount|package_extract_\w+|symlink|set_metadata_recursive)\(.*/gm,
    );
    const word = (line: string): string =>
      line
        .replace(/"(ext4|EMMC)", /g, "")
        .split(",")
        .slice(0, 2)
        .join(",");
    expect(ofFull?.map(word).filter((line) => !/_recursive\("\/\w+\//.test(line))).toEqual([
      "show_progress(0.550000, 0);",
      'format("/dev/system", "0"',
      'mount("/dev/system", "/system"',
      'package_extract_dir("recovery", "/system");',
      'package_extract_dir("system", "/system");',
      'symlink("a", "/system/lib/other");',
      'symlink("z", "/system/lib/link");',
      'set_metadata_recursive("/system", "uid"',
      "show_progress(0.100000, 0);",
      'format("/dev/vendor", "0"',
      'mount("/dev/vendor", "/vendor"',
      'package_extract_dir("vendor", "/vendor");',
      'symlink("a", "/vendor/lib/other");',
      'symlink("z", "/vendor/lib/link");',
      'set_metadata_recursive("/vendor", "uid"',
      "show_progress(0.050000, 5);",
      'package_extract_file("boot.img", "/dev/boot");',
      "show_progress(0.200000, 10);",
      "show_progress(0.100000, 10);",
      'format("/dev/data", "-16384"',
    ]);

    const { script, metadata } = await makeIncremental71(source, target, options);
    const at = (text: string): number => {
      expect(script.split(text), text).toHaveLength(2);
      return script.indexOf(text);
    };
    const order = [
      'mount("ext4", "EMMC", "/dev/system", "/system", "");',
      'mount("ext4", "EMMC", "/dev/vendor", "/vendor", "");',
      "ro.build.fingerprint",
      'apply_patch_check("/system/lib/a.so"',
      'apply_patch_check("/vendor/lib/b.so"',
      "apply_patch_space(",
      'ui_print("Removing unneeded files...");',
      '"/system/lib/gone.so"',
      '"/vendor/lib/gone.so"',
      'ui_print("Patching system files...");',
      'apply_patch("/system/lib/a.so"',
      'ui_print("Patching vendor files...");',
      'apply_patch("/vendor/lib/b.so"',
      'ui_print("Patching boot image...");',
      'ui_print("Unpacking new system files...");',
      'ui_print("Unpacking new vendor files...");',
      'rename("system/app/moves.so"',
      'rename("vendor/app/moves.so"',
      'ui_print("Symlinks and permissions...");',
      'symlink("a", "/system/lib/other",',
      'symlink("z", "/system/lib/link",',
      'set_metadata_recursive("/system",',
      'set_metadata_recursive("/vendor",',
      'apply_patch("/system/build.prop"',
    ].filter((text) => text !== "ro.build.fingerprint");
    expect([...order].sort((a, b) => at(a) - at(b))).toEqual(order);
    expect(at('"/vendor", "");')).toBeLessThan(script.indexOf("ro.build.fingerprint"));

    // Sources of 4000 bytes, build.prop's and the boot image are the whole; what is done counts targets.
    const prop = propText("old").length;
    const boot = "boot new ".repeat(300).length;
    const total = 4000 + 4000 + (script.includes('apply_patch("/system/build.prop"') ? prop : 0) + boot + 1;
    const done = [4009, 8018, 8018 + boot].map((n) => `set_progress(${(n / total).toFixed(6)});`);
    expect(script.match(/set_progress\(.*/g)?.slice(0, 3)).toEqual(done);
    expect(Number(metadata.get("ota-required-cache"))).toBe(Math.max(4000, boot));
  });

  it("need the same partitions in both builds, and owners for every file", async () => {
    const tree = firstTree(randomOf(3));
    const without = await build(tree, { which: "old", ...shape });
    const vendor = await build(tree, { which: "new", ...shape, vendor: tree });
    for (const [source, target, found] of [
      [without, vendor, "VENDOR/ in the target build, none in the source build"],
      [vendor, without, "VENDOR/ in the source build, none in the target build"],
    ] as const) {
      await expect(makeIncremental71(source, target, options)).rejects.toMatchObject({
        code: "ANDROID_NOT_POSSIBLE",
        details: { where: "VENDOR/", found },
      });
    }
    const { vendor: files } = vendor;
    const bare = { ...vendor, vendor: { ...(files as FileTree), metadata: new Map<string, FileMetadata>() } };
    await expect(makeFull71(bare, options)).rejects.toMatchObject({
      code: "ANDROID_NO_METADATA",
      details: { hint: "Add a line for it to META/vendor_filesystem_config.txt." },
    });
  });
});
