/**
 * Who vouches for a package: the signed manifest beside it or inside it, checked against the configured keys.
 *
 * Once a claim is checked, the package is read only through it (`secure`): every block's digest is compared each time it is
 * read, so a file that changes after the check gives an error, never a foreign byte.
 */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { editedReader, editedStream, type Edit } from "../core/edits.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { nodeSignatureChecker, readPublicKeys } from "../trust/crypto.node.ts";
import {
  checkEnvelope,
  decodeEnvelope,
  decodeManifest,
  digestBlocks,
  envelopeOfSeal,
  GZIP_SEAL_HEAD,
  MANIFEST_TYPE,
  MAX_ENVELOPE_BYTES,
  readGzipSeal,
  readKdimgSeal,
  verifiedReader,
  verifiedStream,
  type Coverage,
  type Envelope,
  type Manifest,
  type ManifestItem,
  type PublicKey,
} from "../trust/index.ts";
import type { PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { unpackHead } from "./plain-head.ts";
import { streamKept } from "./small-memory.ts";

/** What a detached manifest is called: the package's name and this. */
export const MANIFEST_SUFFIX = ".manifest";

/** What a signature says of a package. */
export interface TrustClaim {
  /** Where it stands, for messages: `SStarOta.bin.gz.manifest`, `inside the package`. */
  readonly place: string;
  readonly family: Manifest["family"];
  readonly hardware: readonly string[];
  readonly version: string;
  readonly baseVersion?: string;
  readonly coverage: Coverage;
  /** Size of the covered bytes, and their SHA-256, hex. */
  readonly size: number;
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

/** How the signed bytes are read: `edits` take a signature out of the file; `unpacked`: it stands behind the compression. */
interface Covered {
  readonly coverage: Coverage;
  readonly edits: readonly Edit[];
  readonly unpacked?: boolean;
}

/** An image unpacks to at most this: the container's offsets have 32 bits. */
const MOST_UNPACKED = 2 ** 33;

function unpack(input: PackageInput): ByteStream {
  return nodeCodecs.gunzip(input.stream(), MOST_UNPACKED);
}

/** The package through its manifest. */
function secured(input: PackageInput, manifest: Manifest, { edits, unpacked }: Covered): PackageInput {
  const { reader, ...rest } = input;
  if (unpacked === true) {
    const stream = (): ByteStream => verifiedStream(editedStream(unpack(input), edits), manifest, nodeDigests);
    return { ...rest, head: input.plainHead, gzipped: false, stream, repeatable: reader !== undefined };
  }
  if (reader === undefined) {
    return { ...rest, stream: () => verifiedStream(editedStream(input.stream(), edits), manifest, nodeDigests) };
  }
  const bare = verifiedReader(editedReader(reader, edits), manifest, nodeDigests);
  return { ...rest, reader: bare, stream: () => streamKept(bare, manifest.blockSize) };
}

/** A claim of an envelope that holds a manifest. @throws OtaError TRUST_MANIFEST */
export function manifestClaim(envelope: Envelope, place: string, covered: Covered): TrustClaim {
  if (envelope.payloadType !== MANIFEST_TYPE) {
    throw new OtaError("TRUST_MANIFEST", { what: "not a manifest", where: place, found: envelope.payloadType });
  }
  const manifest = decodeManifest(envelope.payload);
  if (manifest.coverage !== covered.coverage) {
    throw new OtaError("TRUST_MANIFEST", {
      what: "the manifest is not made for this place",
      where: place,
      expected: covered.coverage,
      found: manifest.coverage,
    });
  }
  const signedBy = envelope.signatures.map((s) => s.keyId);
  return {
    place,
    family: manifest.family,
    hardware: manifest.hardware,
    version: manifest.version,
    ...(manifest.baseVersion === undefined ? {} : { baseVersion: manifest.baseVersion }),
    coverage: manifest.coverage,
    ...manifest.package,
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
    secure: (input) => secured(input, manifest, covered),
  };
}

/** A small file whole; undefined when there is none. @throws OtaError DEVICE_IO, TRUST_MANIFEST beyond 4 MiB */
export async function readSmallFile(path: string): Promise<Uint8Array | undefined> {
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
  return new Uint8Array(bytes);
}

/** First bytes of the package: enough for any signature inside it. */
async function beginOf(input: PackageInput): Promise<Uint8Array> {
  const { reader } = input;
  if (reader === undefined) return input.begin ?? input.head;
  return reader.read(0, Math.min(reader.size, GZIP_SEAL_HEAD));
}

/** How much behind the compression is looked at for a signature. */
const UNPACKED_BEGIN = 64 * 1024;

const INSIDE = "inside the package";

/** The claim of a signature in the header of a kdimg, compressed or not. */
async function findKdimgClaim(input: PackageInput, begin: Uint8Array): Promise<TrustClaim | undefined> {
  const unpacked = input.gzipped;
  const seal = readKdimgSeal(unpacked ? await unpackHead(begin, UNPACKED_BEGIN) : begin);
  if (seal === undefined) return undefined;
  const { edits, facts } = seal;
  let { blocks } = seal;
  if (blocks === undefined) {
    // The image had no room for them: they are made again of what is there, and the signature tells whether it is the same.
    if (input.reader === undefined || unpacked) {
      throw new OtaError("TRUST_NO_ROOM", {
        what: "the image's signature can only be checked in a seekable, uncompressed file",
        where: input.name,
        hint: "Store the image in a file, or give its detached manifest with --manifest.",
      });
    }
    const bare = editedReader(input.reader, edits);
    blocks = (await digestBlocks(streamKept(bare), bare.size, nodeDigests, facts.blockSize)).blocks;
    if (blocks.length !== Math.ceil(facts.package.size / facts.blockSize) * 32) {
      throw new OtaError("TRUST_MISMATCH", {
        what: "the package has another size than what was signed",
        where: input.name,
        expected: `${facts.package.size} bytes`,
        found: `${bare.size} bytes`,
      });
    }
  }
  return manifestClaim(envelopeOfSeal(seal, blocks), INSIDE, { coverage: "kdimg-without-reserved", edits, unpacked });
}

/**
 * The claim of a package: the manifest beside it, otherwise the one inside it; undefined when there is none.
 * @throws OtaError TRUST_MANIFEST, TRUST_MISMATCH, TRUST_NO_ROOM, DEVICE_NOT_FOUND
 */
export async function findClaim(input: PackageInput, io: Io, manifestFile?: string): Promise<TrustClaim | undefined> {
  const beside = manifestFile ?? (input.name === "-" ? undefined : `${input.name}${MANIFEST_SUFFIX}`);
  if (beside !== undefined) {
    const bytes = await readSmallFile(resolve(io.cwd, beside));
    if (bytes !== undefined) return manifestClaim(decodeEnvelope(bytes), beside, { coverage: "file", edits: [] });
    if (manifestFile !== undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such manifest", where: beside });
  }
  return findEmbeddedClaim(input);
}

/** The claim inside a package, whatever stands beside it. @throws OtaError TRUST_MANIFEST, TRUST_MISMATCH, TRUST_NO_ROOM */
export async function findEmbeddedClaim(input: PackageInput): Promise<TrustClaim | undefined> {
  const begin = await beginOf(input);
  if (input.gzipped) {
    const { embedded, edits } = readGzipSeal(begin);
    if (embedded !== undefined) {
      return manifestClaim(decodeEnvelope(embedded), INSIDE, { coverage: "gzip-without-extra", edits });
    }
  }
  return findKdimgClaim(input, begin);
}

/** The package as its maker wrote it, without a signature that was put into it later. */
export async function withoutSignature(input: PackageInput): Promise<ByteStream> {
  const begin = await beginOf(input);
  const edits = input.gzipped ? readGzipSeal(begin).edits : (readKdimgSeal(begin)?.edits ?? []);
  return editedStream(input.stream(), edits);
}

/** All public keys of files. @throws OtaError TRUST_KEY, TRUST_SAMPLE_KEY, DEVICE_NOT_FOUND */
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
