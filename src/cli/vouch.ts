/** Who vouches for a package that is about to be installed: `otaforge install` and the vendor-named installers share it. */
import { OtaError } from "../core/errors.ts";
import { openJournal, type OpenedDevice } from "../device/index.ts";
import { checkPolicy, compareVersions, parseVersion, type PublicKey } from "../trust/index.ts";
import { signsItself } from "./families.ts";
import type { Family, PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { findClaim, loadPublicKeys, signedPhrase, type TrustClaim } from "./trust.ts";

/** State record with the highest version that was ever installed completely. */
const FLOOR_RECORD = "version-floor";

interface Floor {
  readonly version: string;
}

function asFloor(value: unknown): Floor | undefined {
  const version = (value as { version?: unknown } | undefined)?.version;
  return typeof version === "string" ? { version } : undefined;
}

/** What is known of a package before its family sees it. */
export interface Vouched {
  readonly input: PackageInput;
  readonly claim?: TrustClaim;
  /** Configured keys that signed; empty when no keys are configured. */
  readonly signers: readonly PublicKey[];
  readonly signature: string;
}

/**
 * Checks who vouches for a package on a device: with keys in its description the package must be signed by one of them, for
 * this hardware, and not be older than the floor. @throws OtaError TRUST_*
 */
export async function vouch(
  input: PackageInput,
  family: Family,
  device: OpenedDevice,
  io: Io,
  manifestFile?: string,
): Promise<Vouched> {
  if (signsItself(family)) return { input, signers: [], signature: "checked by the family" };
  const { keys: keyFiles = [], minimumVersion, hardware } = device.description;
  const claim = await findClaim(input, io, manifestFile);
  const keys = await loadPublicKeys(keyFiles);
  if (keys.length === 0) {
    return {
      input: claim === undefined ? input : claim.secure(input),
      ...(claim === undefined ? {} : { claim }),
      signers: [],
      signature: claim === undefined || claim.signedBy.length === 0 ? "unsigned" : "signature not checked (no keys)",
    };
  }
  if (claim === undefined) {
    throw new OtaError("TRUST_UNSIGNED", {
      what: "the device has keys configured and the package carries no signature",
      where: input.name,
      hint: "Sign it with: otaforge sign. Nothing was written.",
    });
  }
  const signers = await claim.check(keys);
  const floor = asFloor(await openJournal(device.state, FLOOR_RECORD).load());
  checkPolicy(claim, {
    family: family.name,
    ...(hardware === undefined ? {} : { hardware }),
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
    ...(floor === undefined ? {} : { floor: floor.version }),
  });
  return { input: claim.secure(input), claim, signers, signature: signedPhrase(signers) };
}

/** Raises the stored floor after a complete install of a trusted package. */
export async function raiseFloor(device: OpenedDevice, { claim, signers }: Vouched): Promise<void> {
  if (claim === undefined || signers.length === 0) return;
  const journal = openJournal(device.state, FLOOR_RECORD);
  const floor = asFloor(await journal.load());
  if (floor === undefined || compareVersions(parseVersion(claim.version), parseVersion(floor.version)) > 0) {
    await journal.save({ version: claim.version });
  }
}

/** @throws OtaError TRUST_MISMATCH when the description is of another family's device */
export function checkFamily(device: OpenedDevice, family: Family): void {
  const described = device.description.family;
  if (described !== undefined && described !== family.name) {
    throw new OtaError("PACKAGE_WRONG_FAMILY", {
      what: "the package is for a device of another family",
      where: "family in the device description",
      expected: described,
      found: family.name,
    });
  }
}
