import { OtaError } from "../../core/index.ts";

/** An ext4 image that contradicts itself. */
export function damaged(what: string, where: string): OtaError {
  return new OtaError("DEVICE_IO", {
    what: `the ext4 image is damaged: ${what}`,
    where,
    hint: "Check it with: e2fsck -f IMAGE.",
  });
}
