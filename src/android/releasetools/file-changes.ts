/** Statements of incremental packages of files that are alike in 4.4 and 7.1, but for the words they are written with. */
import type { SymbolicLink, TargetFiles } from "../target-files/target-files.ts";
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

/** What an incremental of files does, decided. */
export interface FileChanges {
  readonly frame: Frame;
  readonly statements: FileStatements;
  readonly decided: Decided;
  readonly source: TargetFiles;
  readonly target: TargetFiles;
}

/** Checks of the files that are patched; `done` is called with the bytes after each. */
export function checkPatched({ statements, decided }: FileChanges, done: (bytes: number) => void): void {
  for (const pair of decided.patched) {
    if (isMoved(pair)) statements.skipIfThere(pair.target.name, pair.target.sha1);
    statements.checkFile(`/${pair.source.name}`, [pair.target.sha1, pair.source.sha1]);
    done(pair.source.size);
  }
}

/** Files that go before others are written. */
export function unneededFiles({ verbatim, renames, source, target }: Decided): string[] {
  return [
    ...verbatim.map((f) => `/${f.name}`),
    ...[...source.keys()].filter((n) => !target.has(n) && !renames.has(n)).map((n) => `/${n}`),
    "/system/recovery.img",
  ];
}

/** Patches files, then the boot image. */
export function writePatching({ frame, statements, decided }: FileChanges, boot: BootPatch | undefined): void {
  const { script } = frame;
  const { patched } = decided;
  script.showProgress(0.8, 0);
  script.print("Patching system files...");
  const total = sum(patched.map((p) => p.source.size)) + 1 + (boot?.to.data.length ?? 0);
  let done = 0;
  for (const pair of patched) {
    if (pair.target.name === LAST) continue;
    if (isMoved(pair)) statements.skipIfThere(pair.target.name, pair.target.sha1);
    statements.applyPatch(patchStatement(pair));
    done += pair.target.size;
    script.setProgress(done / total);
  }
  if (boot === undefined) return;
  script.print("Patching boot image...");
  statements.applyPatch(boot.statement);
  done += boot.to.data.length;
  script.setProgress(done / total);
}

/** Files that move; `skip`: a file that moved already is passed over, which `rename` of 4.4 does not do by itself. */
export function writeRenames({ frame, statements, decided }: FileChanges, skip: boolean): void {
  const { script, note } = frame;
  if (decided.renames.size === 0) return;
  script.print("Renaming files...");
  for (const [from, to] of sortedRenames(decided.renames)) {
    note("info", `Renaming ${from} to ${to.name}`);
    if (skip) statements.skipIfThere(to.name, to.sha1);
    script.rename(from, to.name);
  }
}

/** `withRecovery`: the package brings the recovery patch and its script. */
export function writeLinksAndPermissions(changes: FileChanges, withRecovery: boolean): void {
  const { frame, decided, source, target } = changes;
  const { script, safe, note } = frame;
  script.print("Symlinks and permissions...");
  const before = new Map(source.links.map((l) => [l.link, l.target]));
  const changed = target.links.filter((l: SymbolicLink) => before.get(l.link) !== l.target);
  script.deleteFiles(changed.map((l) => l.link));
  if (safe) foldersBecomeLinks(script, changed, decided.source, note);
  script.symlinks(changed);
  const names = [...target.system.map((s) => s.name), ...(withRecovery ? RECOVERY_FILES : [])];
  writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);
}

/** The properties by which a device says what it is change last. */
export function writeLast({ frame, statements, decided, target }: FileChanges): void {
  const { script, safe } = frame;
  script.print("Patching remaining system files...");
  const last = decided.patched.find((p) => p.target.name === LAST);
  if (last !== undefined) statements.applyPatch(patchStatement(last));
  // The original sets owner and mode only, and the file loses the label that a full package gives it.
  script.setMetadata(`/${LAST}`, (safe ? target.metadata.get(LAST) : undefined) ?? { uid: 0, gid: 0, mode: 0o644 });
}
