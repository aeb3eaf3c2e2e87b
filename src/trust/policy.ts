/** What a device accepts: hardware, and a version not below the lowest it may go back to. */
import { OtaError } from "../core/errors.ts";
import type { Manifest } from "./manifest.ts";
import { compareVersions, parseVersion } from "./version.ts";

export interface Policy {
  readonly family: Manifest["family"];
  readonly hardware?: string;
  /** From the device description. */
  readonly minimumVersion?: string;
  /** From the device's state: the highest version that was ever committed. */
  readonly floor?: string;
}

/** The higher of the described minimum and the stored floor; undefined when there is neither. */
export function lowestAccepted(policy: Policy): string | undefined {
  const bounds = [policy.minimumVersion, policy.floor].filter((v) => v !== undefined).map(parseVersion);
  bounds.sort(compareVersions);
  return bounds.at(-1)?.text;
}

/**
 * Checks a manifest that is already trusted. The same version again is accepted: repeating an update is how an interrupted
 * one is finished. @throws OtaError TRUST_MISMATCH, TRUST_HARDWARE, TRUST_DOWNGRADE
 */
export function checkPolicy(manifest: Pick<Manifest, "family" | "hardware" | "version">, policy: Policy): void {
  if (manifest.family !== policy.family) {
    throw new OtaError("TRUST_MISMATCH", {
      what: "the manifest is for a package of another family",
      expected: policy.family,
      found: manifest.family,
    });
  }
  if (manifest.hardware.length > 0) {
    if (policy.hardware === undefined || !manifest.hardware.includes(policy.hardware)) {
      throw new OtaError("TRUST_HARDWARE", {
        what: "the package is for other hardware",
        expected: manifest.hardware.join(" or "),
        found: policy.hardware ?? "a device description without hardware",
      });
    }
  }
  const lowest = lowestAccepted(policy);
  if (lowest !== undefined && compareVersions(parseVersion(manifest.version), parseVersion(lowest)) < 0) {
    throw new OtaError("TRUST_DOWNGRADE", {
      what: "the package is older than what this device accepts",
      expected: `${lowest} or newer`,
      found: manifest.version,
      hint: "Going back to the other slot needs no package and stays possible.",
    });
  }
}
