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
  /** From the device's state: the version that was committed last; absent when it is not known. */
  readonly installed?: string;
}

/** The higher of the described minimum and the stored floor; undefined when there is neither. */
export function lowestAccepted(policy: Policy): string | undefined {
  const bounds = [policy.minimumVersion, policy.floor].filter((v) => v !== undefined).map(parseVersion);
  bounds.sort(compareVersions);
  return bounds.at(-1)?.text;
}

/**
 * Checks a manifest that is already trusted. The same version again is accepted: repeating an update is how an interrupted
 * one is finished. A base version is compared with the installed one where that is known; the items' base digests decide in
 * any case. @throws OtaError TRUST_MISMATCH, TRUST_HARDWARE, TRUST_BASE, TRUST_DOWNGRADE
 */
export function checkPolicy(
  manifest: Pick<Manifest, "family" | "hardware" | "version" | "baseVersion">,
  policy: Policy,
): void {
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
  const { baseVersion } = manifest;
  // Run again, a differential package finds its own version installed.
  const fitting = [baseVersion, manifest.version].filter((v) => v !== undefined).map(parseVersion);
  if (baseVersion !== undefined && policy.installed !== undefined) {
    const installed = parseVersion(policy.installed);
    if (!fitting.some((v) => compareVersions(v, installed) === 0)) {
      throw new OtaError("TRUST_BASE", {
        what: "the package must be installed over another version",
        expected: baseVersion,
        found: policy.installed,
        hint: "Use the full package, or the one made for this version.",
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
