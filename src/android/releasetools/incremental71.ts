/** Incremental packages of files as the 7.1 tool makes them (formats/android.md 2.5, 3.1). */
import { OtaError } from "../../core/errors.ts";
import * as write from "../block/script.ts";
import type { FileTree } from "../target-files/file-tree.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { addBootPatch, makeBootPatch, writeWholeBoot, type BootPatch } from "./boot-update.ts";
import { decide } from "./decide.ts";
import {
  checkPatched,
  goneLinks,
  unneededFiles,
  writeLast,
  writeLinksAndPermissions,
  writePatching,
  writeRenames,
  type FileChanges,
  type TreeChanges,
} from "./file-changes.ts";
import { needImage } from "./frame.ts";
import {
  beginChecks71,
  beginIncremental71,
  endChecks71,
  endIncremental71,
  FILE,
  finish71,
  mountFlags,
  openIdentity71,
  type Options71,
} from "./frame71.ts";
import { hasRecoveryPatch } from "./full71.ts";
import { assertBuild } from "./identity.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage } from "./options.ts";
import { addRecoveryPatch } from "./recovery-patch.ts";
import { quote, type Script } from "./script.ts";
import { withProfilePatches } from "./vendor-patches.ts";

/** Symbolic links of the source that are gone: where a file takes the place, only as long as it is not there yet. */
function deleteOldLinks(script: Script, trees: readonly TreeChanges[]): void {
  const files = new Map<string, string>();
  for (const { decided } of trees) {
    for (const f of [...decided.verbatim, ...decided.renames.values()]) files.set(`/${f.name}`, f.sha1);
  }
  const gone = goneLinks(trees);
  script.deleteFiles(gone.filter((link) => !files.has(link)));
  for (const link of gone) {
    const sha1 = files.get(link);
    if (sha1 === undefined) continue;
    script.append(`sha1_check(read_file(${quote(link)}), "${sha1}") || delete(${quote(link)});`);
  }
}

/** The trees of two builds, side by side. @throws OtaError ANDROID_NOT_POSSIBLE when only one has a vendor partition */
function pairTrees(source: TargetFiles, target: TargetFiles): readonly (readonly [FileTree, FileTree])[] {
  const system = [source.system, target.system] as const;
  if (source.vendor !== undefined && target.vendor !== undefined) return [system, [source.vendor, target.vendor]];
  if (source.vendor === target.vendor) return [system];
  const [has, lacks] = source.vendor === undefined ? ["target", "source"] : ["source", "target"];
  throw new OtaError("ANDROID_NOT_POSSIBLE", {
    what: "only one of the two builds has a vendor partition",
    where: "VENDOR/",
    expected: "the same partitions in both builds: an incremental cannot make or remove one",
    found: `VENDOR/ in the ${has} build, none in the ${lacks} build`,
    hint: "Make a full package, or add VENDOR/ and META/vendor_filesystem_config.txt to the build that lacks them.",
  });
}

