/** The recovery image as a patch of the boot image, made on the device at boot (formats/android.md 2.6). */
import { OtaError } from "../../core/errors.ts";
import { encodeText } from "../../core/text.ts";
import { needPartition, type Fstab } from "../target-files/fstab.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import type { PackagePlan } from "./package-plan.ts";
import type { PatchMaker } from "./patches.ts";

/** Names of what is generated, as the permission statements see it. */
export const RECOVERY_FILES = ["system/recovery-from-boot.p", "system/etc/install-recovery.sh"] as const;

const BONUS = "SYSTEM/etc/recovery-resource.dat";

/** The script that checks the recovery partition and patches it. `bonus`: the bonus file is on the device. */
export function installRecoveryScript(
  fstab: Fstab,
  boot: Pick<BootableImage, "sha1"> & { readonly size: number },
  recovery: Pick<BootableImage, "sha1"> & { readonly size: number },
  { bonus, era }: { readonly bonus: boolean; readonly era: "4.4" | "7.1" },
): string {
  const b = needPartition(fstab, "/boot");
  const r = needPartition(fstab, "/recovery");
  // Without bonus the blank behind the program name stays, as the original writes it.
  const args = bonus ? "-b /system/etc/recovery-resource.dat" : "";
  const patch =
    `  applypatch ${args} ${b.type}:${b.device}:${boot.size}:${boot.sha1} ${r.type}:${r.device} ${recovery.sha1} ` +
    `${recovery.size} ${boot.sha1}:/system/recovery-from-boot.p`;
  const install = '  log -t recovery "Installing new recovery image"';
  const told = (how: string): string => `log -t recovery "Installing new recovery image: ${how}"`;
  return [
    "#!/system/bin/sh",
    `if ! applypatch -c ${r.type}:${r.device}:${recovery.size}:${recovery.sha1}; then`,
    ...(era === "4.4" ? [install, patch] : [`${patch} && ${told("succeeded")} || ${told("failed")}`]),
    "else",
    '  log -t recovery "Recovery image already installed"',
    "fi",
    "",
  ].join("\n");
}

/** Adds patch and script to the package. @throws OtaError ANDROID_NOT_POSSIBLE when the images have no common structure */
export async function addRecoveryPatch(
  plan: PackagePlan,
  target: TargetFiles,
  images: { readonly boot: BootableImage; readonly recovery: BootableImage },
  maker: PatchMaker,
  { era = "4.4", fileMode = 0o644 }: { readonly era?: "4.4" | "7.1"; readonly fileMode?: number } = {},
): Promise<void> {
  const { boot, recovery } = images;
  const bonusEntry = target.zip.get(BONUS);
  const bonus = bonusEntry === undefined ? undefined : await target.zip.read(bonusEntry);
  const patch =
    (await maker.imgdiff(boot.data, recovery.data, { zip: false, ...(bonus === undefined ? {} : { bonus }) })) ??
    // The patcher on the device goes by the magic number; only bonus data needs imgdiff.
    (bonus === undefined ? await maker.bsdiff(boot.data, recovery.data) : undefined);
  if (patch === undefined) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "no patch with bonus data from the boot image to the recovery image: they are not built alike",
      hint: "Both must hold the same sequence of gzip members.",
    });
  }
  plan.addBytes("recovery/recovery-from-boot.p", patch, fileMode);
  const text = installRecoveryScript(
    target.fstab,
    { sha1: boot.sha1, size: boot.data.length },
    { sha1: recovery.sha1, size: recovery.data.length },
    { bonus: bonus !== undefined, era },
  );
  plan.addBytes("recovery/etc/install-recovery.sh", encodeText(text), fileMode);
}
