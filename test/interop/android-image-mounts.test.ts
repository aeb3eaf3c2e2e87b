// File-based Android packages on a mount that is an ext4 image, judged by the kernel's own view of it: mount, stat and getfattr. As
// root only, like the installation itself.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { otaforgeMain } from "../../src/cli/otaforge.ts";
import { captureIo } from "../../src/cli/io.ts";
import { openDevice } from "../../src/device/index.ts";
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
