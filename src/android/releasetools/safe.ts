/**
 * Where the safe profile leaves the original: cases in which the original's package fails on a device
 * (formats/android.md section 9). Each has one function here, and one row in docs/profiles.md.
 */
import type { FileTree, SymbolicLink } from "../target-files/file-tree.ts";
import type { MiscInfo } from "../target-files/misc-info.ts";
import { quote, type Script } from "./script.ts";
import { folderName, type Classification, type TreeFile } from "./tree-files.ts";

type Note = (level: "info" | "warning", text: string) => void;

/**
 * Folders that never reach the device, because only files and links make folders there. A `set_perm` for one of them stops
 * the script, so none is written; `set_metadata` passes over what is missing.
 */
export function emptyFolders(tree: FileTree, { useSetMetadata }: MiscInfo, note: Note): Set<string> {
  const empty = new Set<string>();
  if (useSetMetadata) return empty;
  const filled = new Set<string>();
  const paths = [...tree.files.map((f) => f.name), ...tree.links.map((l) => l.link.slice(1))];
  for (const path of paths) {
    if (path.endsWith("/")) continue;
    for (let f = folderName(path); f !== "" && !filled.has(f); f = folderName(f)) filled.add(f);
  }
  for (const { name } of tree.files) {
    const folder = name.slice(0, -1);
    if (!name.endsWith("/") || filled.has(folder)) continue;
    empty.add(folder);
    note("warning", `${name} is empty and will not exist on the device: no permissions are set for it`);
  }
  return empty;
}

/**
 * Moved files whose new folder does not exist on the device when they are renamed: the original's script fails there, so
 * they are sent whole. Patched ones are treated so by the original, too.
 */
export function sendStrandedFiles(c: Classification, addVerbatim: (file: TreeFile) => void, note: Note): void {
  const patched = new Set(c.pairs.map((p) => p.target.name));
  for (const [from, target] of [...c.renames]) {
    if (patched.has(target.name) || c.knownFolders.has(folderName(target.name))) continue;
    c.renames.delete(from);
    addVerbatim(target);
    note(
      "warning",
      `${target.name} moved into a folder the device does not have: it is sent whole, rename() would fail`,
    );
  }
}

/** A patch above this share of the target is not used; a patch of exactly this size still is. */
const THRESHOLD = 0.95;

/**
 * Whether a file is better sent whole. The safe profile also compares with the file as it is packed: text that shrinks to a
 * tenth is sent cheaper than with a patch of half its size.
 */
export function patchTooLarge(patchSize: number, target: TreeFile, safe: boolean): boolean {
  if (patchSize > target.size * THRESHOLD) return true;
  return safe && target.entry.method === 8 && patchSize > target.entry.compressedSize;
}

/**
 * A folder of the source that is a link in the target: `symlink` cannot replace a folder and stops the script, so the folder,
 * whose files are all deleted by then, is removed first.
 */
export function foldersBecomeLinks(
  script: Script,
  links: readonly SymbolicLink[],
  source: Iterable<string>,
  note: Note,
): void {
  const folders = new Set<string>();
  for (const name of source) {
    for (let f = folderName(name); f !== "" && !folders.has(f); f = folderName(f)) folders.add(f);
  }
  const replaced = links.map((l) => l.link).filter((link) => folders.has(link.slice(1)));
  if (replaced.length === 0) return;
  script.append(`delete_recursive(${replaced.map(quote).join(", ")});`);
  note("warning", `folders become links and are removed first: ${replaced.join(", ")}`);
}
