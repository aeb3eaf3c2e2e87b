/** The files of a tree with their digests, and how two builds differ (formats/android.md 2.5). */
import { atOnce } from "../../core/at-once.ts";
import { compareBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Digests, ProgressSink } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { encodeText, printable } from "../../core/text.ts";
import type { ZipEntry } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import type { FileTree } from "../target-files/file-tree.ts";

/** One file (or folder, with a trailing slash and no content) of a build. */
export interface TreeFile {
  /** `system/bin/sh`. */
  readonly name: string;
  readonly zip: ZipArchive;
  readonly entry: ZipEntry;
  readonly size: number;
  /** Hex. */
  readonly sha1: string;
}

/** Files by name, names in ascending byte order. */
export type TreeFiles = ReadonlyMap<string, TreeFile>;

export interface LoadOptions {
  readonly digests: Digests;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel | undefined;
}

/** Files that are read at once: while one is hashed here, others are inflated on threads. */
const READ_AT_ONCE = 8;

/** Reads and hashes every file of a tree. @throws OtaError ZIP_CRC, ZIP_ENTRY, CANCELLED */
export async function loadTreeFiles(tree: FileTree, phase: string, options: LoadOptions): Promise<TreeFiles> {
  const sorted = tree.files
    .map((s) => [encodeText(s.name), s] as const)
    .sort(([a], [b]) => compareBytes(a, b))
    .map(([, s]) => s);
  const totalBytes = sorted.reduce((sum, s) => sum + s.entry.size, 0);
  const sums = new Array<string>(sorted.length);
  let doneBytes = 0;
  await atOnce(sorted, READ_AT_ONCE, async ({ entry }, index) => {
    checkCancel(options.cancel);
    const digest = options.digests.create("sha1");
    for await (const chunk of tree.zip.stream(entry)) digest.update(chunk);
    sums[index] = toHex(digest.digest());
    doneBytes += entry.size;
    options.progress.progress({ phase, doneBytes, totalBytes });
  });
  return new Map(
    sorted.map(({ name, entry }, i) => [
      name,
      { name, zip: tree.zip, entry, size: entry.size, sha1: sums[i] as string },
    ]),
  );
}

/** A file that exists in both builds and differs; the source may have another name. */
export interface FilePair {
  readonly source: TreeFile;
  readonly target: TreeFile;
}

export interface Classification {
  /** Sent whole, in the order they were decided. */
  readonly verbatim: TreeFile[];
  readonly pairs: FilePair[];
  /** Files that moved: source name to target. */
  readonly renames: Map<string, TreeFile>;
  /** Folders that exist on the device before files are renamed. */
  readonly knownFolders: Set<string>;
}

export interface ClassifyOptions {
  /** The target's updater can rename. */
  readonly renames: boolean;
  readonly requireVerbatim: ReadonlySet<string>;
  readonly prohibitVerbatim: ReadonlySet<string>;
  note(text: string): void;
}

/** Below this a moved file is sent again. */
const LEAST_MOVED = 1000;

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function folderName(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

/** Adds the folders above a file; a folder's own entry adds none. */
export function addFolders(path: string, to: Set<string>): void {
  if (path.endsWith("/")) return;
  for (let folder = folderName(path); folder !== "" && !to.has(folder); folder = folderName(folder)) to.add(folder);
}

/** @throws OtaError ANDROID_NOT_POSSIBLE when a file that must not be sent whole would be */
export function classify(source: TreeFiles, target: TreeFiles, options: ClassifyOptions): Classification {
  const moved = new Map<string, TreeFile>();
  const result: Classification = { verbatim: [], pairs: [], renames: new Map(), knownFolders: new Set() };
  for (const file of source.values()) {
    if (target.has(file.name)) addFolders(file.name, result.knownFolders);
    else moved.set(baseName(file.name), file);
  }
  for (const file of target.values()) {
    let from = source.get(file.name);
    if (from === undefined && options.renames && file.size >= LEAST_MOVED) {
      const candidate = moved.get(baseName(file.name));
      if (candidate !== undefined && !result.renames.has(candidate.name)) {
        from = candidate;
        options.note(`File has moved from ${from.name} to ${file.name}`);
        result.renames.set(from.name, file);
      }
    }
    if (from === undefined || options.requireVerbatim.has(file.name)) {
      if (options.prohibitVerbatim.has(file.name)) {
        throw new OtaError("ANDROID_NOT_POSSIBLE", {
          what: "a file that an incremental package must patch is not in the source build",
          where: printable(file.name),
          hint: "Make a full package.",
        });
      }
      options.note(`send ${file.name} verbatim`);
      result.verbatim.push(file);
      addFolders(file.name, result.knownFolders);
    } else if (from.sha1 !== file.sha1) result.pairs.push({ source: from, target: file });
  }
  return result;
}
