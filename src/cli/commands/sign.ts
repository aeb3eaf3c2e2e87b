/** `otaforge sign PACKAGE`: a signed manifest beside the package, or inside it. */
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { toHex } from "../../core/bytes.ts";
import { editedReader } from "../../core/edits.ts";
import { isOtaError, OtaError } from "../../core/errors.ts";
import type { ByteStream, RandomReader } from "../../core/ports.ts";
import { nodeCodecs, nodeDigests } from "../../device/index.ts";
import {
  blockSizeFor,
  decodeEnvelope,
  digestBlocks,
  embedInGzip,
  embedInKdimg,
  encodeEnvelope,
  encodeManifest,
  kdimgBlockRoom,
  MANIFEST_TYPE,
  MOST_EMBEDDED_BLOCKS,
  readGzipEmbedding,
  readKdimgSeal,
  sealEnvelope,
  type Coverage,
  type Envelope,
  type Manifest,
  type Signer,
} from "../../trust/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily } from "../families.ts";
import type { FamilyName, PackageInput, Report, SignOptions } from "../family.ts";
import type { Io } from "../io.ts";
import { commonOptions, printReport, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { signersOf, withSignerOptions, type SignerValues } from "../signers.ts";
import {
  findClaim,
  findEmbeddedClaim,
  MANIFEST_SUFFIX,
  manifestClaim,
  readSmallFile,
  type TrustClaim,
} from "../trust.ts";
import { replaceFile } from "../write-beside.ts";
import { streamKept } from "../small-memory.ts";

interface Values extends SharedValues, SignerValues {
  packageVersion?: string;
  baseVersion?: string;
  hardware?: string[];
  embed?: boolean;
  output?: string;
}

/** What the signature is put into: the bytes it covers, how they are cut into blocks, and how the result is written. */
interface Place {
  readonly coverage: Coverage;
  readonly bare: RandomReader;
  readonly blockSize: number;
  write(manifest: Manifest, envelope: Envelope): Promise<ByteStream | Uint8Array>;
}

/** @throws OtaError TRUST_NO_ROOM */
async function placeOf(
  input: PackageInput & { reader: RandomReader },
  family: FamilyName,
  embed: boolean,
): Promise<Place> {
  const { reader } = input;
  if (!embed) {
    const blockSize = blockSizeFor(reader.size);
    return { coverage: "file", bare: reader, blockSize, write: async (_, envelope) => encodeEnvelope(envelope) };
  }
  if (input.gzipped) {
    const { bare } = await readGzipEmbedding(reader);
    return {
      coverage: "gzip-without-extra",
      bare,
      blockSize: blockSizeFor(bare.size, MOST_EMBEDDED_BLOCKS),
      write: async (_, envelope) => embedInGzip(bare, encodeEnvelope(envelope)),
    };
  }
  if (family === "k230") {
    const begin = await reader.read(0, Math.min(reader.size, 64 * 1024));
    const bare = editedReader(reader, readKdimgSeal(begin)?.edits ?? []);
    return {
      coverage: "kdimg-without-reserved",
      bare,
      blockSize: blockSizeFor(bare.size, (await kdimgBlockRoom(bare)) || undefined),
      write: (manifest, { signatures }) => embedInKdimg(bare, manifest, signatures),
    };
  }
  throw new OtaError("TRUST_NO_ROOM", {
    what: `a ${family} package of this form has no room for a signature`,
    hint: "Leave --embed out; the signature is then written beside the package.",
  });
}

/** What is signed: facts given on the command line, or those of the manifest over the same bytes (re-signing). */
async function describePackage(
  input: PackageInput & { reader: RandomReader },
  place: Place,
  values: Values,
  { io, family, signers }: { io: Io; family: FamilyName; signers: readonly Signer[] },
): Promise<Manifest> {
  const { bare, coverage, blockSize } = place;
  const content = await digestBlocks(streamKept(bare), bare.size, nodeDigests, blockSize);
  const earlier = await earlierClaim(input, io, content.package.sha256);
  // A manifest of `otaforge pack` that was told no version says 0 and is signed by nobody: that is no version to sign.
  const told = earlier?.signedBy.length === 0 && earlier.version === "0" ? undefined : earlier?.version;
  const version = values.packageVersion ?? told;
  if (version === undefined) {
    throw new OtaError("USAGE", { what: "the package's version is not known", hint: "Give --package-version 1.2.3." });
  }
  const baseVersion = values.baseVersion ?? earlier?.baseVersion;
  return {
    family,
    hardware: values.hardware ?? earlier?.hardware ?? [],
    version,
    ...(baseVersion === undefined ? {} : { baseVersion }),
    coverage,
    ...content,
    items: earlier?.items ?? [],
    signers: signers.map((s) => s.key.id).sort(),
  };
}

/** The manifest beside or inside the package that is over the same bytes. One left over from another build says nothing of this. */
async function earlierClaim(
  input: PackageInput & { reader: RandomReader },
  io: Io,
  sha256: string,
): Promise<TrustClaim | undefined> {
  for (const find of [() => findClaim(input, io), () => findEmbeddedClaim(input)]) {
    let claim: TrustClaim | undefined;
    try {
      claim = await find();
    } catch (e) {
      // One that cannot be read is replaced.
      if (!isOtaError(e) || e.code !== "TRUST_MANIFEST") throw e;
    }
    if (claim?.sha256 === sha256) return claim;
  }
  return plainClaim(input, io);
}

/**
 * Of a package that was compressed after it was made: what the manifest beside the plain one says of the same content. Without it
 * `gzip` between packing and signing would lose the digests of patches.
 */
async function plainClaim(input: PackageInput, io: Io): Promise<TrustClaim | undefined> {
  const { name, gzipped } = input;
  if (!gzipped || !name.endsWith(".gz")) return undefined;
  const bytes = await readSmallFile(resolve(io.cwd, `${name.slice(0, -".gz".length)}${MANIFEST_SUFFIX}`));
  if (bytes === undefined) return undefined;
  let claim: TrustClaim;
  try {
    claim = manifestClaim(decodeEnvelope(bytes), name, { coverage: "file", edits: [] });
  } catch (e) {
    if (!isOtaError(e) || e.code !== "TRUST_MANIFEST") throw e;
    return undefined;
  }
  const digest = nodeDigests.create("sha256");
  try {
    for await (const chunk of nodeCodecs.gunzip(input.stream(), claim.size)) digest.update(chunk);
  } catch (e) {
    // Larger than that manifest's package, so not the same.
    if (!isOtaError(e) || e.code !== "CODEC_BOMB") throw e;
    return undefined;
  }
  return toHex(digest.digest()) === claim.sha256 ? claim : undefined;
}

export const signCommand: Subcommand = {
  async build(io, done) {
    return withSignerOptions(newCommand("sign", io))
      .description(
        "Signs a package of any family. The signed manifest is written beside it (PACKAGE.manifest) or, with --embed, into room that " +
          "stock tools skip: the header of a gzip file, the reserved header bytes of a kdimg. Signing again replaces the " +
          "signatures and needs no rebuilding. An Android package or payload.bin is signed in Android's own way, an A/B package with the payload in it.",
      )
      .argument("<package>", "package file")
      .option("--package-version <version>", "version the package brings, such as 1.10.3")
      .option("--base-version <version>", "version a differential package must be installed over (default: any)")
      .option("--hardware <name...>", "hardware the package is for (default: any)")
      .option("--embed", "put the signature into the package instead of beside it")
      .option("-o, --output <file>", "file to write instead of the default one")
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        try {
          const { reader } = input;
          if (reader === undefined) throw new OtaError("USAGE", "a package to sign must be a file");
          const family = await detectFamily(input);
          const report =
            family.sign === undefined
              ? await signByManifest({ ...input, reader }, family.name, values, io)
              : await family.sign(input, familyOptions(name, values, io));
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};

function familyOptions(name: string, values: Values, io: Io): SignOptions {
  const path = (file: string): string => resolve(io.cwd, file);
  return {
    ...commonOptions(values, io),
    keyFiles: (values.key ?? []).map(path),
    ...(values.signCommand === undefined ? {} : { signCommand: values.signCommand }),
    ...(values.publicKey === undefined ? {} : { publicKeyFile: path(values.publicKey) }),
    outputFile: path(values.output ?? name),
  };
}

async function signByManifest(
  input: PackageInput & { reader: RandomReader },
  family: FamilyName,
  values: Values,
  io: Io,
): Promise<Report> {
  const signers = await signersOf(values, io);
  const embed = values.embed === true;
  const place = await placeOf(input, family, embed);
  const manifest = await describePackage(input, place, values, { io, family, signers });
  const envelope = await sealEnvelope(MANIFEST_TYPE, encodeManifest(manifest), signers);
  const file = values.output ?? (embed ? input.name : `${input.name}${MANIFEST_SUFFIX}`);
  await replaceFile(resolve(io.cwd, file), await place.write(manifest, envelope));
  // The file with its signature inside is another file: a manifest beside it would refuse it from now on.
  if (embed && file === input.name) await rm(resolve(io.cwd, `${file}${MANIFEST_SUFFIX}`), { force: true });
  const ids = manifest.signers.map((id) => `${id.slice(0, 16)}…`).join(" and ");
  return {
    text: `${file}: ${family} ${manifest.version}, signed by ${ids}`,
    json: {
      file,
      family,
      version: manifest.version,
      hardware: manifest.hardware,
      sha256: manifest.package.sha256,
      signers: manifest.signers,
    },
    exitCode: 0,
  };
}
