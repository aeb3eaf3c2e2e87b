/**
 * Full packages of files as the 7.1 tool makes them: without `--block`, and where a build has no SYSTEM/recovery-from-boot.p.
 * The files are those of 4.4; the statements have error numbers (formats/android.md 2.5, 3.1).
 */
import type { FileTree } from "../target-files/file-tree.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { needImage } from "./frame.ts";
import { beginFull71, endFull71, FILE, mountFlags, type Full71, type Options71 } from "./frame71.ts";
import type { MadePackage } from "./options.ts";
import { archiveEntry, type PlannedEntry } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders } from "./safe.ts";
import { withProfilePatches } from "./vendor-patches.ts";

/** Whether the build itself patches recovery at boot, so that packages need not bring the patch. */
export function hasRecoveryPatch(target: Pick<TargetFiles, "zip">): boolean {
  return target.zip.get("SYSTEM/recovery-from-boot.p") !== undefined;
}

/** An entry of the build with its mode, and the date of the tool's own entries. */
function copied(entry: PlannedEntry): PlannedEntry {
  const { name, method, externalAttributes, versionMadeBy } = entry.input;
  const input = {
    name,
    ...(method === undefined ? {} : { method }),
    ...(externalAttributes === undefined ? {} : { externalAttributes }),
    ...(versionMadeBy === undefined ? {} : { versionMadeBy }),
  };
  return { ...entry, input };
}

/** A partition made anew: its files and links. `recovery`: the package brings the recovery patch. */
function writeTree({ frame }: Full71, tree: FileTree, target: TargetFiles, recovery: boolean): void {
  const { script, plan } = frame;
  const mountPoint = `/${tree.name}`;
  script.format(mountPoint);
  script.mount(mountPoint, mountFlags(target, mountPoint));
  if (recovery) script.extractFolder("recovery", mountPoint);
  script.extractFolder(tree.name, mountPoint);
  for (const { name, entry } of tree.files) plan.add(copied(archiveEntry(tree.zip, entry, name, true)));
  script.symlinks(tree.links);
}

/** @throws OtaError ANDROID_*, ZIP_* */
export async function makeFull71(target: TargetFiles, made: Options71): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const full = await beginFull71(target, options, { type: "FILE" });
  const { script, plan, safe, note } = full.frame;
  const { system, vendor, info } = target;
  const skip = (tree: FileTree): Set<string> | undefined => (safe ? emptyFolders(tree, info, note) : undefined);
  const ownPatch = hasRecoveryPatch(target);
  script.showProgress(0.75 - (full.wipe ? 0.1 : 0) - (vendor === undefined ? 0 : 0.1), 0);
  writeTree(full, system, target, !ownPatch);

  const boot = await needImage(target, "boot");
  // The original brings the patch even where the script never unpacks it, and then names a file that may not be there.
  const bring = !ownPatch || !safe;
  if (bring) {
    const images = { boot, recovery: await needImage(target, "recovery") };
    await addRecoveryPatch(plan, target, images, options.patches, { era: "7.1", fileMode: FILE });
  }
  writePermissions(script, system, bring ? RECOVERY_FILES : [], skip(system));
  if (vendor !== undefined) {
    script.showProgress(0.1, 0);
    writeTree(full, vendor, target, false);
    writePermissions(script, vendor, [], skip(vendor));
  }
  return endFull71(full, boot, target, options);
}
