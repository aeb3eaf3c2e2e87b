/** The device of the recorded 4.4 installations: file systems and partitions made of target files. */
import { readFileSync } from "node:fs";
import { memoryReader } from "../../src/core/streams.ts";
import { isFolder, openZip, unixMode } from "../../src/core/zip/index.ts";
import type { RandomReader } from "../../src/core/ports.ts";
import { createSimulatedDevice, nodeCodecs } from "../../src/device/index.ts";
import type { SimulatedDevice, SimulatedFile, SimulatedSpec } from "../../src/device/index.ts";

export const ANDROID_VECTORS = new URL("../vectors/android/", import.meta.url);
export const BY_NAME = "/dev/block/platform/tiny/by-name";
const MIB = 1024 * 1024;

export function vectorReader(path: string): RandomReader {
  return memoryReader(new Uint8Array(readFileSync(new URL(path, ANDROID_VECTORS))));
}

export interface DeviceChanges {
  readonly files?: Readonly<Record<string, SimulatedFile | undefined>>;
  readonly properties?: Readonly<Record<string, string>>;
  readonly boot?: Uint8Array;
  readonly nodes?: Readonly<Record<string, Uint8Array>>;
  /** Folder of nodes; the old fstab names them by number. */
  readonly systemCapacity?: number;
}

/** Content of one entry of a zip. */
export async function entryOf(zip: RandomReader, name: string): Promise<Uint8Array> {
  const archive = await openZip(zip, { codecs: nodeCodecs });
  return archive.read(archive.need(name));
}

/** A device on which the old target files are installed. */
export async function installedDevice(targetFiles: string, changes: DeviceChanges = {}): Promise<SimulatedDevice> {
  return createSimulatedDevice(await installedSpec(targetFiles, changes));
}

/** {@link installedDevice} as plain data. */
export async function installedSpec(targetFiles: string, changes: DeviceChanges = {}): Promise<SimulatedSpec> {
  const reader = vectorReader(targetFiles);
  const zip = await openZip(reader, { codecs: nodeCodecs });
  const files: Record<string, SimulatedFile> = {};
  const properties: Record<string, string> = {};
  for (const entry of zip.entries) {
    if (!entry.name.startsWith("SYSTEM/")) continue;
    const path = `/system/${entry.name.slice(7)}`.replace(/\/$/, "");
    if (path === "/system") continue;
    const content = await zip.read(entry);
    if (isFolder(entry)) files[path] = { kind: "folder" };
    else if ((unixMode(entry) & 0o170000) === 0o120000) files[path] = { link: Buffer.from(content).toString() };
    else files[path] = { content };
    if (path === "/system/build.prop") {
      for (const line of Buffer.from(content).toString().split("\n")) {
        const equal = line.indexOf("=");
        if (equal > 0 && !line.startsWith("#")) properties[line.slice(0, equal)] = line.slice(equal + 1);
      }
    }
  }
  for (const [path, file] of Object.entries(changes.files ?? {})) {
    if (file === undefined) delete files[path];
    else files[path] = file;
  }
  const image = async (name: string): Promise<Uint8Array> =>
    zip.read(zip.get(`BOOTABLE_IMAGES/${name}`) ?? zip.need(`IMAGES/${name}`));
  const fstab = Buffer.from(await zip.read(zip.need("RECOVERY/RAMDISK/etc/recovery.fstab"))).toString();
  const nodeOf = (mount: string, fallback: string): string =>
    fstab
      .split("\n")
      .map((line) => line.split(/\s+/))
      .flatMap((words) => (words.includes(mount) ? words.filter((w) => w.startsWith("/dev/")) : []))[0] ??
    `${BY_NAME}/${fallback}`;
  const capacity = { system: changes.systemCapacity ?? 16 * MIB, data: 8 * MIB, cache: 12 * MIB };
  return {
    nodes: {
      [nodeOf("/boot", "boot")]: { kind: "block", size: 8 * MIB, content: changes.boot ?? (await image("boot.img")) },
      [nodeOf("/recovery", "recovery")]: { kind: "block", size: 8 * MIB, content: await image("recovery.img") },
      [nodeOf("/misc", "misc")]: { kind: "block", size: MIB },
      ...Object.fromEntries(
        Object.entries(changes.nodes ?? {}).map(([path, content]) => [path, { kind: "block" as const, content }]),
      ),
    },
    files: { "/file_contexts": { content: await zip.read(zip.need("BOOT/RAMDISK/file_contexts")) }, ...files },
    fileSystems: {
      "/system": { node: nodeOf("/system", "system"), mounted: false, capacityBytes: capacity.system },
      "/data": { node: nodeOf("/data", "userdata"), mounted: false, capacityBytes: capacity.data },
      "/cache": { node: nodeOf("/cache", "cache"), capacityBytes: capacity.cache },
    },
    properties: { ...properties, ...changes.properties },
  };
}

const BLOCK = 4096;

/** The raw form of a sparse image (formats/android.md section 3.2), by a reader that is not the one under test. */
export function unsparse(b: Buffer): Buffer {
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

/** The device of the recorded block-based packages of a list version: the old system image on its partition. */
export async function blockSpec(version: string): Promise<SimulatedSpec> {
  const old = vectorReader(`block71/${version}/old-target_files.zip`);
  const properties: Record<string, string> = {};
  for (const line of Buffer.from(await entryOf(old, "SYSTEM/build.prop"))
    .toString()
    .split("\n")) {
    const equal = line.indexOf("=");
    if (equal > 0) properties[line.slice(0, equal)] = line.slice(equal + 1);
  }
  const boot = await entryOf(old, "IMAGES/boot.img").catch(() => entryOf(old, "BOOTABLE_IMAGES/boot.img"));
  const raw = unsparse(Buffer.from(await entryOf(old, "IMAGES/system.img")));
  return {
    nodes: {
      [`${BY_NAME}/system`]: { kind: "block", content: raw },
      [`${BY_NAME}/boot`]: { kind: "block", size: 8 << 20, content: boot },
      [`${BY_NAME}/recovery`]: { kind: "block", size: 8 << 20 },
      [`${BY_NAME}/misc`]: { kind: "block", size: 1 << 20 },
    },
    files: { "/cache/recovery": { kind: "folder" }, "/file_contexts": "/x u:x\n" },
    properties,
  };
}

/** Node of a partition of such a device, whichever fstab it has. */
export async function partition(device: SimulatedDevice, name: string): Promise<string> {
  const numbers: Record<string, number> = { boot: 1, recovery: 2, misc: 6 };
  for (const path of [`${BY_NAME}/${name}`, `/dev/block/mmcblk0p${numbers[name]}`]) {
    if (await device.nodes.info(path)) return path;
  }
  throw new Error(`no partition ${name}`);
}
