/** A package that changes nothing and tells whether the device has a build (`--gen_verify`). */
import { needImage, openFrame } from "../releasetools/frame.ts";
import { finish71, fullMetadata71, openIdentity71 } from "../releasetools/frame71.ts";
import { assertDevice, identityOf } from "../releasetools/identity.ts";
import type { MadePackage } from "../releasetools/options.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { BLOCK, noteRecovery } from "./make.ts";
import { type BlockOptions, PARTITIONS, hasPartition, loadImage, sha1Of } from "./partitions.ts";
import { rawText } from "./ranges.ts";

/** A package that changes nothing and tells whether the device has this build (`--gen_verify`). */
export async function makeVerifyPackage(target: TargetFiles, options: BlockOptions): Promise<MadePackage> {
  const identity = identityOf(target, options.oem);
  const { fingerprint } = identity;
  const frame = openFrame(target, options, { ...BLOCK, era: "7.1", metadata: fullMetadata71(target, identity) });
  const { script } = frame;
  noteRecovery(target, frame.note);
  openIdentity71(frame, identity, target, options);
  assertDevice(script, identity);
  script.print(`Verifying device images against ${fingerprint}...`);
  script.append("");
  const verdict = (check: string, name: string): void => {
    script.append(`${check} && ui_print("    Verified.") || ui_print("\\"${name}\\" has unexpected contents.");`);
    script.append("");
  };
  for (const name of ["boot", "recovery"] as const) {
    const image = await needImage(target, name);
    const { type, device } = needPartition(target.fstab, `/${name}`);
    const text = `${type}:${device}:${image.data.length}:${image.sha1}`;
    script.print(`Verifying ${name}...`);
    verdict(`apply_patch_check("${text}")`, text);
  }
  for (const partition of PARTITIONS) {
    if (!hasPartition(target, partition)) continue;
    const { image } = await loadImage(target, partition, options);
    const { device } = needPartition(target.fstab, `/${partition}`);
    script.print(`Verifying ${partition}...`);
    verdict(
      `range_sha1("${device}", "${rawText(image.care)}") == "${await sha1Of(image, image.care, options.digests)}"`,
      device,
    );
  }
  script.setProgress(1);
  return finish71(frame, target, options);
}
