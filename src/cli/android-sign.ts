/** `otaforge sign` for Android: packages, payloads, and A/B packages with the payload in them. */
import { resolve } from "node:path";
import {
  checkPlaces,
  openPayload,
  planSignedAgain,
  propertiesText,
  readKeys,
  signArchive,
  signPayload,
  signPlan,
  verifyPayload,
  type PackageSigner,
  type Payload,
  type VerifierKey,
} from "../android/index.ts";
import { signerFromCommand, signerFromFiles } from "../android/signing/keys.node.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { streamRange } from "../core/streams.ts";
import { openZip, type ZipArchive } from "../core/zip/index.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { createPendingFile, type PendingFile } from "./android-output.ts";
import { androidKind, openAndroidZip, readerOf } from "./android-package.ts";
import { isPayloadFile, payloadOfZip } from "./android-payload.ts";
import { verifyOwn } from "./android-signer.ts";
import type { PackageInput, Report, SignOptions } from "./family.ts";

/** @throws OtaError USAGE, ANDROID_KEY */
async function signerOf({ keyFiles, signCommand, publicKeyFile }: SignOptions): Promise<PackageSigner> {
  const [keyFile, more] = keyFiles;
  if (more !== undefined)
    throw new OtaError("USAGE", { what: "an Android package has one signature", found: `${keyFiles.length} keys` });
  if (signCommand !== undefined && publicKeyFile !== undefined) return signerFromCommand(signCommand, publicKeyFile);
  if (keyFile !== undefined) return signerFromFiles({ path: keyFile.replace(/\.(pk8|x509\.pem|pem)$/, "") });
  throw new OtaError("USAGE", {
    what: "no key to sign with",
    hint: "Give --key KEY.pk8 (its certificate KEY.x509.pem stands beside it), or --sign-command with --public-key CERTIFICATE.",
  });
}

const keysOf = (signer: PackageSigner): Promise<VerifierKey[]> =>
  readKeys(signer.otacert, { name: "the signing certificate", codecs: nodeCodecs });

/** Whether both signatures are the key's; every byte of the data is checked on the way. @throws OtaError ANDROID_PAYLOAD_DATA */
async function isSignedBy(payload: Payload, keys: readonly VerifierKey[], options: SignOptions): Promise<boolean> {
  const { progress, cancel } = options;
  const verdict = await verifyPayload(payload, keys, { digests: nodeDigests, progress, cancel });
  return verdict.metadata === "good" && verdict.payload === "good";
}

function ownSignatureBad(): OtaError {
  return new OtaError("ANDROID_SIGNER", {
    what: "the payload's signature does not belong to the certificate",
    hint: "Nothing was written. Does the signing command use the key of this certificate, and SHA-256?",
  });
}

async function signBarePayload(
  payload: Payload,
  file: PendingFile,
  signer: PackageSigner,
  options: SignOptions,
): Promise<{ size: number; properties: string }> {
  const keys = await keysOf(signer);
  // A damaged payload is not made to look whole by a good signature.
  await isSignedBy(payload, keys, options);
  const sealed = await signPayload(payload, signer, { digests: nodeDigests, cancel: options.cancel });
  let size = 0;
  for await (const chunk of sealed.content()) {
    await file.write(size, chunk);
    size += chunk.length;
  }
  if (!(await isSignedBy(await openPayload(file.reader(size)), keys, options))) throw ownSignatureBad();
  return { size, properties: propertiesText(sealed.properties) };
}

/** The package with its payload signed by the same key, if it is not already. */
async function signAbPackage(
  zip: ZipArchive,
  file: PendingFile,
  signer: PackageSigner,
  options: SignOptions,
): Promise<{ size: number; payload: "kept" | "signed" }> {
  const { progress, cancel } = options;
  const keys = await keysOf(signer);
  const payload = await payloadOfZip(zip);
  const kept = await isSignedBy(payload, keys, options);
  const fresh = kept ? undefined : await signPayload(payload, signer, { digests: nodeDigests, cancel });
  const made = await planSignedAgain(zip, payload, fresh);
  const common = { codecs: nodeCodecs, digests: nodeDigests, progress, cancel };
  const size = await signPlan(made.plan, file, signer, { ...common, era: "7.1" });
  const written = await openZip(file.reader(size), { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) });
  checkPlaces(made, written);
  if (!(await isSignedBy(await payloadOfZip(written), keys, options))) throw ownSignatureBad();
  return { size, payload: kept ? "kept" : "signed" };
}

/** Signs a package or payload in Android's own way; earlier signatures are replaced. */
export async function signAndroid(input: PackageInput, options: SignOptions): Promise<Report> {
  const bare = isPayloadFile(input) ? await openPayload(readerOf(input)) : undefined;
  const zip = bare === undefined ? await openAndroidZip(input) : undefined;
  const signer = await signerOf(options);
  const output = options.outputFile ?? resolve(input.name);
  const file = await createPendingFile(output);
  try {
    let size: number;
    let more: { text: readonly string[]; json: object } = { text: [], json: {} };
    if (bare !== undefined) {
      const signed = await signBarePayload(bare, file, signer, options);
      size = signed.size;
      more = { text: [signed.properties.trimEnd()], json: { properties: signed.properties } };
    } else if (zip !== undefined && androidKind(zip) === "a-b") {
      const signed = await signAbPackage(zip, file, signer, options);
      size = signed.size;
      const word = signed.payload === "kept" ? "is signed by this key already" : "is signed by this key as well";
      more = { text: [`payload.bin ${word}`], json: { payload: signed.payload } };
    } else {
      const archive = zip ?? (await openAndroidZip(input));
      size = await signArchive(archive, file, signer, {
        codecs: nodeCodecs,
        digests: nodeDigests,
        progress: options.progress,
        cancel: options.cancel,
        profile: options.profile,
        era: androidKind(archive) === "files" ? "4.4" : "7.1",
        replace: true,
      });
    }
    if (bare === undefined) await verifyOwn(file.reader(size), signer, options);
    const digest = nodeDigests.create("sha256");
    for await (const chunk of streamRange(file.reader(size))) digest.update(chunk);
    await file.keep();
    const sha256 = toHex(digest.digest());
    // Payloads are signed with SHA-256 whatever the certificate says.
    const hash = bare === undefined ? signer.hash : "sha256";
    return {
      text: [
        `${output}: signed (${signer.keyType.toUpperCase()}, ${hash}), ${size} bytes, sha256 ${sha256}`,
        ...more.text,
      ].join("\n"),
      json: { family: "android", output, size, sha256, key: signer.keyType, hash, ...more.json },
      exitCode: 0,
    };
  } finally {
    await file.drop();
  }
}
