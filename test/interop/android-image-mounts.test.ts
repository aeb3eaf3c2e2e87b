// File-based Android packages on a mount that is an ext4 image, judged by the kernel's own view of it: mount, stat and getfattr. As
// root, who alone can ask it.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { otaforgeMain } from "../../src/cli/otaforge.ts";
import { captureIo } from "../../src/cli/io.ts";
import { OtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { capabilityAttribute } from "../../src/device/board/board-labels.ts";
import { openExt4 } from "../../src/device/ext4/ext4-image.ts";
import type { Ext4Image } from "../../src/device/ext4/ext4-image.ts";
import { unpackedImage } from "../../src/device/image/unpacked-image.ts";
import type { UnpackedImage } from "../../src/device/image/unpacked-image.ts";
import { openDevice } from "../../src/device/index.ts";
import { runProgram } from "../../src/device/run-program.ts";
import { readTree } from "../support/android-device.ts";
import type { TreeEntry } from "../support/android-device.ts";
import { SBIN, writeDiskDevice } from "../support/android-disk-device.ts";
import { ANDROID_VECTORS, installedSpec } from "../support/android-install.ts";

const OLD = "ota44/basic/old-target_files.zip";
const IMAGE_BYTES = 24 << 20;
const vector = (path: string): string => fileURLToPath(new URL(path, ANDROID_VECTORS));
const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: "utf8", env: { ...process.env, PATH: SBIN } });

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

/** The old system on a device; `image`: with /system as an ext4 image. */
async function oldDevice(image: boolean): Promise<{ folder: string; file: string }> {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-interop-"));
  folders.push(folder);
  return {
    folder,
    file: writeDiskDevice(await installedSpec(OLD), folder, image ? { images: { "/system": IMAGE_BYTES } } : {}),
  };
}

async function install(file: string, name: string, ...options: string[]): Promise<void> {
  const io = captureIo();
  const code = await otaforgeMain(
    ["install", vector(`ota44/basic/${name}/unsigned.zip`), "--device", file, ...options],
    io,
  );
  expect({ code, err: code === 0 ? "" : io.stderr() }).toEqual({ code: 0, err: "" });
}

/** Attributes of every file below a folder, by path from it. */
function attributes(folder: string): Map<string, Record<string, string>> {
  const found = new Map<string, Record<string, string>>();
  const text = run("getfattr", "-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", folder);
  for (const block of text.split("\n\n")) {
    const [head, ...lines] = block.trim().split("\n");
    if (head === undefined || !head.startsWith("# file: ")) continue;
    const entries = lines.map((line) => line.split("=0x") as [string, string]);
    found.set(head.slice("# file: ".length + folder.length), Object.fromEntries(entries));
  }
  return found;
}

/** What the kernel says of an image: the reader that is not ours. */
function kernelTree(folder: string, image: string): Record<string, TreeEntry> {
  const at = join(folder, "judge");
  mkdirSync(at);
  run("e2fsck", "-f", "-n", image);
  run("mount", "-t", "ext4", "-o", "loop,ro", image, at);
  try {
    const xattrs = attributes(at);
    const out: Record<string, TreeEntry> = {};
    const visit = (path: string): void => {
      for (const name of readdirSync(at + path)) {
        const child = `${path}/${name}`;
        if (child === "/lost+found") continue;
        const stat = lstatSync(at + child);
        if (stat.isSymbolicLink()) {
          out[child] = { link: readlinkSync(at + child), uid: stat.uid, gid: stat.gid };
          continue;
        }
        const xattr = xattrs.get(child);
        out[child] = {
          mode: (stat.mode % 0o10000).toString(8),
          uid: stat.uid,
          gid: stat.gid,
          ...(xattr === undefined ? {} : { xattr }),
        };
        if (stat.isDirectory()) {
          out[child].dir = 1;
          visit(child);
          continue;
        }
        const bytes = readFileSync(at + child);
        out[child].sha1 = createHash("sha1").update(bytes).digest("hex");
        out[child].size = bytes.length;
      }
    };
    visit("");
    return out;
  } finally {
    run("umount", at);
    rmSync(at, { recursive: true });
  }
}

const withoutTimes = (tree: Record<string, TreeEntry>): Record<string, TreeEntry> =>
  Object.fromEntries(Object.entries(tree).map(([path, { mtime: _, ...rest }]) => [path, rest]));

