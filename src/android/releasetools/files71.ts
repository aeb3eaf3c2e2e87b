/**
 * File-based packages as the 7.1 tool makes them: without `--block`, and where a build has no SYSTEM/recovery-from-boot.p.
 * The files are decided on as in 4.4; the statements are those of 7.1, with error numbers (formats/android.md 2.5, 3.1).
 */
import { OtaError } from "../../core/errors.ts";
import { encodeText } from "../../core/text.ts";
import * as write from "../block/script.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { SymbolicLink, TargetFiles } from "../target-files/target-files.ts";
import { checkScript } from "./check-script.ts";
import { bootName, decide, isMoved, LAST, patchStatement, sortedRenames, sum, type Decided } from "./decide.ts";
import {
  extensionInput,
  extensionOutput,
  type DeviceExtension,
  type FullOta,
  type IncrementalOta,
} from "./extension.ts";
import { BINARY_NAME, METADATA_NAME, metadataText, SCRIPT_NAME } from "./finish.ts";
import { needImage } from "./full.ts";
import {
  assertBuild,
  assertDevice,
  checkOrder,
  identityOf,
  mountOem,
  type OemSettings,
  type OrderOptions,
} from "./identity.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { archiveEntry, createPlan, type PackagePlan, type PlannedEntry } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders, foldersBecomeLinks } from "./safe.ts";
import { createScript, quote, type Script } from "./script.ts";
import { withProfilePatches } from "./vendor-patches.ts";

/** What file-based packages of 7.1 take beside the common options. */
export interface Files71Options extends MakeOptions, OrderOptions {
  /** Read all files again after they were written. */
  readonly verify?: boolean;
  /** Program instead of the build's own updater. */
  readonly binary?: Uint8Array;
  /** Values of the OEM partition, for builds with `oem_fingerprint_properties`. */
  readonly oem?: OemSettings;
}

/** Entries of this tool carry the type of a regular file. */
const FILE = 0o100644;
const PROGRAM = 0o100755;

/** Whether the build itself patches recovery at boot, so that packages need not bring the patch. */
export function hasRecoveryPatch(target: TargetFiles): boolean {
  return target.zip.get("SYSTEM/recovery-from-boot.p") !== undefined;
}

/** @throws OtaError ANDROID_NOT_POSSIBLE for builds with a vendor partition of files */
function refuseVendor(target: TargetFiles): void {
  if (target.zip.get("VENDOR/") === undefined) return;
  throw new OtaError("ANDROID_NOT_POSSIBLE", {
    what: "file-based packages of builds with a vendor partition are not made",
    where: "VENDOR/",
    hint: hasRecoveryPatch(target)
      ? "Use --block."
      : "Use --block --brotli, which takes builds without SYSTEM/recovery-from-boot.p as well.",
  });
}

