/** Full packages at the 4.4 level: everything is formatted and written anew (formats/android.md 2.4). */
import { withProfilePatches } from "./vendor-patches.ts";
import { OtaError } from "../../core/errors.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import { checkScript } from "./check-script.ts";
import { extensionInput, extensionOutput, type DeviceExtension, type FullOta } from "./extension.ts";
import { addScript, METADATA_NAME, metadataText } from "./finish.ts";
import { checkImageSize } from "./image-size.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import { archiveEntry, createPlan } from "./package-plan.ts";
import { writePermissions } from "./permissions.ts";
import { addRecoveryPatch, RECOVERY_FILES } from "./recovery-patch.ts";
import { emptyFolders } from "./safe.ts";
import { createScript } from "./script.ts";
import { twoStep } from "./two-step.ts";

/** An image that a package cannot do without. */
export async function needImage(target: TargetFiles, name: "boot" | "recovery"): Promise<BootableImage> {
  const image = await target.image(name);
  if (image === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: `there is no ${name}.img and nothing to build it from`,
      expected: `BOOTABLE_IMAGES/${name}.img, or ${name.toUpperCase()}/kernel and ${name.toUpperCase()}/RAMDISK/`,
    });
  }
  return image;
}

/** Makes a full package. @throws OtaError ANDROID_*, ZIP_* */
export async function makeFull(target: TargetFiles, made: MakeOptions): Promise<MadePackage> {
  const options = withProfilePatches(made);
  const { progress } = options;
  const safe = options.profile !== "vendor";
  const note = (level: "info" | "warning", text: string): void => progress.note(level, text);
  const script = createScript({ fstab: target.fstab, useSetMetadata: target.info.useSetMetadata });
  const plan = createPlan();
  const device = target.prop("ro.product.device");
  const timestamp = target.prop("ro.build.date.utc");
  const metadata = new Map([
    ["post-build", target.prop("ro.build.fingerprint")],
    ["pre-device", device],
    ["post-timestamp", timestamp],
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

  if (options.omitPrereq !== true) script.assertOlderBuild(timestamp, target.prop("ro.build.date"));
  script.assertDevice(device);
  await hook("fullOtaAssertions");

  const recovery = await needImage(target, "recovery");
  const steps = options.twoStep === true ? twoStep(target) : undefined;
  if (steps !== undefined) {
    if (safe) checkImageSize(recovery, "/recovery", target, note);
    plan.addBytes("recovery.img", recovery.data);
    steps.fullPrologue(script);
  }
  await hook("fullOtaInstallBegin");
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
  for (const { name, entry } of target.system) plan.add(archiveEntry(target.zip, entry, name, true));
  script.symlinks(target.links);

  const boot = await needImage(target, "boot");
  await addRecoveryPatch(plan, target, { boot, recovery }, options.patches);
  const names = [...target.system.map((s) => s.name), ...RECOVERY_FILES];
  writePermissions(script, names, target.metadata, safe ? emptyFolders(target, note) : undefined);

  checkImageSize(boot, "/boot", target, note);
  plan.addBytes("boot.img", boot.data);
  script.showProgress(0.2, 0);
  script.showProgress(0.2, 10);
  script.writeRawImage("/boot", "boot.img");
  script.showProgress(0.1, 0);
  await hook("fullOtaInstallEnd");
  if (options.extraScript !== undefined) script.append(options.extraScript);
  script.unmountAll();
  steps?.fullEpilogue(script);

  checkScript(script.text(), {
    era: "4.4",
    profile: options.profile ?? "safe",
    extraScript: options.extraScript,
    note,
  });
  addScript(plan, script, target);
  plan.addText(METADATA_NAME, metadataText(metadata));
  return { plan, script: script.text(), metadata, defaultKey: target.info.defaultKey };
}