/** What the recording of the original updater ended with, labels as they stand in the file system. */
function recorded(name: string): Record<string, TreeEntry> {
  const text = readFileSync(vector(`install44/${name}/final.json`), "utf8");
  const { system } = JSON.parse(text) as { system: Record<string, TreeEntry> };
  for (const { xattr } of Object.values(system)) {
    const label = xattr?.["security.selinux"];
    if (xattr !== undefined && label !== undefined)
      xattr["security.selinux"] = Buffer.from(`${label}\0`).toString("hex");
  }
  return withoutTimes(system);
}

/** The tree of an image as our reader has it. */
async function readerTree(image: string): Promise<Record<string, TreeEntry>> {
  const reader = memoryReader(new Uint8Array(readFileSync(image)));
  const out: Record<string, TreeEntry> = {};
  for await (const entry of ((await openExt4(reader)) as Ext4Image).entries()) {
    const { mode = 0, uid, gid, selinuxLabel, capabilities } = entry.attributes;
    const owner = { uid: uid as number, gid: gid as number };
    if (entry.link !== undefined) {
      out[entry.path] = { link: entry.link, ...owner };
      continue;
    }
    const xattr = {
      ...(selinuxLabel === undefined ? {} : { "security.selinux": Buffer.from(`${selinuxLabel}\0`).toString("hex") }),
      ...(capabilities === undefined
        ? {}
        : { "security.capability": Buffer.from(capabilityAttribute(capabilities)).toString("hex") }),
    };
    const bytes = await entry.content();
    out[entry.path] = {
      mode: mode.toString(8),
      ...owner,
      ...(Object.keys(xattr).length === 0 ? {} : { xattr }),
      ...(entry.kind === "folder"
        ? { dir: 1 as const }
        : { sha1: createHash("sha1").update(bytes).digest("hex"), size: bytes.length }),
    };
  }
  return out;
}

/** Files of every shape an image has: long and short links, holes, many extents, a folder of thousands, attributes in both places. */
function odds(folder: string): void {
  const at = (name: string): string => join(folder, name);
  mkdirSync(at("many"), { recursive: true });
  for (let i = 0; i < 600; i++) writeFileSync(at(`many/a-name-that-is-not-short-${i}`), i % 50 === 0 ? `${i}` : "");
  symlinkSync("x".repeat(59), at("link59"));
  symlinkSync("y/".repeat(40), at("link80"));
  const holes = openSync(at("holes"), "w");
  for (let i = 0; i < 400; i++) writeSync(holes, Buffer.from(`${i}`), 0, undefined, i * 16384);
  closeSync(holes);
  writeFileSync(at("large"), Buffer.alloc(6 << 20, "large and full. "));
  writeFileSync(at("labelled"), "text", { mode: 0o640 });
  // First: it takes capabilities away.
  chownSync(at("labelled"), 70000, 2000);
  run(
    "setfattr",
    "-n",
    "security.selinux",
    "-v",
    `0x${Buffer.from("u:object_r:system_file:s0\0").toString("hex")}`,
    at("labelled"),
  );
  run(
    "setfattr",
    "-n",
    "security.capability",
    "-v",
    `0x${Buffer.from(capabilityAttribute(0xc0n)).toString("hex")}`,
    at("labelled"),
  );
  // Pushes the others out of the inode.
  run("setfattr", "-n", "user.long", "-v", "v".repeat(600), at("labelled"));
}

