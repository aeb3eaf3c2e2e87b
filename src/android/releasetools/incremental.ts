/** Incremental packages at the 4.4 level: files are checked, patched, sent, moved and deleted (formats/android.md 2.5). */
import { withProfilePatches } from "./vendor-patches.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { addBootPatch, makeBootPatch, writeWholeBoot, type BootPatch } from "./boot-update.ts";
import { decide, sortedRenames, sum } from "./decide.ts";
import {
  checkPatched,
  goneLinks,
  unneededFiles,
  writeLast,
  writeLinksAndPermissions,
  writePatching,
  writeRenames,
  type FileChanges,
  type FileStatements,
} from "./file-changes.ts";
import { addScript } from "./finish.ts";
import { checkFrame, needImage, openFrame, withIncrementalHooks } from "./frame.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { twoStep } from "./two-step.ts";

/** Makes an incremental package. @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeIncremental(
  source: TargetFiles,
  target: TargetFiles,
  made: MakeOptions,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const metadata = new Map([
    ["pre-device", source.prop("ro.product.device")],
    ["post-timestamp", target.prop("ro.build.date.utc")],
  ]);
  const frame = withIncrementalHooks(openFrame(target, options, { era: "4.4", metadata }), source, target, options);
  const { script, plan, safe, note } = frame;
  if (source.info.recoveryApiVersion === 0) note("warning", "the source build's recovery cannot run edify scripts");
  if (source.prop("ro.product.device") !== target.prop("ro.product.device")) {
    note("warning", "the two builds are for different devices: no device will accept this package");
  }

  const steps = options.twoStep === true ? twoStep(target, "4.4") : undefined;
  const { renames: canRename } = target.info;
  const decided = await decide(plan, source.system, target.system, { ...options, renames: canRename });
  const { patched, verbatim, renames } = decided;
  const statements: FileStatements = {
    skipIfThere: (name, sha1) => script.skipIfExists(name, sha1),
    checkFile: (path, hashes) => script.checkFile(path, hashes),
    applyPatch: (patch) => script.applyPatch(patch),
  };
  const system = { source: source.system, target: target.system, decided };
  const changes: FileChanges = { frame, statements, info: target.info, system, trees: [system] };
  const preBuild = source.prop("ro.build.fingerprint");
  const postBuild = target.prop("ro.build.fingerprint");
  metadata.set("pre-build", preBuild);
  metadata.set("post-build", postBuild);

  script.mount("/system");
  script.assertSomeFingerprint([preBuild, postBuild]);

  const sourceBoot = await needImage(source, "boot");
  const targetBoot = await needImage(target, "boot");
  const updateBoot = steps === undefined && sourceBoot.sha1 !== targetBoot.sha1;
  const sourceRecovery = await needImage(source, "recovery");
  const targetRecovery = await needImage(target, "recovery");
  const updateRecovery = sourceRecovery.sha1 !== targetRecovery.sha1;
  if (safe) {
    if (updateBoot || steps !== undefined) checkImageSize(targetBoot, "/boot", target, note);
    if (updateRecovery || steps !== undefined) checkImageSize(targetRecovery, "/recovery", target, note);
  }

  script.assertDevice(target.prop("ro.product.device"));
  await frame.hook("incrementalOtaAssertions");
  if (steps !== undefined) {
    plan.addBytes("recovery.img", targetRecovery.data);
    steps.incrementalPrologue(script);
  }
  script.print("Verifying current system...");
  await frame.hook("incrementalOtaVerifyBegin");
  script.showProgress(0.1, 0);
  const boot = await writeChecks();
  await frame.hook("incrementalOtaVerifyEnd");
  steps?.incrementalMiddle(script);
  script.comment("---- start making changes here ----");
  await frame.hook("incrementalOtaInstallBegin");
  if (steps !== undefined) writeWholeBoot(frame, targetBoot);
  if (options.wipeUserData === true) {
    script.print("Erasing user data...");
    script.format("/data");
  }
  script.print("Removing unneeded files...");
  script.deleteFiles(unneededFiles(system));
  writePatching(changes, boot);
  if (updateRecovery) {
    await addRecoveryPatch(plan, target, { boot: targetBoot, recovery: targetRecovery }, options.patches);
    script.deleteFiles(RECOVERY_FILES.map((f) => `/${f}`));
    note("info", "recovery image changed; including as patch from boot.");
  } else note("info", "recovery image unchanged; skipping.");
  script.showProgress(0.1, 10);
  writeFiles();
  await frame.hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  writeLast(changes);
  steps?.incrementalEpilogue(script);
  script.unmountAll();
  checkFrame(frame, options);
  return addScript(frame, target, source.info.defaultKey);

  /** What must be true before the first change. */
  async function writeChecks(): Promise<BootPatch | undefined> {
    const total = sum(patched.map((p) => p.source.size)) + 1 + (updateBoot ? sourceBoot.data.length : 0);
    let done = 0;
    const progress = (bytes: number): void => script.setProgress((done += bytes) / total);
    checkPatched(changes, progress);
    if (safe) {
      // Files that only move: the original renames whatever is there.
      const inPatches = new Set(patched.map((p) => p.source.name));
      for (const [from, to] of sortedRenames(renames)) {
        if (inPatches.has(from)) continue;
        statements.skipIfThere(to.name, to.sha1);
        script.checkFile(`/${from}`, [to.sha1]);
      }
    }
    let boot: BootPatch | undefined;
    if (updateBoot) {
      const patch = await makeBootPatch(options.patches, sourceBoot, targetBoot);
      boot = addBootPatch(frame, patch, { from: sourceBoot, to: targetBoot, build: target });
      script.checkFile(boot.statement.source, boot.hashes);
      progress(sourceBoot.data.length);
      note("info", "boot image changed; including.");
    } else if (steps === undefined) note("info", "boot image unchanged; skipping.");
    if (patched.length > 0 || updateRecovery || updateBoot) {
      script.checkSpace(patched.reduce((most, p) => Math.max(most, p.source.size), 0));
    }
    return boot;
  }

  /** Links, new files, renames and permissions. */
  function writeFiles(): void {
    script.deleteFiles(goneLinks(changes.trees));
    if (verbatim.length > 0) {
      script.print("Unpacking new files...");
      script.extractFolder("system", "/system");
    }
    if (updateRecovery) {
      script.print("Unpacking new recovery...");
      script.extractFolder("recovery", "/system");
    }
    // A second run after a cut finds the file moved already; the original's script stops there.
    writeRenames(changes, safe);
    writeLinksAndPermissions(changes, updateRecovery);
  }
}
