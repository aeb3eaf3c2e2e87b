/** Full packages at the 4.4 level: everything is formatted and written anew (formats/android.md 2.4). */
import { withProfilePatches } from "./vendor-patches.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { addScript } from "./finish.ts";
import { checkFrame, needImage, openFrame, withFullHooks } from "./frame.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { archiveEntry } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders } from "./safe.ts";
import { twoStep } from "./two-step.ts";

/** Makes a full package. @throws OtaError ANDROID_*, ZIP_* */
export async function makeFull(target: TargetFiles, made: MakeOptions): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const device = target.prop("ro.product.device");
  const timestamp = target.prop("ro.build.date.utc");
  const metadata = new Map([
    ["post-build", target.prop("ro.build.fingerprint")],
    ["pre-device", device],
    ["post-timestamp", timestamp],
  ]);
  const frame = withFullHooks(openFrame(target, options, { era: "4.4", metadata }), target, options);
  const { script, plan, safe, note } = frame;

  if (options.omitPrereq !== true) script.assertOlderBuild(timestamp, target.prop("ro.build.date"));
  script.assertDevice(device);
  await frame.hook("fullOtaAssertions");

  const recovery = await needImage(target, "recovery");
  const steps = options.twoStep === true ? twoStep(target, "4.4") : undefined;
  if (steps !== undefined) {
    if (safe) checkImageSize(recovery, "/recovery", target, note);
    plan.addBytes("recovery.img", recovery.data);
    steps.fullPrologue(script);
  }
  await frame.hook("fullOtaInstallBegin");
  script.showProgress(0.5, 0);
  if (options.wipeUserData === true) script.format("/data");

  if (target.info.selinux) {
    const contexts = target.zip.need("BOOT/RAMDISK/file_contexts");
    plan.add(archiveEntry(target.zip, contexts, "file_contexts", false));
  }
  script.format("/system");
  script.mount("/system");
  script.extractFolder("recovery", "/system");
  script.extractFolder("system", "/system");
  for (const { name, entry } of target.system.files) plan.add(archiveEntry(target.zip, entry, name, true));
  script.symlinks(target.system.links);

  const boot = await needImage(target, "boot");
  await addRecoveryPatch(plan, target, { boot, recovery }, options.patches);
  const skip = safe ? emptyFolders(target.system, target.info, note) : undefined;
  writePermissions(script, target.system, RECOVERY_FILES, skip);

  checkImageSize(boot, "/boot", target, note);
  plan.addBytes("boot.img", boot.data);
  script.showProgress(0.2, 0);
  script.showProgress(0.2, 10);
  script.writeRawImage("/boot", "boot.img");
  script.showProgress(0.1, 0);
  await frame.hook("fullOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  script.unmountAll();
  steps?.fullEpilogue(script);

  checkFrame(frame, options);
  return addScript(frame, target, target.info.defaultKey);
}