describe("ext4 images read without a mount", () => {
  it.each([
    [
      "as make_ext4fs",
      ["-O", "none,has_journal,ext_attr,resize_inode,filetype,extent,sparse_super,large_file,uninit_bg", "-b", "4096"],
    ],
    ["today's", []],
    ["blocks of 1 KiB", ["-b", "1024"]],
    ["ext2, without extents", ["-t", "ext2", "-b", "1024", "-I", "128"]],
    ["ext3", ["-t", "ext3"]],
  ] as const)("%s: gives what the kernel gives", (_name, options) => {
    const folder = mkdtempSync(join(tmpdir(), "otaforge-interop-"));
    folders.push(folder);
    odds(join(folder, "tree"));
    const image = join(folder, "image");
    writeFileSync(image, "");
    truncateSync(image, 48 << 20);
    run("mkfs.ext4", "-q", "-F", ...options, "-d", join(folder, "tree"), image);
    return expect(readerTree(image)).resolves.toEqual(withoutUserAttributes(kernelTree(folder, image)));
  });

  it("gives a tree or a typed refusal for damaged images", async () => {
    const { folder } = await oldDevice(true);
    const good = new Uint8Array(readFileSync(join(folder, "fs/system.img")));
    let seed = 7;
    const below = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
    const used: number[] = [];
    good.forEach((byte, i) => byte !== 0 && used.push(i));
    const outcomes = new Set<string>();
    for (let n = 0; n < 100; n++) {
      const bad = good.slice();
      for (let i = 0; i < 40; i++)
        bad[used[below(used.length)] as number] = [0, 1, 0x7f, 0xff, below(256)][below(5)] as number;
      try {
        const image = await openExt4(memoryReader(n % 3 === 0 ? bad.subarray(0, below(bad.length)) : bad));
        for await (const entry of image?.entries() ?? []) await entry.content();
        outcomes.add("read");
      } catch (e) {
        if (!(e instanceof OtaError)) throw e;
        outcomes.add(e.code);
      }
    }
    expect(outcomes).toContain("read");
    expect(outcomes.size).toBeGreaterThan(1);
  });
});

describe("ext4 images unpacked and packed without a mount", () => {
  async function packed(options: readonly string[], change: (tree: string) => void): Promise<[string, string]> {
    const folder = mkdtempSync(join(tmpdir(), "otaforge-interop-"));
    folders.push(folder);
    const tree = join(folder, "tree");
    odds(tree);
    run("setfattr", "-x", "user.long", join(tree, "labelled"));
    change(tree);
    const image = join(folder, "image");
    writeFileSync(image, "");
    truncateSync(image, 48 << 20);
    run("mkfs.ext4", "-q", "-F", "-L", "system", ...options, "-d", tree, image, "40M");
    // Behind the file system: a hash tree, a signature.
    const end = openSync(image, "r+");
    writeSync(end, Buffer.from("behind"), 0, undefined, 45 << 20);
    closeSync(end);
    return [folder, image];
  }
  const open = (image: string): UnpackedImage =>
    unpackedImage({ file: image, fsType: "ext4", readOnly: false }, "/system", runProgram);

  it.each([
    [
      "as make_ext4fs",
      ["-O", "none,has_journal,ext_attr,resize_inode,filetype,extent,sparse_super,large_file,uninit_bg"],
    ],
    ["today's", []],
    ["blocks of 1 KiB", ["-b", "1024"]],
    ["ext3", ["-t", "ext3"]],
  ] as const)("%s: nothing is lost, whatever the names", async (_name, options) => {
    const [folder, image] = await packed(options, (tree) => {
      for (const name of ["with space", 'quo"te', "back\\slash", "<12>", "größe-文件", "-dash", "#hash", "tab\tname"])
        writeFileSync(join(tree, "many", name), name, { mode: 0o600 });
      linkSync(join(tree, "large"), join(tree, "second name"));
      chownSync(join(tree, "many"), 1000, 3003);
    });
    const before = kernelTree(folder, image);
    const facts = run("dumpe2fs", "-h", image);
    const unpacked = open(image);
    await unpacked.folder();
    expect(
      Math.abs(
        (await unpacked.freeBytes()) -
          ((await openExt4(memoryReader(new Uint8Array(readFileSync(image))))) as Ext4Image).freeBytes,
      ),
    ).toBeLessThan(1);
    await unpacked.release();
    expect(kernelTree(folder, image)).toEqual(before);
    const same =
      /^(Filesystem (UUID|features|volume name)|Inode (count|size)|Block (count|size)|Directory Hash Seed):.*$/gm;
    expect(run("dumpe2fs", "-h", image).match(same)).toEqual(facts.match(same));
    const bytes = readFileSync(image);
    expect(bytes.length).toBe(48 << 20);
    expect(bytes.subarray(45 << 20, (45 << 20) + 6).toString()).toBe("behind");
    const times = run("debugfs", "-R", "stat large", image);
    expect(/Links: (\d+)/.exec(times)?.[1]).toBe("2");
  });

  it("what cannot be kept is refused before anything is changed", async () => {
    const [, attributed] = await packed([], (tree) =>
      run("setfattr", "-n", "user.kept", "-v", "x", join(tree, "large")),
    );
    const [, special] = await packed([], (tree) => run("mkfifo", join(tree, "pipe")));
    for (const [image, found] of [
      [attributed, { code: "UNSUPPORTED", details: { where: "/large", found: "user.kept" } }],
      [special, { code: "UNSUPPORTED", details: { where: "/pipe" } }],
    ] as const) {
      const before = readFileSync(image);
      await expect(open(image).folder()).rejects.toMatchObject(found);
      expect(Buffer.compare(readFileSync(image), before)).toBe(0);
    }
    const [, full] = await packed([], () => undefined);
    const before = readFileSync(full);
    const unpacked = open(full);
    writeFileSync(join(await unpacked.folder(), "too large"), Buffer.alloc(40 << 20, "x"));
    expect(await unpacked.freeBytes()).toBe(0);
    await expect(unpacked.release()).rejects.toMatchObject({ code: "DEVICE_NO_SPACE" });
    expect(Buffer.compare(readFileSync(full), before)).toBe(0);
  });
});

