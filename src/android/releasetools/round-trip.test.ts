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
import { openTargetFiles, type TargetFiles } from "../target-files/index.ts";
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
}

const FSTABS = {
  1: "/system ext4 /dev/system\n/data ext4 /dev/data length=-16384\n/cache ext4 /dev/cache\n/boot emmc /dev/boot\n/recovery emmc /dev/recovery\n/sdcard vfat /dev/sd1 /dev/sd\n",
  2: "/dev/system /system ext4 ro wait\n/dev/data /data ext4 rw wait,length=-16384\n/dev/cache /cache ext4 rw wait\n/dev/boot /boot emmc x x\n/dev/recovery /recovery emmc x x\n/dev/x auto vfat defaults voldmanaged=sd:auto\n",
};

function propText(which: string): string {
  return `# made\nro.product.device=shape\nro.build.fingerprint=acme/${which}\nro.build.version.incremental=${which}\nro.build.date.utc=${which === "old" ? 1000 : 2000}\nro.build.date=${which}\n`;
}

async function build(tree: Tree, shape: BuildShape): Promise<TargetFiles> {
  const sink = memorySink();
  const zip = createZipWriter(sink, { codecs });
  const add = (name: string, content: string | Uint8Array, mode = 0o100644): Promise<unknown> =>
    zip.add({ name, externalAttributes: mode * 65536 }, new Uint8Array(Buffer.from(content)));
  const config = ["system 0 0 755 selabel=u:object_r:system_file:s0 capabilities=0x0"];
  const folders = new Set<string>();
  await add("SYSTEM/build.prop", propText(shape.which));
  config.push("system/build.prop 0 0 644 selabel=u:object_r:prop:s0 capabilities=0x0");
  for (const [name, item] of tree) {
    for (let at = name.indexOf("/"); at > 0; at = name.indexOf("/", at + 1)) folders.add(name.slice(0, at));
    if (item.link !== undefined) await add(`SYSTEM/${name}`, item.link, 0o120777);
    else await add(`SYSTEM/${name}`, item.content as Buffer);
    const mode = /bin\//.test(name) ? "755" : "640";
    config.push(`system/${name} ${name.length} 2000 ${mode} selabel=u:object_r:l${name.length}:s0 capabilities=0x0`);
  }
  for (const f of folders) config.push(`system/${f} 0 2000 751 selabel=u:object_r:system_file:s0 capabilities=0x0`);
  await add("META/filesystem_config.txt", `${config.join("\n")}\nsystem/not/there 0 0 644\n`);
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
    { digests, profile: "safe", note: () => undefined },
  );
}

function deviceWith(tree: Tree, which: "old" | "new"): SimulatedDevice {
  const files: Record<string, SimulatedFile> = { "/system/build.prop": { content: Buffer.from(propText(which)) } };
  for (const [name, { content, link }] of tree) {
    files[`/system/${name}`] = link === undefined ? { content: new Uint8Array(content as Buffer) } : { link };
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
    },
    files,
    fileSystems: {
      "/system": { node: "/dev/system", mounted: false, capacityBytes: 8 << 20 },
      "/data": { node: "/dev/data", mounted: false, capacityBytes: 8 << 20 },
      "/cache": { node: "/dev/cache", capacityBytes: 8 << 20 },
    },
    properties,
  });
}

async function install(made: MadePackage, device: SimulatedDevice, era: "4.4" | "7.1"): Promise<void> {
  const sink = memorySink();
  await writePlan(made.plan, sink, { codecs, digests });
  const run = await collectRun({ device, package: memoryReader(sink.bytes()), era, profile: "safe" });
  expect(run.exitCode, `${run.pipe.join("\n")}\n${run.log}\n${made.script}`).toBe(0);
}

/** Everything but what the packages bring for recovery. */
async function compare(device: SimulatedDevice, fresh: Tree, checkOwners: boolean): Promise<void> {
  await device.mounts.mount("/dev/system", "/system", { fsType: "ext4" });
  const found = await readTree(device, "/system", { labels: "text" });
  const expected = new Map([...fresh].map(([name, item]) => [`/${name}`, item]));
  expected.set("/build.prop", { content: Buffer.from(propText("new")) });
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
