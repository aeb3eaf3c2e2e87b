/**
 * Who vouches for a package: the signed manifest beside it or inside it, checked against the configured keys.
 *
 * Once a claim is checked, the package is read only through it (`secure`): every block's digest is compared each time it is
 * read, so a file that changes after the check gives an error, never a foreign byte.
 */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { OtaError } from "../core/errors.ts";
import { nodeDigests } from "../device/index.ts";
import { nodeSignatureChecker, readPublicKeys } from "../trust/crypto.node.ts";
import {
  checkEnvelope,
  decodeEnvelope,
  decodeManifest,
  MANIFEST_TYPE,
  MAX_ENVELOPE_BYTES,
  readGzipEmbedding,
  verifiedReader,
  verifiedStream,
  type Envelope,
  type Manifest,
  type ManifestItem,
  type PublicKey,
} from "../trust/index.ts";
import { streamRange } from "../core/streams.ts";
import type { RandomReader } from "../core/ports.ts";
import type { PackageInput } from "./family.ts";
import type { Io } from "./io.ts";

/** What a detached manifest is called: the package's name and this. */
export const MANIFEST_SUFFIX = ".manifest";

/** What a signature says of a package. */
export interface TrustClaim {
  /** Where it stands, for messages: `SStarOta.bin.gz.manifest`, `inside the package`. */
  readonly place: string;
  readonly family: Manifest["family"];
  readonly hardware: readonly string[];
  readonly version: string;
  /** SHA-256 of the covered bytes, hex. */
  readonly sha256: string;
  /** Digests of differential items; empty where the format has no room for them. */
  readonly items: readonly ManifestItem[];
  /** Ids of all keys that signed; empty for a manifest that was never signed. */
  readonly signedBy: readonly string[];
  /** The configured keys that signed. @throws OtaError TRUST_* */
  check(keys: readonly PublicKey[]): Promise<readonly PublicKey[]>;
  /** The same package, giving only bytes the claim vouches for. @throws OtaError TRUST_MISMATCH, also later while reading */
  secure(input: PackageInput): PackageInput;
}

/** A claim of an envelope that holds a manifest. `bare` is the file its digests are over, when it can be read anywhere. */
export function manifestClaim(envelope: Envelope, place: string, bare: RandomReader | undefined): TrustClaim {
  if (envelope.payloadType !== MANIFEST_TYPE) {
    throw new OtaError("TRUST_MANIFEST", { what: "not a manifest", where: place, found: envelope.payloadType });
  }
  const manifest = decodeManifest(envelope.payload);
  const signedBy = envelope.signatures.map((s) => s.keyId);
  return {
    place,
    family: manifest.family,
    hardware: manifest.hardware,
    version: manifest.version,
    sha256: manifest.package.sha256,
    items: manifest.items,
    signedBy,
    async check(keys) {
      const good = await checkEnvelope(envelope, keys, nodeSignatureChecker);
      if (signedBy.join() !== manifest.signers.join()) {
        throw new OtaError("TRUST_SIGNATURE", {
          what: "signatures were removed or added after signing",
          where: place,
          expected: manifest.signers.map((id) => id.slice(0, 16)).join(", "),
          found: signedBy.map((id) => id.slice(0, 16)).join(", "),
        });
      }
      return good;
    },
    secure(input) {
      if (bare === undefined) return { ...input, stream: () => verifiedStream(input.stream(), manifest, nodeDigests) };
      const reader = verifiedReader(bare, manifest, nodeDigests);
      return { ...input, reader, stream: () => streamRange(reader, 0, reader.size, manifest.blockSize) };
    },
  };
}

async function readEnvelopeFile(path: string): Promise<Envelope | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new OtaError("DEVICE_IO", { what: "the signature file cannot be read", where: path }, e);
  }
  if (bytes.length > MAX_ENVELOPE_BYTES) {
    throw new OtaError("TRUST_MANIFEST", { what: "the signature file is too large", where: path, found: bytes.length });
  }
  return decodeEnvelope(bytes);
}

/** The claim of a package: the manifest beside it, otherwise the one in its gzip header; undefined when there is none. */
export async function findClaim(input: PackageInput, io: Io, manifestFile?: string): Promise<TrustClaim | undefined> {
  const beside = manifestFile ?? (input.name === "-" ? undefined : `${input.name}${MANIFEST_SUFFIX}`);
  if (beside !== undefined) {
    const envelope = await readEnvelopeFile(resolve(io.cwd, beside));
    if (envelope !== undefined) {
      const { coverage } = decodeManifest(envelope.payload);
      if (coverage === "file") return manifestClaim(envelope, beside, input.reader);
      throw new OtaError("TRUST_MANIFEST", {
        what: "a manifest beside a package must cover the whole file",
        where: beside,
        found: coverage,
      });
    }
    if (manifestFile !== undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such manifest", where: beside });
  }
  if (input.reader === undefined || !input.gzipped) return undefined;
  const { embedded, bare } = await readGzipEmbedding(input.reader);
  if (embedded === undefined) return undefined;
  const claim = manifestClaim(decodeEnvelope(embedded), "inside the package", bare);
  if (decodeManifest(decodeEnvelope(embedded).payload).coverage !== "gzip-without-extra") {
    throw new OtaError("TRUST_MANIFEST", "the manifest inside the package is not for a gzip file");
  }
  return claim;
}

/** All public keys of files. @throws OtaError TRUST_KEY, DEVICE_NOT_FOUND */
export async function loadPublicKeys(files: readonly string[]): Promise<PublicKey[]> {
  const keys: PublicKey[] = [];
  for (const file of files) {
    let pem: string;
    try {
      pem = await readFile(file, "latin1");
    } catch (e) {
      throw new OtaError("DEVICE_NOT_FOUND", { what: "the key file cannot be read", where: file }, e);
    }
    keys.push(...readPublicKeys(pem, file));
  }
  return keys;
}

/** `signed by 0123456789abcdef…`, the phrase every result carries. */
export function signedPhrase(keys: readonly PublicKey[]): string {
  return `signed by ${keys.map((k) => `${k.id.slice(0, 16)}…`).join(" and ")}`;
}