describe("rehearsals on an ext4 image", () => {
  // The incremental takes minutes: OTAFORGE_LONG=1.
  const packages = process.env["OTAFORGE_LONG"] === "1" ? ["full", "incr"] : ["full"];
  it.each(packages)("%s: judged as on a folder, and nothing real is written", async (name) => {
    const [onImage, onFolder] = [await oldDevice(true), await oldDevice(false)];
    const image = join(onImage.folder, "fs/system.img");
    const before = readFileSync(image);
    const report = async (file: string): Promise<Record<string, unknown>> => {
      const io = captureIo();
      const argv = ["rehearse", vector(`ota44/basic/${name}/unsigned.zip`), "--device", file, "--cuts", "6", "--json"];
      const code = await otaforgeMain(argv, io);
      expect({ code, err: io.stderr() }).toMatchObject({ code: 0 });
      return JSON.parse(io.stdout()) as Record<string, unknown>;
    };
    const found = await report(onImage.file);
    expect(found).toMatchObject({ broken: 0 });
    expect(found["writes"]).toBe((await report(onFolder.file))["writes"]);
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
    expect(ourMounts()).toEqual([]);
  });
});

/** Attributes of users, which no update sets and our reader does not give. */
const withoutUserAttributes = (tree: Record<string, TreeEntry>): Record<string, TreeEntry> => {
  for (const { xattr } of Object.values(tree)) if (xattr !== undefined) delete xattr["user.long"];
  return tree;
};

async function folderTree(file: string): Promise<Record<string, TreeEntry>> {
  const device = await openDevice(file);
  try {
    return withoutTimes(await readTree(device, "/system", { labels: "hex", linkOwners: true }));
  } finally {
    await device.close();
  }
}

const ourMounts = (): string[] =>
  readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(" /run/otaforge/"));

