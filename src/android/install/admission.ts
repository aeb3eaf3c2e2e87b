/**
 * Whether a device may take a package, decided before anything is written: signature, integrity, hardware, version floor,
 * battery.
 */
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Device, ProgressSink, RandomReader } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { printable } from "../../core/text.ts";
import { openZip } from "../../core/zip/index.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import { openJournal } from "../../device/journal.ts";
import { compareVersions, parseVersion } from "../../trust/index.ts";
import type { VerifierRules } from "../verifier/footer.ts";
import type { VerifierKey } from "../verifier/keys.ts";
import { verifyPackage } from "../verifier/verify.ts";
import type { PackageMetadata } from "./metadata.ts";

/** State record with the build time of the newest package that was installed completely. */
const FLOOR_RECORD = "android-floor";

interface Floor {
  /** Seconds since 1970. */
  readonly timestamp: number;
}

/** Charge of a battery. */
export interface Battery {
  readonly percent: number;
  readonly charging: boolean;
}

/** Charge below which nothing is installed, per cent: on battery, and with a charger (recovery of 7.1). */
export const LOW_BATTERY = Object.freeze({ discharging: 20, charging: 15 });

export interface CheckOptions {
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

/**
 * Checks the whole-file signature. With keys it must verify with one of them; gives what every result says of it:
 * `unsigned`, `signed, not checked (no keys)` or `signed by …`.
 * @throws OtaError ANDROID_UNSIGNED, ANDROID_REJECTED
 */
export async function checkSignature(
  device: Pick<Device, "digests" | "codecs">,
  reader: RandomReader,
  keys: readonly VerifierKey[],
  { rules = "safe", progress, cancel }: CheckOptions & { readonly rules?: VerifierRules } = {},
): Promise<string> {
  const verdict = await verifyPackage(reader, keys, {
    digests: device.digests,
    codecs: device.codecs,
    rules,
    ...(progress === undefined ? {} : { sink: progress }),
    ...(cancel === undefined ? {} : { cancel }),
  });
  if (keys.length === 0) return verdict.unsigned ? "unsigned" : "signature not checked (no keys)";
  if (verdict.accepted) return `signed by ${verdict.key?.source ?? "a trusted key"} (${verdict.hash ?? ""})`;
  if (verdict.unsigned) {
    throw new OtaError("ANDROID_UNSIGNED", {
      what: "the device has keys configured and the package carries no whole-file signature",
      found: verdict.reason ?? "no footer",
      hint: "Sign it with: otaforge sign. Nothing was written.",
    });
  }
  throw new OtaError("ANDROID_REJECTED", {
    what: "the signature of the package is not accepted",
    ...(verdict.offset === undefined ? {} : { where: `offset 0x${verdict.offset.toString(16)}` }),
    found: verdict.reason ?? "no trusted key fits",
    hint: "The package was changed after signing, or is signed with another key. Nothing was written.",
  });
}

/** Opens the package as a zip that has one reading only. @throws OtaError ZIP_* */
export function openUpdateZip(device: Pick<Device, "codecs" | "digests">, reader: RandomReader): Promise<ZipArchive> {
  return openZip(reader, { codecs: device.codecs, crc32: (bytes, crc) => device.digests.crc32(bytes, crc) });
}

/** Reads every entry to its end: sizes and CRCs. @throws OtaError ZIP_CRC, ZIP_ENTRY, CODEC_* */
export async function checkEntries(zip: ZipArchive, { progress, cancel }: CheckOptions): Promise<void> {
  const totalBytes = zip.entries.reduce((sum, e) => sum + e.size, 0);
  let doneBytes = 0;
  for (const entry of zip.entries) {
    for await (const chunk of zip.stream(entry)) {
      checkCancel(cancel);
      doneBytes += chunk.length;
      progress?.progress({ phase: "verify", item: printable(entry.name), doneBytes, totalBytes });
    }
  }
}

/** @throws OtaError TRUST_HARDWARE when the package is for another device */
export async function checkHardware(device: Device, metadata: PackageMetadata): Promise<void> {
  const { devices, serials } = metadata;
  const own = device.hardware ?? (await device.properties.get("ro.product.device"));
  if (devices.length > 0 && own !== undefined && !devices.includes(own)) {
    throw new OtaError("TRUST_HARDWARE", {
      what: "the package is for another device",
      where: "pre-device in META-INF/com/android/metadata",
      expected: own,
      found: printable(devices.join(" or ")),
      hint: "Nothing was written.",
    });
  }
  const serial = await device.properties.get("ro.serialno");
  if (serials.length > 0 && serial !== undefined && !serials.includes(serial)) {
    throw new OtaError("TRUST_HARDWARE", {
      what: "the package is for single devices, and this one is not among them",
      where: "serialno in META-INF/com/android/metadata",
      found: serial,
    });
  }
}

/** @throws OtaError DEVICE_STATE_DAMAGED */
async function loadFloor(device: Device): Promise<Floor | undefined> {
  const value = await openJournal<Partial<Floor>>(device.state, FLOOR_RECORD).load();
  if (value === undefined) return undefined;
  // A record that is whole and says nothing must not be taken for "no floor".
  if (typeof value.timestamp === "number") return { timestamp: value.timestamp };
  throw new OtaError("DEVICE_STATE_DAMAGED", { what: "the version floor makes no sense", where: FLOOR_RECORD });
}

/**
 * Refuses builds older than the newest one that was installed, and than the description's `minimumVersion`: a build time in
 * seconds when it is one whole number of ten digits, else compared with `post-build-incremental`. A signed `ota-downgrade=yes` may
 * go back. @throws OtaError TRUST_DOWNGRADE, TRUST_VERSION
 */
export async function checkFloor(
  device: Device,
  metadata: PackageMetadata,
  { signed, minimumVersion }: { readonly signed: boolean; readonly minimumVersion?: string },
): Promise<void> {
  const refuse = (expected: string, found: string): never => {
    throw new OtaError("TRUST_DOWNGRADE", {
      what: "the package is older than what this device accepts",
      expected: `${expected} or newer`,
      found,
      hint: "A package signed with ota-downgrade=yes may go back. Nothing was written.",
    });
  };
  const stamp = metadata.postTimestamp;
  if (minimumVersion !== undefined) {
    if (/^\d{10}$/.test(minimumVersion)) {
      if (stamp === undefined || stamp < Number(minimumVersion)) {
        refuse(
          `build time ${minimumVersion}`,
          stamp === undefined ? "a package without post-timestamp" : String(stamp),
        );
      }
    } else {
      const found = metadata.postIncremental;
      if (found === undefined || compareVersions(parseVersion(found), parseVersion(minimumVersion)) < 0) {
        refuse(minimumVersion, found ?? "a package without post-build-incremental");
      }
    }
  }
  if (!signed || metadata.downgrade) return;
  const floor = await loadFloor(device);
  if (floor !== undefined && (stamp === undefined || stamp < floor.timestamp)) {
    refuse(`build time ${floor.timestamp}`, stamp === undefined ? "a package without post-timestamp" : String(stamp));
  }
}

/** After a complete installation of a trusted package: older ones are refused from now on. */
export async function raiseFloor(device: Device, metadata: PackageMetadata): Promise<void> {
  const stamp = metadata.postTimestamp;
  if (stamp === undefined) return;
  const floor = await loadFloor(device);
  if (floor === undefined || stamp > floor.timestamp || metadata.downgrade) {
    await openJournal<Floor>(device.state, FLOOR_RECORD).save({ timestamp: stamp });
  }
}

/** @throws OtaError ANDROID_BATTERY */
export function checkBattery(battery: Battery | undefined): void {
  if (battery === undefined) return;
  const needed = battery.charging ? LOW_BATTERY.charging : LOW_BATTERY.discharging;
  if (battery.percent >= needed) return;
  throw new OtaError("ANDROID_BATTERY", {
    what: "the battery is too low for an update",
    expected: `at least ${needed} % ${battery.charging ? "with a charger" : "without a charger"}`,
    found: `${battery.percent} %`,
    hint: "Nothing was written.",
  });
}
