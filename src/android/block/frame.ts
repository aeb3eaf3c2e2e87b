/** What every block-based package begins and ends with. */
import { encodeText } from "../../core/text.ts";
import { checkScript } from "../releasetools/check-script.ts";
import type { FullOta } from "../releasetools/extension.ts";
import { BINARY_NAME, METADATA_NAME, metadataText, SCRIPT_NAME } from "../releasetools/finish.ts";
import type { MadePackage } from "../releasetools/options.ts";
import { createPlan, type PackagePlan } from "../releasetools/package-plan.ts";
import { createScript, type Script } from "../releasetools/script.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { type BlockOptions, FILE, PROGRAM } from "./partitions.ts";

export function begin(
  target: TargetFiles,
  options: BlockOptions,
): { script: Script; plan: PackagePlan; note: FullOta["note"] } {
  if (target.zip.get("SYSTEM/recovery-from-boot.p") === undefined) {
    options.progress.note(
      "warning",
      "the build has no SYSTEM/recovery-from-boot.p: the recovery partition is not updated by this package",
    );
  }
  return {
    script: createScript({ fstab: target.fstab, useSetMetadata: true }),
    plan: createPlan(),
    note: (level, text) => options.progress.note(level, text),
  };
}

export async function finish(
  plan: PackagePlan,
  script: Script,
  target: TargetFiles,
  { metadata, options }: { metadata: ReadonlyMap<string, string>; options: BlockOptions },
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