/** @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeIncremental71(
  source: TargetFiles,
  target: TargetFiles,
  made: Options71,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const pairs = pairTrees(source, target);
  const incremental = beginIncremental71(source, target, options, { type: "FILE" });
  const { frame, before, after, steps } = incremental;
  const { script, plan, safe, note } = frame;
  const how = { ...options, renames: target.info.renames, fileMode: FILE };
  const trees: TreeChanges[] = [];
  for (const [from, to] of pairs) trees.push({ source: from, target: to, decided: await decide(plan, from, to, how) });
  const changes: FileChanges = {
    frame,
    statements: {
      skipIfThere: (name, sha1) => script.append(`sha1_check(read_file(${quote(name)}), ${sha1}) ||`),
      checkFile: (path, hashes) => write.checkFile(script, path, hashes),
      applyPatch: (patch) => write.applyPatch(script, patch),
    },
    info: target.info,
    system: trees[0] as TreeChanges,
    trees,
  };
  const mount = (tree: FileTree): void => script.mount(`/${tree.name}`, mountFlags(target, `/${tree.name}`));
  openIdentity71(frame, after, target, options);
  for (const { target: tree } of trees) mount(tree);
  assertBuild(script, before, after);
  const [sourceBoot, targetBoot] = [await needImage(source, "boot"), await needImage(target, "boot")];
  const [sourceRecovery, targetRecovery] = [await needImage(source, "recovery"), await needImage(target, "recovery")];
  const updateBoot = steps === undefined && sourceBoot.sha1 !== targetBoot.sha1;
  const updateRecovery = sourceRecovery.sha1 !== targetRecovery.sha1;
  const bringRecovery = updateRecovery && !hasRecoveryPatch(target);
  if (safe && (updateBoot || steps !== undefined)) checkImageSize(targetBoot, "/boot", target, note);
  if (safe && updateRecovery && steps === undefined) checkImageSize(targetRecovery, "/recovery", target, note);

  await beginChecks71(incremental, target);
  script.showProgress(0.1, 0);
  const boot = await writeChecks();
  script.comment("---- start making changes here ----");
  await frame.hook("incrementalOtaInstallBegin");
  if (steps !== undefined) writeWholeBoot(frame, targetBoot, FILE);
  script.print("Removing unneeded files...");
  // Descending: what is in a folder goes before the folder.
  for (const tree of trees) script.deleteFiles(unneededFiles(tree).sort().reverse());
  writePatching(changes, boot);
  if (bringRecovery) {
    const images = { boot: targetBoot, recovery: targetRecovery };
    await addRecoveryPatch(plan, target, images, options.patches, { era: "7.1", fileMode: FILE });
    script.deleteFiles(["/system/recovery-from-boot.p", "/system/etc/recovery.img", "/system/etc/install-recovery.sh"]);
  }
  note(
    "info",
    updateRecovery ? "recovery image changed; including as patch from boot." : "recovery image unchanged; skipping.",
  );
  script.showProgress(0.1, 10);
  deleteOldLinks(script, trees);
  for (const { target: tree, decided } of trees) {
    if (decided.verbatim.length === 0) continue;
    script.print(`Unpacking new ${tree.name} files...`);
    script.extractFolder(tree.name, `/${tree.name}`);
  }
  if (bringRecovery) {
    script.print("Unpacking new recovery...");
    script.extractFolder("recovery", "/system");
  }
  // 5.0 and later make missing folders and take a file that moved already for moved.
  writeRenames(changes, false);
  writeLinksAndPermissions(changes, bringRecovery);
  await frame.hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  writeLast(changes);
  endIncremental71(incremental);
  if (options.verify === true) {
    for (const { target: tree, decided } of trees) {
      script.print(`Remounting and verifying ${tree.name} partition files...`);
      script.unmountAll();
      mount(tree);
      for (const { name, sha1 } of decided.target.values()) {
        if (!name.endsWith("/")) script.append(`assert(sha1_check(read_file(${quote(`/${name}`)}), "${sha1}"));`);
      }
    }
  }
  return finish71(frame, target, options);

  /** What must be true before the first change. */
  async function writeChecks(): Promise<BootPatch | undefined> {
    checkPatched(changes, () => undefined);
    const required = trees.flatMap((t) => t.decided.patched.map((p) => p.source.size));
    let boot: BootPatch | undefined;
    if (updateBoot) {
      const patch = await makeBootPatch(options.patches, sourceBoot, targetBoot);
      boot = addBootPatch(frame, patch, { from: sourceBoot, to: targetBoot, build: source, fileMode: FILE });
      write.checkFile(script, boot.statement.source, boot.hashes);
      required.push(targetBoot.data.length);
    }
    await endChecks71(
      incremental,
      required.length === 0 ? undefined : required.reduce((most, n) => Math.max(most, n), 0),
    );
    return boot;
  }
}
