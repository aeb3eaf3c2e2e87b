/** `otaforge verify` for Android packages, and the keys that it and the installers trust. */
import { readFile } from "node:fs/promises";
import { checkEntries } from "../android/install/admission.ts";
import {
  MAX_KEY_BYTES,
  OTACERT_NAME,
  certificateOf,
  isPublicTestKey,
  openPayload,
  openUpdateZip,
  readKeys,
  verifyPackage,
  verifyPayload,
} from "../android/index.ts";
import type { VerifierKey } from "../android/index.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError, isOtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import type { ZipArchive } from "../core/zip/read.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { androidTestCertificate } from "../trust/index.ts";
import { isPayloadFile, payloadOfZip, verifyPayloadReport } from "./android-payload.ts";
import type { PackageInput, Report, VerifyOptions } from "./family.ts";

const PORTS = { codecs: nodeCodecs, digests: nodeDigests };

/** Keys of files in any of the known forms. @throws OtaError KEYS_UNREADABLE, DEVICE_NOT_FOUND */
export async function loadAndroidKeys(files: readonly string[], era: "4.4" | "7.1"): Promise<VerifierKey[]> {
  const keys: VerifierKey[] = [];
  for (const file of files) {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(file);
    } catch (e) {
      throw new OtaError("DEVICE_NOT_FOUND", { what: "the key file cannot be read", where: file }, e);
    }
    if (bytes.length > MAX_KEY_BYTES)
      throw new OtaError("KEYS_UNREADABLE", { what: "too large for a key", where: file });
    keys.push(...(await readKeys(bytes, { name: file, codecs: nodeCodecs, era })));
  }
  return keys;
}

const PUBLIC_TEST_KEY =
  "Android's public test key: everybody can sign with it. Sign the package again with a key of your own: otaforge sign PACKAGE --key KEY.";

/** Whether the certificate that the signer left in the archive is one of Android's source tree, or of a key from there. */
async function namesTestKey(zip: ZipArchive): Promise<boolean> {
  const entry = zip.get(OTACERT_NAME);
  if (entry === undefined) return false;
  const bytes = await zip.read(entry, MAX_KEY_BYTES);
  const certificate = certificateOf(bytes);
  if (certificate === undefined) return false;
  const digest = nodeDigests.create("sha256");
  digest.update(certificate);
  if (androidTestCertificate(toHex(digest.digest())) !== undefined) return true;
  try {
    const keys = await readKeys(certificate, { name: entry.name, codecs: nodeCodecs });
    return keys.some((key) => isPublicTestKey(key, nodeDigests));
  } catch (e) {
    // A certificate of a kind that no recovery takes.
    if (isOtaError(e, "KEYS_UNREADABLE")) return false;
    throw e;
  }
}

/** The package as a file that can be read anywhere. @throws OtaError UNSUPPORTED for a pipe */
export function packageReader(input: PackageInput): RandomReader {
  if (input.reader !== undefined) return input.reader;
  throw new OtaError("UNSUPPORTED", {
    what: "an Android package cannot be read from standard input: its signature and directory stand at its end",
    hint: "Store the package in a file and name that.",
  });
}

/**
 * Exit code 0 accepted, 3 damaged, 4 not trusted. With keys the signature over every byte decides, and in the safe profile the archive
 * must have one reading only; without keys every entry's checksum is compared. `--vendor-compatible` gives the bare verdict of the
 * era's recovery.
 */
export async function verifyAndroid(input: PackageInput, options: VerifyOptions): Promise<Report> {
  const reader = packageReader(input);
  const { era, profile, progress, cancel } = options;
  const keys = await loadAndroidKeys(options.keyFiles, era);
  if (isPayloadFile(input)) return verifyPayloadReport(input.name, await openPayload(reader), keys, options);
  const verdict = await verifyPackage(reader, keys, {
    ...PORTS,
    rules: profile === "vendor" ? era : "safe",
    sink: progress,
    cancel,
  });
  const report = (exitCode: number, signature: string, text: string): Report => ({
    text: `${input.name}: ${text}`,
    json: {
      family: "android",
      accepted: exitCode === 0,
      signature,
      ...(verdict.key === undefined ? {} : { key: verdict.key.source, hash: verdict.hash }),
      ...(verdict.reason === undefined || keys.length === 0 ? {} : { reason: verdict.reason }),
      ...(verdict.offset === undefined || keys.length === 0 ? {} : { offset: verdict.offset }),
    },
    exitCode,
  });
  if (keys.length > 0 && !verdict.accepted) {
    const at = verdict.offset === undefined ? "" : ` (offset 0x${verdict.offset.toString(16)})`;
    const reason = verdict.reason ?? "no trusted key fits";
    return verdict.unsigned
      ? report(4, "unsigned", `not trusted, unsigned: ${reason}${at}`)
      : report(4, "rejected", `not trusted: ${reason}${at}`);
  }
  if (keys.length > 0) {
    if (profile === "safe") await openUpdateZip(PORTS, reader);
    const by = `${verdict.key?.source ?? "a trusted key"} (${verdict.hash ?? ""})`;
    // Who names such a key as trusted gets recovery's verdict, and is told what it is worth.
    if (verdict.key !== undefined && isPublicTestKey(verdict.key, nodeDigests)) {
      progress.note("warning", `${verdict.key.source} is ${PUBLIC_TEST_KEY}`);
    }
    return report(0, `signed by ${by}`, `accepted, signed by ${by}`);
  }
  const zip = await openUpdateZip(PORTS, reader);
  await checkEntries(zip, { progress, cancel });
  if (zip.get("payload.bin") !== undefined)
    await verifyPayload(await payloadOfZip(zip), [], { ...PORTS, progress, cancel });
  if (profile === "safe" && !verdict.unsigned && (await namesTestKey(zip))) {
    return report(4, "public test key", `intact, but its certificate is of ${PUBLIC_TEST_KEY}`);
  }
  const signature = verdict.unsigned ? "unsigned" : "signed, not checked (no --key)";
  return report(0, signature, `intact, ${zip.entries.length} entries; ${signature}`);
}
