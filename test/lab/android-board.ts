/** The laboratory's Android device: partitions by name, and two packages for it from the recorded vectors. */
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openImage } from "../../src/android/images/sparse.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { isFolder, openZip, unixMode } from "../../src/core/zip/index.ts";
import { nodeCodecs } from "../../src/device/index.ts";
import type { TreeEntry } from "../support/android-device.ts";
import { ANDROID_VECTORS, BY_NAME, entryOf, vectorReader } from "../support/android-install.ts";
import type { GuestOptions } from "./guest.ts";
import { emptyFile, ext4Image, rawDisk } from "./machine.ts";

const MIB = 1024 * 1024;
const DISKS = ["system", "boot", "recovery", "misc", "cache"] as const;
type Disk = (typeof DISKS)[number];

export interface AndroidCase {
  readonly name: "block" | "file";
  /** Arguments of `updater`. */
  readonly args: readonly string[];
  readonly options: GuestOptions;
  /** Puts the disks back to the old system. */
  reset(): void;
  /** File of a disk. */
  disk(name: Disk): string;
  /** Digest of the boot partition's image after the update, and its length. */
  readonly boot: { readonly sha1: string; readonly size: number };
  /** Block packages: digest of the whole system partition. */
  readonly systemSha1?: string;
  /** File packages: what lies under `/system`. */
  readonly tree?: Readonly<Record<string, TreeEntry>>;
}

const json = <T>(path: string): T => JSON.parse(readFileSync(new URL(path, ANDROID_VECTORS), "utf8")) as T;

export const sha1Of = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("hex");

/** `NAME=value` lines of the old system's build.prop, as the properties of the board. */
async function buildProperties(targetFiles: string): Promise<Record<string, string>> {
  const text = Buffer.from(await entryOf(vectorReader(targetFiles), "SYSTEM/build.prop")).toString();
  return Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const equal = line.indexOf("=");
      return equal > 0 && !line.startsWith("#") ? [[line.slice(0, equal), line.slice(equal + 1)]] : [];
    }),
  );
}

/** Writes the old system's files into a folder. */
async function unpackSystem(targetFiles: string, folder: string): Promise<void> {
  const zip = await openZip(vectorReader(targetFiles), { codecs: nodeCodecs });
  for (const entry of zip.entries) {
    const name = /^SYSTEM\/(.+?)\/?$/.exec(entry.name)?.[1];
    if (name === undefined) continue;
    const path = join(folder, name);
    mkdirSync(isFolder(entry) ? path : dirname(path), { recursive: true });
    if (isFolder(entry)) continue;
    const content = await zip.read(entry);
    if ((unixMode(entry) & 0o170000) === 0o120000) symlinkSync(Buffer.from(content).toString(), path);
    else writeFileSync(path, content);
  }
}

interface Parts {
  readonly name: AndroidCase["name"];
  readonly folder: string;
  readonly targetFiles: string;
  readonly package: string;
  readonly era: "4.4" | "7.1";
  readonly makeSystem: (path: string) => Promise<void>;
}

async function androidCase(parts: Parts): Promise<Omit<AndroidCase, "boot" | "systemSha1" | "tree">> {
  const { name, folder, targetFiles } = parts;
  const old = join(folder, `${name}-old`);
  mkdirSync(old);
  const file = (disk: Disk): string => join(folder, `${name}-${disk}.img`);
  const image = async (path: string, content: string): Promise<void> => {
    emptyFile(path, MIB);
    execFileSync("dd", [`of=${path}`, "conv=notrunc", "status=none"], {
      input: await entryOf(vectorReader(targetFiles), content),
    });
  };
  await parts.makeSystem(join(old, "system"));
  const zip = await openZip(vectorReader(targetFiles), { codecs: nodeCodecs });
  const images = zip.get("IMAGES/boot.img") === undefined ? "BOOTABLE_IMAGES" : "IMAGES";
  await image(join(old, "boot"), `${images}/boot.img`);
  await image(join(old, "recovery"), `${images}/recovery.img`);
  emptyFile(join(old, "misc"), MIB);
  ext4Image(join(old, "cache"), 16 * MIB);
  const reset = (): void => {
    for (const disk of DISKS) copyFileSync(join(old, disk), file(disk));
  };
  reset();
  const description = {
    kind: "board",
    family: "android",
    // On a file system that survives the cut; a state in the machine's memory would be forgotten.
    state: "/cache/otaforge",
    properties: await buildProperties(targetFiles),
  };
  return {
    name,
    reset,
    disk: file,
    args: ["3", "1", "/lab/update.zip", "--device", "/lab/DEVICE.json", "--era", parts.era],
    options: {
      arguments: DISKS.flatMap((disk) => rawDisk(disk, file(disk))),
      files: {
        "update.zip": new Uint8Array(readFileSync(new URL(parts.package, ANDROID_VECTORS))),
        "DEVICE.json": JSON.stringify(description),
        file_contexts: await entryOf(vectorReader(targetFiles), "BOOT/RAMDISK/file_contexts").catch(() => "/x u:x\n"),
      },
      before: `
mkdir -p ${BY_NAME} /cache /system
for disk in ${DISKS.join(" ")}; do ln -s "$(readlink /dev/lab/$disk)" ${BY_NAME}/$disk; done
cp /lab/file_contexts /file_contexts
`,
    },
  };
}

/** A block package of 7.1 (stashes, moves, patches) for a raw system partition. */
export async function blockCase(folder: string): Promise<AndroidCase> {
  const vector = "block71/v4";
  const targetFiles = `${vector}/old-target_files.zip`;
  const parts = await androidCase({
    name: "block",
    folder,
    targetFiles,
    package: `${vector}/incr/unsigned.zip`,
    era: "7.1",
    makeSystem: async (path) => {
      const sparse = await entryOf(vectorReader(targetFiles), "IMAGES/system.img");
      const { raw } = await openImage(memoryReader(sparse));
      writeFileSync(path, await raw.read(0, raw.size));
    },
  });
  const boot = await entryOf(vectorReader(`${vector}/new-target_files.zip`), "IMAGES/boot.img");
  const run = json<{ install_runs: { system_sha1: string }[] }>(`${vector}/incr/case.json`).install_runs[0];
  return { ...parts, boot: { sha1: sha1Of(boot), size: boot.length }, systemSha1: run?.system_sha1 as string };
}

/** A file package of 4.4 for a system on ext4: patches, renames, links, permissions, labels. */
export async function fileCase(folder: string): Promise<AndroidCase> {
  const targetFiles = "ota44/basic/old-target_files.zip";
  const parts = await androidCase({
    name: "file",
    folder,
    targetFiles,
    package: "ota44/basic/incr/unsigned.zip",
    era: "4.4",
    makeSystem: async (path) => {
      const system = `${path}.d`;
      mkdirSync(system);
      await unpackSystem(targetFiles, system);
      ext4Image(path, 16 * MIB, system);
    },
  });
  const boot = await entryOf(vectorReader("ota44/basic/new-target_files.zip"), "BOOTABLE_IMAGES/boot.img");
  const { system } = json<{ system: Record<string, TreeEntry> }>("install44/basic-incr/final.json");
  return { ...parts, boot: { sha1: sha1Of(boot), size: boot.length }, tree: system };
}
