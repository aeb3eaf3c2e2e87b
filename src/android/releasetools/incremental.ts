/** Incremental packages at the 4.4 level: files are checked, patched, sent, moved and deleted (formats/android.md 2.5). */
import { withProfilePatches } from "./vendor-patches.ts";
import type { SymbolicLink, TargetFiles } from "../target-files/target-files.ts";
import { checkScript } from "./check-script.ts";
import { bootName, decide, isMoved, LAST, patchStatement, sortedRenames, sum } from "./decide.ts";
import { extensionInput, extensionOutput, type DeviceExtension, type IncrementalOta } from "./extension.ts";
import { addScript, METADATA_NAME, metadataText } from "./finish.ts";
import { needImage } from "./full.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { createPlan } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders, foldersBecomeLinks } from "./safe.ts";
import { createScript } from "./script.ts";
import { twoStep } from "./two-step.ts";

/** Makes an incremental package. @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeIncremental(
  source: TargetFiles,
  target: TargetFiles,
  made: MakeOptions,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const { progress } = options;
  const safe = options.profile !== "vendor";
  const note = (level: "info" | "warning", text: string): void => progress.note(level, text);
  if (source.info.recoveryApiVersion === 0) note("warning", "the source build's recovery cannot run edify scripts");
  const script = createScript({ fstab: target.fstab, useSetMetadata: target.info.useSetMetadata });
  const plan = createPlan();
  const metadata = new Map([
    ["pre-device", source.prop("ro.product.device")],
    ["post-timestamp", target.prop("ro.build.date.utc")],
  ]);
  if (source.prop("ro.product.device") !== target.prop("ro.product.device")) {
    note("warning", "the two builds are for different devices: no device will accept this package");
  }
  if (options.fota === true) metadata.set("fota", "on");
  const ota: IncrementalOta = {
    kind: "incremental",
    script,
    source: extensionInput(source.zip),
    target: extensionInput(target.zip),
    output: extensionOutput(plan),
    sourceVersion: source.info.recoveryApiVersion,
    targetVersion: target.info.recoveryApiVersion,
    metadata,
    info: target.info.values,
    sourceInfo: source.info.values,
    extras: options.extras ?? new Map(),
    note,
  };
  const hook = async (name: keyof DeviceExtension & `incremental${string}`): Promise<void> => {
    await (options.extension?.[name] as ((ota: IncrementalOta) => void | Promise<void>) | undefined)?.(ota);
  };

  const steps = options.twoStep === true ? twoStep(target) : undefined;
  const decided = await decide(plan, source, target, options);
  const { patched, verbatim, renames } = decided;
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
  await hook("incrementalOtaAssertions");
  if (steps !== undefined) {
    plan.addBytes("recovery.img", targetRecovery.data);
    steps.incrementalPrologue(script);
  }
  script.print("Verifying current system...");
  await hook("incrementalOtaVerifyBegin");
  script.showProgress(0.1, 0);
  await writeChecks();
  await hook("incrementalOtaVerifyEnd");
  steps?.incrementalMiddle(script);
  script.comment("---- start making changes here ----");
  await hook("incrementalOtaInstallBegin");
  if (steps !== undefined) {
    plan.addBytes("boot.img", targetBoot.data);
    script.writeRawImage("/boot", "boot.img");
    note("info", "writing full boot image (forced by two-step mode)");
  }
  if (options.wipeUserData === true) {
    script.print("Erasing user data...");
    script.format("/data");
  }
  script.print("Removing unneeded files...");
  script.deleteFiles([
    ...verbatim.map((f) => `/${f.name}`),
    ...[...decided.source.keys()].filter((n) => !decided.target.has(n) && !renames.has(n)).map((n) => `/${n}`),
    "/system/recovery.img",
  ]);
  writePatching();
  if (updateRecovery) {
    await addRecoveryPatch(plan, target, { boot: targetBoot, recovery: targetRecovery }, options.patches);
    script.deleteFiles(RECOVERY_FILES.map((f) => `/${f}`));
    note("info", "recovery image changed; including as patch from boot.");
  } else note("info", "recovery image unchanged; skipping.");
  script.showProgress(0.1, 10);
  writeFiles();
  await hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);

  script.print("Patching remaining system files...");
  const last = patched.find((p) => p.target.name === LAST);
  if (last !== undefined) script.applyPatch(patchStatement(last));
  // The original sets owner and mode only, and the file loses the label that a full package gives it.
  script.setMetadata(`/${LAST}`, (safe ? target.metadata.get(LAST) : undefined) ?? { uid: 0, gid: 0, mode: 0o644 });
  steps?.incrementalEpilogue(script);
  script.unmountAll();
  checkScript(script.text(), {
    era: "4.4",
    profile: options.profile ?? "safe",
    extraScript: options.extraScript,
    note,
  });
  addScript(plan, script, target);
  plan.addText(METADATA_NAME, metadataText(metadata));
  return { plan, script: script.text(), metadata, defaultKey: source.info.defaultKey };

  /** What must be true before the first change. */
  async function writeChecks(): Promise<void> {
    const total = sum(patched.map((p) => p.source.size)) + 1 + (updateBoot ? sourceBoot.data.length : 0);
    let done = 0;
    for (const pair of patched) {
      if (isMoved(pair)) script.skipIfExists(pair.target.name, pair.target.sha1);
      script.checkFile(`/${pair.source.name}`, [pair.target.sha1, pair.source.sha1]);
      done += pair.source.size;
      script.setProgress(done / total);
    }
    if (safe) {
      // Files that only move: the original renames whatever is there.
      const inPatches = new Set(patched.map((p) => p.source.name));
      for (const [from, to] of sortedRenames(renames)) {
        if (inPatches.has(from)) continue;
        script.skipIfExists(to.name, to.sha1);
        script.checkFile(`/${from}`, [to.sha1]);
      }
    }
    if (updateBoot) {
      const patch =
        (await options.patches.imgdiff(sourceBoot.data, targetBoot.data, { zip: false })) ??
        (await options.patches.bsdiff(sourceBoot.data, targetBoot.data));
      plan.addBytes("patch/boot.img.p", patch);
      note(
        "info",
        `boot      target: ${targetBoot.data.length}  source: ${sourceBoot.data.length}  diff: ${patch.length}`,
      );
      // Without hashes the copy in /cache never counts, and an update cut while it wrote the partition cannot go on.
      const hashes = safe ? [targetBoot.sha1, sourceBoot.sha1] : [];
      script.checkFile(bootName(target, sourceBoot, targetBoot), hashes);
      done += sourceBoot.data.length;
      script.setProgress(done / total);
      note("info", "boot image changed; including.");
    } else if (steps === undefined) note("info", "boot image unchanged; skipping.");
    if (patched.length > 0 || updateRecovery || updateBoot) {
      script.checkSpace(patched.reduce((most, p) => Math.max(most, p.source.size), 0));
    }
  }

  function writePatching(): void {
    script.showProgress(0.8, 0);
    script.print("Patching system files...");
    const total = sum(patched.map((p) => p.source.size)) + 1 + (updateBoot ? targetBoot.data.length : 0);
    let done = 0;
    for (const pair of patched) {
      if (pair.target.name === LAST) continue;
      if (isMoved(pair)) script.skipIfExists(pair.target.name, pair.target.sha1);
      script.applyPatch(patchStatement(pair));
      done += pair.target.size;
      script.setProgress(done / total);
    }
    if (!updateBoot) return;
    script.print("Patching boot image...");
    script.applyPatch({
      source: bootName(target, sourceBoot, targetBoot),
      targetSize: targetBoot.data.length,
      targetSha1: targetBoot.sha1,
      sourceSha1: sourceBoot.sha1,
      patch: "patch/boot.img.p",
    });
    done += targetBoot.data.length;
    script.setProgress(done / total);
  }

  /** Links, new files, renames and permissions. */
  function writeFiles(): void {
    const before = new Map(source.links.map((l) => [l.link, l.target]));
    const after = new Set(target.links.map((l) => l.link));
    script.deleteFiles(source.links.map((l) => l.link).filter((link) => !after.has(link)));
    if (verbatim.length > 0) {
      script.print("Unpacking new files...");
      script.extractFolder("system", "/system");
    }
    if (updateRecovery) {
      script.print("Unpacking new recovery...");
      script.extractFolder("recovery", "/system");
    }
    if (renames.size > 0) {
      script.print("Renaming files...");
      for (const [from, to] of sortedRenames(renames)) {
        note("info", `Renaming ${from} to ${to.name}`);
        // A second run after a cut finds the file moved already; the original's script stops there.
        if (safe) script.skipIfExists(to.name, to.sha1);
        script.rename(from, to.name);
      }
    }
    script.print("Symlinks and permissions...");
    const changed = target.links.filter((l: SymbolicLink) => before.get(l.link) !== l.target);
    script.deleteFiles(changed.map((l) => l.link));
    if (safe) foldersBecomeLinks(script, changed, decided.source, note);
    script.symlinks(changed);
    const names = [...target.system.map((s) => s.name), ...(updateRecovery ? RECOVERY_FILES : [])];
    writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);
  }
}
