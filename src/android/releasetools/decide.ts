/** Which files of an incremental are patched, sent, moved (formats/android.md 2.5), and how statements name them. */
import type { FileTree } from "../target-files/file-tree.ts";
import type { MakeOptions } from "./options.ts";
import { archiveEntry, modeAttributes, type PackagePlan } from "./package-plan.ts";
import { makePatches } from "./patches.ts";
import { patchTooLarge, sendStrandedFiles } from "./safe.ts";
import type { PatchStatement } from "./script.ts";
import { addFolders, classify, folderName, loadTreeFiles, type FilePair, type TreeFile } from "./tree-files.ts";

/** Patched last: a device with the old fingerprint can run the package again. */
export const LAST = "system/build.prop";

const PROHIBIT_VERBATIM: ReadonlySet<string> = new Set([LAST]);

/** What happens to each file. */
export interface Decided {
  /** Patched files in order. */
  readonly patched: readonly FilePair[];
  readonly verbatim: readonly TreeFile[];
  /** Source name to target. */
  readonly renames: ReadonlyMap<string, TreeFile>;
  readonly source: ReadonlyMap<string, TreeFile>;
  readonly target: ReadonlyMap<string, TreeFile>;
}

/** Name of a patch in the package. */
export function patchName(source: TreeFile): string {
  return `patch/${source.name}.p`;
}

/**
 * Compares a tree of two builds, makes the patches and puts files and patches into the package. `renames`: the device can
 * rename; `fileMode`: Unix mode of their entries, default 0o644 without a type, as the 4.4 tool has it.
 */
export async function decide(
  plan: PackagePlan,
  source: FileTree,
  target: FileTree,
  options: MakeOptions & { readonly renames: boolean; readonly fileMode?: number },
): Promise<Decided> {
  const { progress } = options;
  const safe = options.profile !== "vendor";
  const targetFiles = await loadTreeFiles(target, "read target", options);
  const sourceFiles = await loadTreeFiles(source, "read source", options);
  const classes = classify(sourceFiles, targetFiles, {
    renames: options.renames,
    requireVerbatim: new Set(),
    prohibitVerbatim: PROHIBIT_VERBATIM,
    note: (text) => progress.note("info", text),
  });
  const { verbatim, pairs, renames, knownFolders } = classes;
  const mode = options.fileMode ?? 0o644;
  const send = (file: TreeFile): void => {
    const entry = archiveEntry(file.zip, file.entry, file.name, false);
    plan.add({ ...entry, input: { ...entry.input, externalAttributes: modeAttributes(mode) } });
  };
  verbatim.forEach(send);

  const patches = await makePatches(pairs, {
    maker: options.patches,
    progress,
    cancel: options.cancel,
    fallback: safe,
  });
  const patched: FilePair[] = [];
  for (const [i, pair] of pairs.entries()) {
    const patch = patches[i];
    const worth =
      patch !== undefined &&
      !patchTooLarge(patch.length, pair.target, safe) &&
      knownFolders.has(folderName(pair.target.name));
    // Without its properties a device cannot say what it is: the safe profile never deletes them to send them again.
    if (patch !== undefined && (worth || (safe && pair.target.name === LAST && pair.source.name === LAST))) {
      plan.addBytes(patchName(pair.source), patch, mode);
      patched.push(pair);
      continue;
    }
    send(pair.target);
    verbatim.push(pair.target);
    addFolders(pair.target.name, knownFolders);
    if (renames.get(pair.source.name) === pair.target) renames.delete(pair.source.name);
  }
  if (safe) {
    const addVerbatim = (file: TreeFile): void => {
      send(file);
      verbatim.push(file);
      addFolders(file.name, knownFolders);
    };
    sendStrandedFiles(classes, addVerbatim, (level, text) => progress.note(level, text));
  }
  return { patched, verbatim, renames, source: sourceFiles, target: targetFiles };
}

export function sum(sizes: Iterable<number>): number {
  let total = 0;
  for (const size of sizes) total += size;
  return total;
}

/** Whether the source has another name. */
export function isMoved({ source, target }: FilePair): boolean {
  return source.name !== target.name;
}

export function patchStatement({ source, target }: FilePair): PatchStatement {
  return {
    source: `/${source.name}`,
    targetSize: target.size,
    targetSha1: target.sha1,
    sourceSha1: source.sha1,
    patch: patchName(source),
  };
}

/** Renames by source name. */
export function sortedRenames(renames: ReadonlyMap<string, TreeFile>): [string, TreeFile][] {
  return [...renames].sort(([a], [b]) => (a < b ? -1 : 1));
}
