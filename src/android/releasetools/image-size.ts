/** Whether an image fits its partition (formats/android.md 2.7). */
import { OtaError } from "../../core/errors.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { BootableImage, TargetFiles } from "../target-files/target-files.ts";
import { baseName } from "./tree-files.ts";

/**
 * Compares an image with `<basename of the device>_size` of misc_info; no such key, no limit.
 * @throws OtaError ANDROID_IMAGE_TOO_LARGE from 99 percent
 */
export function checkImageSize(
  image: BootableImage,
  mountPoint: string,
  target: TargetFiles,
  note: (level: "info" | "warning", text: string) => void,
): void {
  const { device, fsType } = needPartition(target.fstab, mountPoint);
  let limit = target.info.size(baseName(device));
  if (limit === undefined || limit === 0) return;
  // The spare area of NAND pages counts with yaffs2.
  if (fsType === "yaffs2") limit = Math.floor(limit / 2048) * (2048 + 64);
  const size = image.data.length;
  const percent = (size * 100) / limit;
  const name = image.name.replace(/\.img$/, "");
  const text = `${name} size (${size}) is ${percent.toFixed(2)}% of limit (${limit})`;
  if (percent >= 99) {
    throw new OtaError("ANDROID_IMAGE_TOO_LARGE", {
      what: text,
      where: image.name,
      hint: "The image must leave one percent of its partition.",
    });
  }
  note(percent >= 95 ? "warning" : "info", text);
}