/** Mount flags of the build for a partition: `recovery_mount_options` is `ext4=a,b|f2fs=c`. */
export function mountFlags(target: TargetFiles, mountPoint: string): string {
  const { fsType, context } = needPartition(target.fstab, mountPoint);
  let flags = "";
  for (const option of (target.info.values.get("recovery_mount_options") ?? "").split("|")) {
    const equals = option.indexOf("=");
    if (equals > 0 && option.slice(0, equals) === fsType) flags = option.slice(equals + 1);
  }
  return [context, flags].filter((f) => f !== undefined && f !== "").join(",");
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

async function finish(
  plan: PackagePlan,
  script: Script,
  target: TargetFiles,
  { metadata, options }: { metadata: ReadonlyMap<string, string>; options: Files71Options },
): Promise<MadePackage> {
  script.unmountAll();
  checkScript(script.text(), {
    era: "7.1",
    profile: options.profile ?? "safe",
    extraScript: options.extraScript,
    note: (level, text) => options.progress.note(level, text),
  });
  plan.addBytes(SCRIPT_NAME, encodeText(script.text()), FILE);
  const binary = options.binary ?? (await target.zip.read(target.zip.need("OTA/bin/updater")));
  plan.addBytes(BINARY_NAME, binary, PROGRAM);
  plan.addBytes(METADATA_NAME, encodeText(metadataText(metadata)), FILE);
  return { plan, script: script.text(), metadata, defaultKey: target.info.defaultKey };
}

/** A full file-based package. @throws OtaError ANDROID_*, ZIP_* */
export async function makeFull71(target: TargetFiles, made: Files71Options): Promise<MadePackage> {
  const options = withProfilePatches(made);
  refuseVendor(target);
  const safe = options.profile !== "vendor";
  const note: FullOta["note"] = (level, text) => options.progress.note(level, text);
  const script = createScript({ fstab: target.fstab, useSetMetadata: target.info.useSetMetadata });
  const plan = createPlan();
  const identity = identityOf(target, options.oem);
  const { device, fingerprint } = identity;
  const timestamp = target.prop("ro.build.date.utc");
  const metadata = new Map([
    ["post-build", fingerprint],
    ["pre-device", device],
    ["post-timestamp", timestamp],
    ["ota-required-cache", "0"],
    ["ota-type", "FILE"],
  ]);
  if (options.fota === true) metadata.set("fota", "on");
  const ota: FullOta = {
    kind: "full",
    script,
    input: extensionInput(target.zip),
    output: extensionOutput(plan),
    version: target.info.recoveryApiVersion,
    metadata,
    info: target.info.values,
    extras: options.extras ?? new Map(),
    note,
  };
  const hook = async (name: keyof DeviceExtension & `full${string}`): Promise<void> => {
    await (options.extension?.[name] as ((ota: FullOta) => void | Promise<void>) | undefined)?.(ota);
  };
  const wipe = options.wipeUserData === true;

  if (identity.oem.length > 0) mountOem(script, identity, options.oem, mountFlags(target, "/oem"));
  if (options.omitPrereq !== true) write.assertOlderBuild(script, timestamp, target.prop("ro.build.date"));
  assertDevice(script, identity);
  await hook("fullOtaAssertions");
  const recovery = await needImage(target, "recovery");
  const steps = options.twoStep === true ? write.twoStep71(target) : undefined;
  if (steps !== undefined) {
    if (safe) checkImageSize(recovery, "/recovery", target, note);
    plan.addBytes("recovery.img", recovery.data, FILE);
    steps.fullPrologue(script);
  }
  script.print(`Target: ${fingerprint}`);
  await hook("fullOtaInstallBegin");
  const contexts = target.zip.get("BOOT/RAMDISK/file_contexts");
  if (contexts !== undefined) plan.addBytes("file_contexts", await target.zip.read(contexts), FILE);
  script.showProgress(0.75 - (wipe ? 0.1 : 0), 0);
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
  if (bring) await addRecoveryPatch(plan, target, { boot, recovery }, options.patches, { era: "7.1", fileMode: FILE });
  const names = [...target.system.map((s) => s.name), ...(bring ? RECOVERY_FILES : [])];
  writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);
  checkImageSize(boot, "/boot", target, note);
  plan.addBytes("boot.img", boot.data, FILE);
  script.showProgress(0.05, 5);
  script.writeRawImage("/boot", "boot.img");
  script.showProgress(0.2, 10);
  await hook("fullOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  script.unmountAll();
  if (wipe) {
    script.showProgress(0.1, 10);
    script.format("/data");
  }
  steps?.fullEpilogue(script);
  script.setProgress(1);
  return finish(plan, script, target, { metadata, options });
}

/** Symbolic links of the source that are gone: where a file takes the place, only as long as it is not there yet. */
function deleteOldLinks(script: Script, source: TargetFiles, target: TargetFiles, decided: Decided): void {
  const after = new Set(target.links.map((l) => l.link));
  const files = new Map<string, string>();
  for (const f of [...decided.verbatim, ...decided.renames.values()]) files.set(`/${f.name}`, f.sha1);
  const gone = source.links.map((l) => l.link).filter((link) => !after.has(link));
  script.deleteFiles(gone.filter((link) => !files.has(link)));
  for (const link of gone) {
    const sha1 = files.get(link);
    if (sha1 === undefined) continue;
    script.append(`sha1_check(read_file(${quote(link)}), "${sha1}") || delete(${quote(link)});`);
  }
}

/** An incremental file-based package. @throws OtaError ANDROID_*, ZIP_*, CANCELLED */
export async function makeIncremental71(
  source: TargetFiles,
  target: TargetFiles,
  made: Files71Options,
): Promise<MadePackage> {
  const options = withProfilePatches(made);
  refuseVendor(target);
  const safe = options.profile !== "vendor";
  const note: FullOta["note"] = (level, text) => options.progress.note(level, text);
  const script = createScript({ fstab: target.fstab, useSetMetadata: target.info.useSetMetadata });
  const plan = createPlan();
  const wipe = options.wipeUserData === true || options.downgrade === true;
  const postTimestamp = checkOrder(source, target, options, note);
  const [before, after] = [identityOf(source, options.oem), identityOf(target, options.oem)];
  const [preBuild, postBuild] = [before.fingerprint, after.fingerprint];
  const metadata = new Map([
    ["pre-device", before.device],
    ["post-timestamp", postTimestamp],
    ["pre-build", preBuild],
    ["post-build", postBuild],
    ["pre-build-incremental", source.prop("ro.build.version.incremental")],
    ["post-build-incremental", target.prop("ro.build.version.incremental")],
    ["ota-type", "FILE"],
  ]);
  if (options.downgrade === true) metadata.set("ota-downgrade", "yes");
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

  const decided = await decide(plan, source, target, { ...options, fileMode: FILE });
  const { patched, verbatim, renames } = decided;
  const flags = mountFlags(target, "/system");
  if (after.oem.length > 0) mountOem(script, after, options.oem, mountFlags(target, "/oem"));
  script.mount("/system", flags);
  assertBuild(script, before, after);
  const [sourceBoot, targetBoot] = [await needImage(source, "boot"), await needImage(target, "boot")];
  const [sourceRecovery, targetRecovery] = [await needImage(source, "recovery"), await needImage(target, "recovery")];
  const steps = options.twoStep === true ? write.twoStep71(target) : undefined;
  const updateBoot = steps === undefined && sourceBoot.sha1 !== targetBoot.sha1;
  const updateRecovery = sourceRecovery.sha1 !== targetRecovery.sha1;
  const bringRecovery = updateRecovery && !hasRecoveryPatch(target);
  if (safe && (updateBoot || steps !== undefined)) checkImageSize(targetBoot, "/boot", target, note);
  if (safe && (updateRecovery || steps !== undefined)) checkImageSize(targetRecovery, "/recovery", target, note);

  assertDevice(script, after);
  await hook("incrementalOtaAssertions");
  if (steps !== undefined) {
    plan.addBytes("recovery.img", targetRecovery.data, FILE);
    steps.incrementalPrologue(script);
  }
  script.print(`Source: ${preBuild}`);
  script.print(`Target: ${postBuild}`);
  script.print("Verifying current system...");
  await hook("incrementalOtaVerifyBegin");
  script.showProgress(0.1, 0);
  await writeChecks();
  await hook("incrementalOtaVerifyEnd");
  steps?.incrementalMiddle(script);
  script.comment("---- start making changes here ----");
  await hook("incrementalOtaInstallBegin");
  if (steps !== undefined) {
    plan.addBytes("boot.img", targetBoot.data, FILE);
    script.writeRawImage("/boot", "boot.img");
    note("info", "writing full boot image (forced by two-step mode)");
  }
  script.print("Removing unneeded files...");
  const unneeded = [
    ...verbatim.map((f) => `/${f.name}`),
    ...[...decided.source.keys()].filter((n) => !decided.target.has(n) && !renames.has(n)).map((n) => `/${n}`),
    "/system/recovery.img",
  ];
  // Descending: what is in a folder goes before the folder.
  script.deleteFiles(unneeded.sort().reverse());
  writePatching();
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
  writeFiles();
  await hook("incrementalOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);

  script.print("Patching remaining system files...");
  const last = patched.find((p) => p.target.name === LAST);
  if (last !== undefined) write.applyPatch(script, patchStatement(last));
  script.setMetadata(`/${LAST}`, (safe ? target.metadata.get(LAST) : undefined) ?? { uid: 0, gid: 0, mode: 0o644 });
  if (wipe) {
    script.print("Erasing user data...");
    script.format("/data");
  }
  steps?.incrementalEpilogue(script);
  if (options.verify === true) {
    script.print("Remounting and verifying system partition files...");
    script.unmountAll();
    script.mount("/system", flags);
    for (const { name, sha1 } of decided.target.values()) {
      if (!name.endsWith("/")) script.append(`assert(sha1_check(read_file(${quote(`/${name}`)}), "${sha1}"));`);
    }
  }
  return finish(plan, script, target, { metadata, options });

  /** What must be true before the first change. */
  async function writeChecks(): Promise<void> {
    for (const pair of patched) {
      if (isMoved(pair)) skipIfThere(pair.target.name, pair.target.sha1);
      write.checkFile(script, `/${pair.source.name}`, [pair.target.sha1, pair.source.sha1]);
    }
    const required = patched.length === 0 ? [] : [patched.reduce((most, p) => Math.max(most, p.source.size), 0)];
    if (updateBoot) {
      const patch =
        (await options.patches.imgdiff(sourceBoot.data, targetBoot.data, { zip: false })) ??
        (await options.patches.bsdiff(sourceBoot.data, targetBoot.data));
      plan.addBytes("patch/boot.img.p", patch, FILE);
      note(
        "info",
        `boot      target: ${targetBoot.data.length}  source: ${sourceBoot.data.length}  diff: ${patch.length}`,
      );
      // Without hashes the copy in /cache never counts, and an update cut while it wrote the partition cannot go on.
      write.checkFile(script, bootName(source, sourceBoot, targetBoot), safe ? [targetBoot.sha1, sourceBoot.sha1] : []);
      required.push(targetBoot.data.length);
    }
    const cache = Math.max(0, ...required);
    metadata.set("ota-required-cache", String(cache));
    if (required.length > 0) write.checkSpace(script, cache);
  }

  function writePatching(): void {
    script.showProgress(0.8, 0);
    script.print("Patching system files...");
    const total = 1 + sum(patched.map((p) => p.source.size)) + (updateBoot ? targetBoot.data.length : 0);
    let done = 0;
    for (const pair of patched) {
      if (pair.target.name === LAST) continue;
      if (isMoved(pair)) skipIfThere(pair.target.name, pair.target.sha1);
      write.applyPatch(script, patchStatement(pair));
      done += pair.target.size;
      script.setProgress(done / total);
    }
    if (!updateBoot) return;
    script.print("Patching boot image...");
    write.applyPatch(script, {
      source: bootName(source, sourceBoot, targetBoot),
      targetSize: targetBoot.data.length,
      targetSha1: targetBoot.sha1,
      sourceSha1: sourceBoot.sha1,
      patch: "patch/boot.img.p",
    });
    done += targetBoot.data.length;
    script.setProgress(done / total);
  }

  /** Skips the next element when the file is there already. */
  function skipIfThere(name: string, sha1: string): void {
    script.append(`sha1_check(read_file(${quote(name)}), ${sha1}) ||`);
  }

  /** Links, new files, renames and permissions. */
  function writeFiles(): void {
    deleteOldLinks(script, source, target, decided);
    if (verbatim.length > 0) {
      script.print("Unpacking new system files...");
      script.extractFolder("system", "/system");
    }
    if (bringRecovery) {
      script.print("Unpacking new recovery...");
      script.extractFolder("recovery", "/system");
    }
    if (renames.size > 0) {
      script.print("Renaming files...");
      // 5.0 and later make missing folders and take a file that moved already for moved.
      for (const [from, to] of sortedRenames(renames)) {
        note("info", `Renaming ${from} to ${to.name}`);
        script.rename(from, to.name);
      }
    }
    script.print("Symlinks and permissions...");
    const before = new Map(source.links.map((l) => [l.link, l.target]));
    const changed = target.links.filter((l: SymbolicLink) => before.get(l.link) !== l.target);
    script.deleteFiles(changed.map((l) => l.link));
    if (safe) foldersBecomeLinks(script, changed, decided.source, note);
    script.symlinks(changed);
    const names = [...target.system.map((s) => s.name), ...(bringRecovery ? RECOVERY_FILES : [])];
    writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);
  }
}