describe("4.4 packages of files on an ext4 image", () => {
  it.each(["full", "incr"])(
    "%s ends as with the original: content, modes, owners, labels, capabilities",
    async (name) => {
      const { folder, file } = await oldDevice(true);
      await install(file, name, "--vendor-compatible");
      expect(ourMounts()).toEqual([]);
      expect(kernelTree(folder, join(folder, "fs/system.img"))).toEqual(recorded(`basic-${name}`));
    },
  );

  it.each(["full", "incr"])("%s ends as on a folder", async (name) => {
    const [onImage, onFolder] = [await oldDevice(true), await oldDevice(false)];
    await install(onImage.file, name);
    await install(onFolder.file, name);
    const tree = kernelTree(onImage.folder, join(onImage.folder, "fs/system.img"));
    expect(Object.keys(tree).length).toBeGreaterThan(40);
    expect(tree).toEqual(await folderTree(onFolder.file));
  });

  const UNPRIVILEGED = [
    // Nobody, who may read the project wherever it lies, and may neither mount nor give files away.
    ["without root", ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "+dac_read_search"]],
    ["as root of a container that may not mount", ["--bounding-set", "-sys_admin"]],
  ] as const;

  /** Runs the built command through setpriv. */
  function installAs(rights: readonly string[], file: string, name: string): ReturnType<typeof spawn> {
    const ambient = rights.includes("--inh-caps") ? ["--ambient-caps", "+dac_read_search"] : [];
    const command = [process.execPath, "bin/otaforge", "install", vector(`ota44/basic/${name}/unsigned.zip`)];
    const args = [...rights, ...ambient, "--", ...command, "--device", file, "--progress", "none"];
    const env = { ...process.env, PATH: SBIN };
    return spawn("setpriv", args, {
      cwd: join(import.meta.dirname, "../.."),
      stdio: ["ignore", "ignore", "pipe"],
      env,
    });
  }
  const ended = async (child: ReturnType<typeof spawn>): Promise<{ code: number | null; err: string }> => {
    let err = "";
    child.stderr?.on("data", (chunk) => (err += String(chunk)));
    return { code: await new Promise((done) => child.on("close", (code) => done(code))), err };
  };

  for (const [who, rights] of UNPRIVILEGED) {
    it.each(["full", "incr"])(
      `${who}, %s ends as mounted: content, modes, owners, labels, capabilities`,
      async (name) => {
        const [own, mounted] = [await oldDevice(true), await oldDevice(true)];
        const image = join(own.folder, "fs/system.img");
        const before = run("dumpe2fs", "-h", image);
        run("chown", "-R", "65534:65534", own.folder);
        expect(await ended(installAs(rights, own.file, name))).toMatchObject({ code: 0 });
        await install(mounted.file, name);
        const tree = kernelTree(own.folder, image);
        expect(Object.keys(tree).length).toBeGreaterThan(40);
        expect(tree).toEqual(kernelTree(mounted.folder, join(mounted.folder, "fs/system.img")));
        expect(readdirSync(join(own.folder, "fs")).filter((file) => file.includes("unpacked"))).toEqual([]);
        // An incremental keeps the file system it found; a full package makes a new one.
        const same =
          /^(Filesystem (UUID|features|volume name)|Inode count|Block (count|size)|Reserved block count):.*$/gm;
        if (name === "incr") expect(run("dumpe2fs", "-h", image).match(same)).toEqual(before.match(same));
      },
    );
  }

  it("without root, a killed installation is finished by the same command, and files of another image are refused", async () => {
    const { folder, file } = await oldDevice(true);
    const image = join(folder, "fs/system.img");
    run("chown", "-R", "65534:65534", folder);
    const rights = UNPRIVILEGED[0][1];
    for (const wait of [0, 60, 200]) {
      const child = installAs(rights, file, "incr");
      const end = ended(child);
      const seen = (): boolean => readdirSync(join(folder, "fs")).includes("system.img.unpacked");
      while (!seen() && child.exitCode === null) await new Promise((done) => setTimeout(done, 1));
      await new Promise((done) => setTimeout(done, wait));
      child.kill("SIGKILL");
      await end;
    }
    expect(await ended(installAs(rights, file, "incr"))).toMatchObject({ code: 0 });
    expect(kernelTree(folder, image)).toEqual(
      await (async () => {
        const mounted = await oldDevice(true);
        await install(mounted.file, "incr");
        return kernelTree(mounted.folder, join(mounted.folder, "fs/system.img"));
      })(),
    );
    // What was unpacked of one image must not end up in another one.
    mkdirSync(`${image}.unpacked/files`, { recursive: true });
    writeFileSync(`${image}.unpacked/image.json`, JSON.stringify({ base: "1:2:3", room: 0 }));
    run("chown", "-R", "65534:65534", folder);
    const refused = await ended(installAs(rights, file, "incr"));
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain("has changed since");
  });

  it("a killed installation leaves a mount, which the next run takes away before it installs", async () => {
    const { folder, file } = await oldDevice(true);
    const args = [
      "bin/otaforge",
      "install",
      vector("ota44/basic/incr/unsigned.zip"),
      "--device",
      file,
      "--vendor-compatible",
    ];
    const child = spawn(process.execPath, args, { cwd: join(import.meta.dirname, "../.."), stdio: "ignore" });
    const ended = new Promise<NodeJS.Signals | null>((done) => child.on("close", (_, signal) => done(signal)));
    while (ourMounts().length === 0 && child.exitCode === null) await new Promise((done) => setTimeout(done, 1));
    child.kill("SIGKILL");
    expect(await ended).toBe("SIGKILL");
    expect(ourMounts()).toHaveLength(1);
    await install(file, "incr", "--vendor-compatible");
    expect(ourMounts()).toEqual([]);
    expect(kernelTree(folder, join(folder, "fs/system.img"))).toEqual(recorded("basic-incr"));
  });
});
