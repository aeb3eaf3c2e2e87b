/**
 * Target files: the zip a build leaves behind, from which packages are made (formats/android.md 1).
 *
 * ```ts
 * const target = await openTargetFiles({ zip }, { digests, profile: "safe", note });
 * target.prop("ro.product.device"); // "tinydev"
 * ```
 */
import { OtaError } from "../../core/errors.ts";
import { compareBytes, toHex } from "../../core/bytes.ts";
import type { Digests } from "../../core/ports.ts";
import { decodeText, encodeText } from "../../core/text.ts";
import { isFolder, unixMode } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { buildBootImage, parseMkbootimgArgs } from "../images/boot-image.ts";
import type { CpioEntry } from "../images/cpio.ts";
import { buildRamdisk } from "../images/ramdisk.ts";
import { isLink, LINK_TYPE, readTree, TREE_CONFIG, type FileTree, type TreeName } from "./file-tree.ts";
import { parseFilesystemConfig, type FileMetadata } from "./filesystem-config.ts";
import { parseFstab, type Fstab } from "./fstab.ts";
import { parseKeyValues } from "./key-values.ts";
import { readMiscInfo, type MiscInfo } from "./misc-info.ts";

/** A boot or recovery image with its digest. */
export interface BootableImage {
  readonly name: string;
  readonly data: Uint8Array;
  /** SHA-1, hex. */
  readonly sha1: string;
}

export interface TargetFiles {
  readonly zip: ZipArchive;
  readonly info: MiscInfo;
  readonly fstab: Fstab;
  readonly system: FileTree;
  /** Absent where the build has no vendor partition, or is read as that of a 4.4 device, which leaves it alone. */
  readonly vendor?: FileTree;
  /** A property of SYSTEM/build.prop. @throws OtaError ANDROID_TARGET_FILES when it is missing */
  prop(name: string): string;
  /** `boot` or `recovery`; undefined when there is neither an image nor what it is built from. */
  image(name: "boot" | "recovery"): Promise<BootableImage | undefined>;
}

export interface TargetFilesInput {
  readonly zip: ZipArchive;
  /** The second zip of `A.zip+B.zip`: its entries stand in BOOTABLE_IMAGES/ and win. */
  readonly images?: ZipArchive;
}

export interface TargetFilesOptions {
  readonly digests: Digests;
  /** 5.0 and later also look for images in IMAGES/. Default `4.4`. */
  readonly era?: "4.4" | "7.1";
  /** `vendor` reads links and images as the 4.4 tool does. */
  readonly profile: "safe" | "vendor";
  note(level: "info" | "warning", text: string): void;
}

/** Texts of target files are small; more is an attack or a mistake. */
const MAX_TEXT = 16 * 2 ** 20;
/** No boot partition of these devices is larger. */
const MAX_IMAGE = 512 * 2 ** 20;

async function readText(zip: ZipArchive, name: string): Promise<string | undefined> {
  const entry = zip.get(name);
  return entry === undefined ? undefined : decodeText(await zip.read(entry, MAX_TEXT));
}

function trimNewlines(text: string): string {
  return text.replace(/[\r\n]+$/, "");
}

/** The tree below `BOOT/RAMDISK/` in the order of the ramdisk builder, missing folders added. */
async function ramdiskEntries(zip: ZipArchive, folder: string, options: TargetFilesOptions): Promise<CpioEntry[]> {
  const prefix = `${folder}/RAMDISK/`;
  const configName = `META/${folder.toLowerCase()}_filesystem_config.txt`;
  const text = await readText(zip, configName);
  if (text === undefined)
    options.note("warning", `${configName} is missing: ramdisk files belong to root with the modes of the zip`);
  const config = text === undefined ? new Map<string, FileMetadata>() : parseFilesystemConfig(text, configName);
  const fallback = config.get("");
  const byName = new Map<string, CpioEntry>();
  const add = (name: string, type: number, zipMode: number, data: Uint8Array): void => {
    const listed = config.get(name) ?? fallback;
    const mode = listed?.mode ?? zipMode;
    byName.set(name, { name, mode: type + mode, uid: listed?.uid ?? 0, gid: listed?.gid ?? 0, data });
  };
  const empty = new Uint8Array(0);
  for (const entry of zip.entries) {
    if (!entry.name.startsWith(prefix)) continue;
    const name = entry.name.slice(prefix.length).replace(/\/$/, "");
    for (let slash = name.indexOf("/"); slash > 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      if (!byName.has(parent)) add(parent, 0o040000, 0o755, empty);
    }
    if (name === "") continue;
    const mode = unixMode(entry) & 0o7777;
    if (isFolder(entry)) add(name, 0o040000, mode === 0 ? 0o755 : mode, empty);
    else {
      const type = isLink(entry, options.profile) ? LINK_TYPE : 0o100000;
      add(name, type, mode === 0 ? 0o644 : mode, await zip.read(entry, MAX_IMAGE));
    }
  }
  // Folder by folder: a slash sorts before every other byte of a name.
  const key = (e: CpioEntry): Uint8Array => encodeText(e.name.replaceAll("/", "\0"));
  return [...byName.values()]
    .map((e) => [key(e), e] as const)
    .sort(([a], [b]) => compareBytes(a, b))
    .map(([, e]) => e);
}

