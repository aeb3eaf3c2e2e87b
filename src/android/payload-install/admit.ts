/** Whether a payload, bare or in a package, may be installed: signatures, digests, device, version. Nothing is written. */
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Device, ProgressSink, RandomReader } from "../../core/ports.ts";
import { decodeText } from "../../core/text.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import { checkFloor, checkHardware, openUpdateZip } from "../install/admission.ts";
import { parseMetadata, readMetadata } from "../install/metadata.ts";
import type { PackageMetadata } from "../install/metadata.ts";
import { openPayload, verifyPayload } from "../payload/index.ts";
import type { Payload } from "../payload/index.ts";
import { toBase64 } from "../../trust/base64.ts";
import { JAR_BLOCK, OTACERT_NAME } from "../signature-entries.ts";
import { guardReader } from "../verifier/guarded-reader.ts";
import type { VerifierKey } from "../verifier/keys.ts";
import { verifyPackage } from "../verifier/verify.ts";

export interface PayloadAdmission {
  readonly keys: readonly VerifierKey[];
  readonly profile: "safe" | "vendor";
  readonly minimumVersion?: string;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

export interface AdmittedPayload {
  readonly payload: Payload;
  readonly metadata: PackageMetadata;
  readonly metadataHash: Uint8Array;
  readonly signature: string;
}

/** `payload_properties.txt` names the digest of the payload beside it. @throws OtaError ANDROID_PAYLOAD_DATA */
async function checkProperties(zip: ZipArchive, fileHash: Uint8Array): Promise<void> {
  const entry = zip.get("payload_properties.txt");
  if (entry === undefined) return;
  const told = /^FILE_HASH=(.*)$/m.exec(decodeText(await zip.read(entry, 65536)))?.[1]?.trim();
  if (told === undefined) return;
  const found = toBase64(fileHash);
  if (told === found) return;
  throw new OtaError("ANDROID_PAYLOAD_DATA", {
    what: "the payload is not the one its properties describe",
    where: "FILE_HASH in payload_properties.txt",
    expected: told,
    found,
  });
}

/** The payload of a package lies in it as it is. @throws OtaError ANDROID_PAYLOAD, ZIP_MISSING */
async function payloadInside(zip: ZipArchive): Promise<Payload> {
  const entry = zip.need("payload.bin");
  if (entry.method === 0) return openPayload(zip.raw(entry));
  throw new OtaError("ANDROID_PAYLOAD", {
    what: "payload.bin is packed: devices read it where it stands",
    where: "entry payload.bin",
    expected: "a stored entry",
  });
}

/** Whether the package around the payload was signed once, as far as can be seen of it. */
function wasSigned(zip: ZipArchive): boolean {
  return zip.comment.length > 0 || zip.entries.some(({ name }) => name === OTACERT_NAME || JAR_BLOCK.test(name));
}

/** What the payload's own signature says of its version: the build time behind which it must not fall. */
function vouchedMetadata(told: PackageMetadata, { manifest }: Payload): PackageMetadata {
  const { maxTimestamp } = manifest;
  return {
    devices: told.devices,
    serials: told.serials,
    preBuilds: told.preBuilds,
    downgrade: false,
    ...(maxTimestamp === undefined ? {} : { postTimestamp: Number(maxTimestamp) }),
  };
}

/**
 * With keys, the whole-file signature of the package or the signatures of the payload must verify with one of them; a payload
 * signature that is there and does not verify is refused in any case. In the safe profile so is a package whose payload alone
 * verifies although the package was signed as well.
 * @throws OtaError ANDROID_UNSIGNED, ANDROID_REJECTED, ANDROID_PAYLOAD*, ZIP_*, TRUST_HARDWARE, TRUST_DOWNGRADE, CANCELLED
 */
export async function admitPayload(
  device: Device,
  opened: RandomReader,
  bare: boolean,
  options: PayloadAdmission,
): Promise<AdmittedPayload> {
  const { keys, progress, cancel } = options;
  const reader = guardReader(opened, device.digests);
  const verdict = bare
    ? undefined
    : await verifyPackage(reader, keys, {
        digests: device.digests,
        codecs: device.codecs,
        rules: options.profile === "vendor" ? "7.1" : "safe",
        ...(progress === undefined ? {} : { sink: progress }),
        ...(cancel === undefined ? {} : { cancel }),
      });
  const zip = bare ? undefined : await openUpdateZip(device, reader);
  const payload = zip === undefined ? await openPayload(reader) : await payloadInside(zip);
  const checked = await verifyPayload(payload, keys, {
    digests: device.digests,
    exact: options.profile === "safe",
    ...(progress === undefined ? {} : { progress }),
    ...(cancel === undefined ? {} : { cancel }),
  });
  const own = checked.metadata === "good" && checked.payload === "good";
  const whole = verdict?.accepted === true;
  const present = checked.metadata !== "unsigned" || checked.payload !== "unsigned";
  if (keys.length > 0 && !own && !whole) {
    if (!present && verdict?.unsigned !== false) {
      throw new OtaError("ANDROID_UNSIGNED", {
        what: "the device has keys configured and neither package nor payload is signed",
        hint: "Nothing was written.",
      });
    }
    throw new OtaError("ANDROID_REJECTED", {
      what: "the signatures of the payload are not accepted",
      found: verdict?.reason ?? `metadata signature ${checked.metadata}, payload signature ${checked.payload}`,
      hint: "The package was changed after signing, or is signed with another key. Nothing was written.",
    });
  }
  if (keys.length > 0 && options.profile === "safe" && zip !== undefined && !whole && wasSigned(zip)) {
    throw new OtaError("ANDROID_REJECTED", {
      what: "the payload's signature is accepted, that of the package around it is not",
      found: verdict?.reason ?? "no trusted key fits",
      hint: "The package was changed after signing, or the key it is signed with is not among the device's. Nothing was written.",
    });
  }
  if (zip !== undefined) await checkProperties(zip, checked.fileHash);
  const told = zip === undefined ? parseMetadata("") : await readMetadata(zip);
  // Only what a trusted key signed may let a device go back, or keep it from doing so.
  const metadata = keys.length === 0 || whole ? told : vouchedMetadata(told, payload);
  if (options.profile === "safe") {
    await checkHardware(device, told);
    await checkFloor(device, metadata, {
      signed: keys.length > 0,
      ...(options.minimumVersion === undefined ? {} : { minimumVersion: options.minimumVersion }),
    });
  }
  const signature =
    keys.length > 0
      ? whole
        ? `signed by ${verdict.key?.source ?? "a trusted key"}`
        : "payload signed by a trusted key"
      : present || verdict?.unsigned === false
        ? "signature not checked (no keys)"
        : "unsigned";
  return { payload, metadata, metadataHash: checked.metadataHash, signature };
}
