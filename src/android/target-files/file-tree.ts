/** One partition's files in a build: the entries below SYSTEM/ or VENDOR/, links apart, with owners and modes (1.1, 1.4). */
import { compareBytes } from "../../core/bytes.ts";
import { decodeText, encodeText, printable } from "../../core/text.ts";
import { unixMode, type ZipEntry } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { parseFilesystemConfig, type FileMetadata } from "./filesystem-config.ts";

/** Partitions that packages of files are made of. */
export type TreeName = "system" | "vendor";

/** Owners and modes of a tree's files. */
export const TREE_CONFIG: Readonly<Record<TreeName, string>> = Object.freeze({
  system: "META/filesystem_config.txt",
  vendor: "META/vendor_filesystem_config.txt",
});

/** One entry of a tree, named as it is on the device: `system/bin/sh`; folders end in `/`. */
export interface TreeEntry {
  readonly name: string;
  readonly entry: ZipEntry;
}

export interface SymbolicLink {
  /** What the link says. */
  readonly target: string;
  /** Where it stands, with a leading slash: `/system/bin/ls`. */
  readonly link: string;
}

export interface FileTree {
  readonly name: TreeName;
  readonly zip: ZipArchive;
  /** Files and folders in the order of the zip, links left out. */
  readonly files: readonly TreeEntry[];
  /** Links, sorted by target, then by place. */
  readonly links: readonly SymbolicLink[];
  /** Owner and mode by path (`system/bin/sh`). */
  readonly metadata: ReadonlyMap<string, FileMetadata>;
}

/** How links are told from files. */
export interface TreeOptions {
  /** `vendor`: as the 4.4 tool does. */
  readonly profile: "safe" | "vendor";
  note(level: "info" | "warning", text: string): void;
}

export const LINK_TYPE = 0o120000;
const TYPE_MASK = 0o170000;
/** The only mode the 4.4 tool takes for a link. */
const VENDOR_LINK_MODE = 0o120777;
/** No path on a device is longer. */
const MOST_LINK = 4096;

/** Whether an entry is a symbolic link, as the profile sees it. */
export function isLink(entry: ZipEntry, profile: "safe" | "vendor"): boolean {
  const mode = unixMode(entry);
  return profile === "vendor" ? mode === VENDOR_LINK_MODE : (mode & TYPE_MASK) === LINK_TYPE;
}

/** Links by target, links of one target in the order they come. */
export function sortedLinks(links: readonly SymbolicLink[]): SymbolicLink[] {
  return links
    .map((l) => [encodeText(l.target), l] as const)
    .sort(([a], [b]) => compareBytes(a, b))
    .map(([, l]) => l);
}

/** A tree of a build; `config`: text of its filesystem config. @throws OtaError ANDROID_TARGET_FILES, ZIP_* */
export async function readTree(
  zip: ZipArchive,
  name: TreeName,
  config: string | undefined,
  options: TreeOptions,
): Promise<FileTree> {
  const prefix = `${name.toUpperCase()}/`;
  const files: TreeEntry[] = [];
  const links: SymbolicLink[] = [];
  for (const entry of zip.entries) {
    if (!entry.name.startsWith(prefix)) continue;
    const path = `${name}/${entry.name.slice(prefix.length)}`;
    if (!isLink(entry, options.profile)) {
      files.push({ name: path, entry });
      continue;
    }
    links.push({ target: decodeText(await zip.read(entry, MOST_LINK)), link: `/${path}` });
    if (unixMode(entry) === VENDOR_LINK_MODE) continue;
    options.note(
      "warning",
      `${printable(entry.name)} is a link with an odd mode; the 4.4 tool would send it as a file`,
    );
  }
  const byPlace = links
    .map((l) => [encodeText(l.link), l] as const)
    .sort(([a], [b]) => compareBytes(a, b))
    .map(([, l]) => l);
  const metadata = parseFilesystemConfig(config ?? "", TREE_CONFIG[name]);
  return { name, zip, files, links: sortedLinks(byPlace), metadata };
}