async function buildImage(
  zip: ZipArchive,
  folder: string,
  info: MiscInfo,
  options: TargetFilesOptions,
): Promise<Uint8Array | undefined> {
  const kernelEntry = zip.get(`${folder}/kernel`);
  if (kernelEntry === undefined || !zip.entries.some((e) => e.name.startsWith(`${folder}/RAMDISK/`))) return undefined;
  const kernel = await zip.read(kernelEntry, MAX_IMAGE);
  const ramdisk = buildRamdisk(await ramdiskEntries(zip, folder, options), options.digests);
  const value = async (name: string): Promise<string | undefined> => {
    const text = await readText(zip, `${folder}/${name}`);
    return text === undefined ? undefined : trimNewlines(text);
  };
  const commandLine = await value("cmdline");
  const base = await value("base");
  const pageSize = await value("pagesize");
  const secondEntry = zip.get(`${folder}/second`);
  let second: Uint8Array | undefined;
  const since50 = options.era === "7.1";
  if (secondEntry !== undefined && (since50 || options.profile === "safe")) {
    if (!since50)
      options.note("warning", `${folder}/second goes into the image, as the build does; the 4.4 tool left it out`);
    second = await zip.read(secondEntry, MAX_IMAGE);
  }
  return buildBootImage(
    {
      kernel,
      ramdisk,
      ...(second === undefined ? {} : { second }),
      ...(commandLine === undefined ? {} : { commandLine }),
      ...(base === undefined ? {} : parseMkbootimgArgs(["--base", base])),
      ...(pageSize === undefined ? {} : parseMkbootimgArgs(["--pagesize", pageSize])),
      ...parseMkbootimgArgs(info.mkbootimgArgs),
    },
    options.digests,
  );
}

/** The original looks for the folder's own entry, which not every zip program writes. */
function hasVendor(zip: ZipArchive, { era, profile }: TargetFilesOptions): boolean {
  if (era !== "7.1") return false;
  return zip.entries.some(({ name }) => (profile === "vendor" ? name === "VENDOR/" : name.startsWith("VENDOR/")));
}

/** @throws OtaError ANDROID_TARGET_FILES, ZIP_* */
export async function openTargetFiles(input: TargetFilesInput, options: TargetFilesOptions): Promise<TargetFiles> {
  const { zip } = input;
  const info = readMiscInfo({
    miscInfo: await readText(zip, "META/misc_info.txt"),
    imageSizes: await readText(zip, "META/imagesizes.txt"),
    recoveryApiVersion: await readText(zip, "META/recovery-api-version.txt"),
    toolExtensions: await readText(zip, "META/tool-extensions.txt"),
    mkyaffs2ExtraFlags: await readText(zip, "META/mkyaffs2-extra-flags.txt"),
  });
  const fstabText = await readText(zip, "RECOVERY/RAMDISK/etc/recovery.fstab");
  if (fstabText === undefined) options.note("warning", "RECOVERY/RAMDISK/etc/recovery.fstab is missing");
  const fstab = parseFstab(fstabText ?? "", info.fstabVersion, (text) => options.note("warning", text));
  const propText = await readText(zip, "SYSTEM/build.prop");
  if (propText === undefined)
    throw new OtaError("ANDROID_TARGET_FILES", { what: "the target files lack an entry", where: "SYSTEM/build.prop" });
  const props = parseKeyValues(propText, "SYSTEM/build.prop");
  const tree = async (name: TreeName): Promise<FileTree> =>
    readTree(zip, name, await readText(zip, TREE_CONFIG[name]), options);
  const sha1 = (data: Uint8Array): string => {
    const digest = options.digests.create("sha1");
    digest.update(data);
    return toHex(digest.digest());
  };
  const image = (name: string, data: Uint8Array): BootableImage => ({ name: `${name}.img`, data, sha1: sha1(data) });
  return {
    zip,
    info,
    fstab,
    system: await tree("system"),
    ...(hasVendor(zip, options) ? { vendor: await tree("vendor") } : {}),
    prop(name) {
      const value = props.get(name);
      if (value === undefined) {
        throw new OtaError("ANDROID_TARGET_FILES", { what: `${name} is missing`, where: "SYSTEM/build.prop" });
      }
      return value;
    },
    async image(name) {
      const prebuilt: [ZipArchive | undefined, string][] = [
        [input.images, `${name}.img`],
        [zip, `BOOTABLE_IMAGES/${name}.img`],
        ...(options.era === "7.1" ? [[zip, `IMAGES/${name}.img`] as [ZipArchive, string]] : []),
      ];
      for (const [archive, path] of prebuilt) {
        const entry = archive?.get(path);
        if (archive === undefined || entry === undefined) continue;
        options.note("info", `using prebuilt ${name}.img...`);
        return image(name, await archive.read(entry, MAX_IMAGE));
      }
      const folder = name.toUpperCase();
      options.note("info", `building image from target_files ${folder}...`);
      const data = await buildImage(zip, folder, info, options);
      return data === undefined ? undefined : image(name, data);
    },
  };
}
