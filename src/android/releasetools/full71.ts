/**
 * Full packages of files as the 7.1 tool makes them: without `--block`, and where a build has no SYSTEM/recovery-from-boot.p.
 * The files are those of 4.4; the statements have error numbers (formats/android.md 2.5, 3.1).
 */
import { OtaError } from "../../core/errors.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { needImage } from "./frame.ts";
import { beginFull71, endFull71, FILE, mountFlags, type Options71 } from "./frame71.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { archiveEntry, type PlannedEntry } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders } from "./safe.ts";
import { withProfilePatches } from "./vendor-patches.ts";

/** Whether the build itself patches recovery at boot, so that packages need not bring the patch. */
export function hasRecoveryPatch(target: Pick<TargetFiles, "zip">): boolean {
  return target.zip.get("SYSTEM/recovery-from-boot.p") !== undefined;
}

/**
 * Builds with a vendor partition. The original looks for the folder's own entry only, which not every zip program writes.
 * @throws OtaError ANDROID_NOT_POSSIBLE
 */
export function refuseVendor({ zip }: TargetFiles, { profile }: MakeOptions): void {
  const found = zip.entries.find((e) => (profile === "vendor" ? e.name === "VENDOR/" : e.name.startsWith("VENDOR/")));
  if (found === undefined) return;
  throw new OtaError("ANDROID_NOT_POSSIBLE", {
    what: "file-based packages of builds with a vendor partition are not made",
    where: "VENDOR/",
    hint: hasRecoveryPatch({ zip })
      ? "Use --block."
      : "Use --block --brotli, which takes builds without SYSTEM/recovery-from-boot.p as well.",
  });
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

/** @throws OtaError ANDROID_*, ZIP_* */
export async function makeFull71(target: TargetFiles, made: Options71): Promise<MadePackage> {
  const options = withProfilePatches(made);
  refuseVendor(target, options);
  const full = await beginFull71(target, options, { type: "FILE" });
  const { script, plan, safe, note } = full.frame;
  script.showProgress(0.75 - (full.wipe ? 0.1 : 0), 0);
  script.format("/system");
  script.mount("/system", mountFlags(target, "/system"));
  const ownPatch = hasRecoveryPatch(target);
  if (!ownPatch) script.extractFolder("recovery", "/system");
  script.extractFolder("system", "/system");
  for (const { name, entry } of target.system) plan.add(copied(archiveEntry(target.zip, entry, name, true)));
  script.symlinks(target.links);

  const boot = await needImage(target, "boot");
  // The original brings the patch even where the script never unpacks it, and then names a file that may not be there.
  const bring = !ownPatch || !safe;
  if (bring) {
    const images = { boot, recovery: await needImage(target, "recovery") };
    await addRecoveryPatch(plan, target, images, options.patches, { era: "7.1", fileMode: FILE });
  }
  const names = [...target.system.map((s) => s.name), ...(bring ? RECOVERY_FILES : [])];
  writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);
  return endFull71(full, boot, target, options);
}
