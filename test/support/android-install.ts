/** The device of the recorded 4.4 installations: file systems and partitions made of target files. */
import { readFileSync } from "node:fs";
import { memoryReader } from "../../src/core/streams.ts";
import { isFolder, openZip, unixMode } from "../../src/core/zip/index.ts";
import type { RandomReader } from "../../src/core/ports.ts";
import { createSimulatedDevice, nodeCodecs } from "../../src/device/index.ts";
import type { SimulatedDevice, SimulatedFile } from "../../src/device/index.ts";

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
  return createSimulatedDevice({
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
  });
}

/** Node of a partition of such a device, whichever fstab it has. */
export async function partition(device: SimulatedDevice, name: string): Promise<string> {
  const numbers: Record<string, number> = { boot: 1, recovery: 2, misc: 6 };
  for (const path of [`${BY_NAME}/${name}`, `/dev/block/mmcblk0p${numbers[name]}`]) {
    if (await device.nodes.info(path)) return path;
  }
  throw new Error(`no partition ${name}`);
}
