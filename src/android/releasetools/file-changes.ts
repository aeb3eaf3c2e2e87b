/** Statements of incremental packages of files that are alike in 4.4 and 7.1, but for the words they are written with. */
import { sortedLinks, type FileTree, type SymbolicLink } from "../target-files/file-tree.ts";
import type { MiscInfo } from "../target-files/misc-info.ts";
import type { BootPatch } from "./boot-update.ts";
import { isMoved, LAST, patchStatement, sortedRenames, sum, type Decided } from "./decide.ts";
import type { Frame } from "./frame.ts";
import { writePermissions } from "./permissions.ts";
import { RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders, foldersBecomeLinks } from "./safe.ts";
import type { PatchStatement } from "./script.ts";

/** How a year writes them. */
export interface FileStatements {
  /** Passes over the next statement when the file is there already. */
  skipIfThere(name: string, sha1: string): void;
  checkFile(path: string, hashes: readonly string[]): void;
  applyPatch(patch: PatchStatement): void;
}

/** What happens to one tree. */
export interface TreeChanges {
  readonly source: FileTree;
  readonly target: FileTree;
  readonly decided: Decided;
}

/** What an incremental of files does, decided. */
export interface FileChanges {
  readonly frame: Frame;
  readonly statements: FileStatements;
  /** The target's. */
  readonly info: MiscInfo;
  readonly system: TreeChanges;
  /** The system, and the vendor partition where the builds have one. */
  readonly trees: readonly TreeChanges[];
}

/** Checks of the files that are patched; `done` is called with the bytes after each. */
export function checkPatched({ statements, trees }: FileChanges, done: (bytes: number) => void): void {
  for (const pair of trees.flatMap((t) => t.decided.patched)) {
    if (isMoved(pair)) statements.skipIfThere(pair.target.name, pair.target.sha1);
    statements.checkFile(`/${pair.source.name}`, [pair.target.sha1, pair.source.sha1]);
    done(pair.source.size);
  }
}

/** Files that go before others are written. */
export function unneededFiles({ target: tree, decided }: TreeChanges): string[] {
  const { verbatim, renames, source, target } = decided;
  return [
    ...verbatim.map((f) => `/${f.name}`),
    ...[...source.keys()].filter((n) => !target.has(n) && !renames.has(n)).map((n) => `/${n}`),
    ...(tree.name === "system" ? ["/system/recovery.img"] : []),
  ];
}

/** Patches files, tree after tree, then the boot image; the fraction runs on. */
export function writePatching({ frame, statements, trees }: FileChanges, boot: BootPatch | undefined): void {
  const { script } = frame;
  script.showProgress(0.8, 0);
  const sizes = trees.flatMap((t) => t.decided.patched.map((p) => p.source.size));
  const total = sum(sizes) + 1 + (boot?.to.data.length ?? 0);
  let done = 0;
  for (const { target, decided } of trees) {
    script.print(`Patching ${target.name} files...`);
    for (const pair of decided.patched) {
      if (pair.target.name === LAST) continue;
      if (isMoved(pair)) statements.skipIfThere(pair.target.name, pair.target.sha1);
      statements.applyPatch(patchStatement(pair));
      done += pair.target.size;
      script.setProgress(done / total);
    }
  }
  if (boot === undefined) return;
  script.print("Patching boot image...");
  statements.applyPatch(boot.statement);
  done += boot.to.data.length;
  script.setProgress(done / total);
}

/** Files that move; `skip`: a file that moved already is passed over, which `rename` of 4.4 does not do by itself. */
export function writeRenames({ frame, statements, trees }: FileChanges, skip: boolean): void {
  const { script, note } = frame;
  for (const { decided } of trees) {
    if (decided.renames.size > 0) script.print("Renaming files...");
    for (const [from, to] of sortedRenames(decided.renames)) {
      note("info", `Renaming ${from} to ${to.name}`);
      if (skip) statements.skipIfThere(to.name, to.sha1);
      script.rename(from, to.name);
    }
  }
}

/** Symbolic links of the source that are gone, by place. */
export function goneLinks(trees: readonly TreeChanges[]): string[] {
  return trees.flatMap(({ source, target }) => {
    const after = new Set(target.links.map((l) => l.link));
    return source.links.map((l) => l.link).filter((link) => !after.has(link));
  });
}

function changedLinks({ source, target }: TreeChanges): SymbolicLink[] {
  const before = new Map(source.links.map((l) => [l.link, l.target]));
  return target.links.filter((l) => before.get(l.link) !== l.target);
}

/** `withRecovery`: the package brings the recovery patch and its script. */
export function writeLinksAndPermissions(changes: FileChanges, withRecovery: boolean): void {
  const { frame, info, trees } = changes;
  const { script, safe, note } = frame;
  script.print("Symlinks and permissions...");
  const changed = trees.flatMap(changedLinks);
  script.deleteFiles(changed.map((l) => l.link));
  const before = trees.flatMap((t) => [...t.decided.source.keys()]);
  if (safe) foldersBecomeLinks(script, changed, before, note);
  script.symlinks(sortedLinks(changed));
  for (const { target } of trees) {
    const generated = withRecovery && target.name === "system" ? RECOVERY_FILES : [];
    writePermissions(script, target, generated, safe ? emptyFolders(target, info, note) : undefined);
  }
}

/** The properties by which a device says what it is change last. */
export function writeLast({ frame, statements, system: { decided, target } }: FileChanges): void {
  const { script, safe } = frame;
  script.print("Patching remaining system files...");
  const last = decided.patched.find((p) => p.target.name === LAST);
  if (last !== undefined) statements.applyPatch(patchStatement(last));
  // The original sets owner and mode only, and the file loses the label that a full package gives it.
  script.setMetadata(`/${LAST}`, (safe ? target.metadata.get(LAST) : undefined) ?? { uid: 0, gid: 0, mode: 0o644 });
}
