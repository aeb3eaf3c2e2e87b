/** Who vouches for a package that is about to be installed: `otaforge install` and the vendor-named installers share it. */
import { OtaError } from "../core/errors.ts";
import { openJournal, type OpenedDevice } from "../device/index.ts";
import { checkPolicy, compareVersions, parseVersion, type KeyState, type PublicKey } from "../trust/index.ts";
import { signsItself } from "./families.ts";
import type { Family, PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { followKeyLists, listsFor, loadKeyState, saveKeyState } from "./key-lists.ts";
import { findClaim, signedPhrase, type TrustClaim } from "./trust.ts";

/** State record with the highest version that was ever installed completely, and the last one. */
const FLOOR_RECORD = "version-floor";

interface Floor {
  readonly version: string;
  /** Absent in records of a device that only knew a floor. */
  readonly installed?: string;
}

/** The stored floor; undefined when nothing was installed yet. @throws OtaError DEVICE_STATE_DAMAGED */
async function loadFloor(device: OpenedDevice): Promise<Floor | undefined> {
  const value = await openJournal<unknown>(device.state, FLOOR_RECORD).load();
  if (value === undefined) return undefined;
  const { version, installed } = value as Partial<Record<keyof Floor, unknown>>;
  // A record that is whole and says nothing must not be taken for "no floor".
  if (typeof version !== "string") {
    throw new OtaError("DEVICE_STATE_DAMAGED", { what: "the version floor makes no sense", where: FLOOR_RECORD });
  }
  return { version, ...(typeof installed === "string" ? { installed } : {}) };
}

export interface VouchOptions {
  /** Signed manifest, instead of the one beside or inside the package. */
  readonly manifest?: string;
  /** Signed key lists, instead of those beside the package. */
  readonly keyList?: readonly string[];
}

/** What is known of a package before its family sees it. */
export interface Vouched {
  readonly input: PackageInput;
  readonly claim?: TrustClaim;
  /** Configured keys that signed; empty when no keys are configured. */
  readonly signers: readonly PublicKey[];
  readonly signature: string;
}

/** The device's keys after the lists that came with the package; `isNew` when these say more than the device knew. */
async function keysOf(
  input: PackageInput,
  { device, io }: { readonly device: OpenedDevice; readonly io: Io },
  named: readonly string[] | undefined,
): Promise<{ readonly state: KeyState; readonly isNew: boolean }> {
  const known = await loadKeyState(device);
  if (known.keys.length === 0) return { state: known, isNew: false };
  const state = await followKeyLists(known, await listsFor(input, io, named));
  return { state, isNew: state.sequence > known.sequence };
}

/**
 * Checks who vouches for a package on a device: with keys in its description the package must be signed by one of them (or of
 * the key list that replaced them), for this hardware, and not be older than the floor. A refusal leaves the device's state as
 * it was. @throws OtaError TRUST_*, DEVICE_STATE_DAMAGED
 */
export async function vouch(
  input: PackageInput,
  family: Family,
  on: { readonly device: OpenedDevice; readonly io: Io },
  options: VouchOptions = {},
): Promise<Vouched> {
  if (signsItself(family)) return { input, signers: [], signature: "checked by the family" };
  const { device, io } = on;
  const { minimumVersion, hardware } = device.description;
  const claim = await findClaim(input, io, options.manifest);
  if (claim === undefined && (device.description.keys ?? []).length > 0) {
    throw new OtaError("TRUST_UNSIGNED", {
      what: "the device has keys configured and the package carries no signature",
      where: input.name,
      hint: "Sign it with: otaforge sign. Nothing was written.",
    });
  }
  const { state, isNew } = await keysOf(input, on, options.keyList);
  const here = { family: family.name, ...(hardware === undefined ? {} : { hardware }) };
  if (claim === undefined) return { input, signers: [], signature: "unsigned" };
  if (state.keys.length === 0) {
    // Nobody vouches for the manifest, so its version proves nothing; what it says against this device still counts.
    checkPolicy(claim, here);
    const signature = claim.signedBy.length === 0 ? "unsigned" : "unsigned (the signature is not checked: no keys)";
    return { input: claim.secure(input), claim, signers: [], signature };
  }
  const signers = await claim.check(state.keys);
  const floor = await loadFloor(device);
  checkPolicy(claim, {
    ...here,
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
    ...(floor === undefined ? {} : { floor: floor.version }),
    ...(floor?.installed === undefined ? {} : { installed: floor.installed }),
  });
  const secured = claim.secure(input);
  if (isNew) await saveKeyState(device, state);
  return { input: secured, claim, signers, signature: signedPhrase(signers) };
}

/** Notes a complete install of a trusted package: the floor never falls. One atomic record, after the package's own commit. */
export async function raiseFloor(device: OpenedDevice, { claim, signers }: Vouched): Promise<void> {
  if (claim === undefined || signers.length === 0) return;
  const floor = await loadFloor(device);
  const isHigher = floor === undefined || compareVersions(parseVersion(claim.version), parseVersion(floor.version)) > 0;
  const next: Floor = { version: isHigher ? claim.version : floor.version, installed: claim.version };
  if (next.version === floor?.version && next.installed === floor.installed) return;
  await openJournal<Floor>(device.state, FLOOR_RECORD).save(next);
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
