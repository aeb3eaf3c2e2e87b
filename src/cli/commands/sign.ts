/** `otaforge sign PACKAGE`: a signed manifest beside the package, or inside it. */
import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, RandomReader } from "../../core/ports.ts";
import { streamRange } from "../../core/streams.ts";
import { nodeDigests } from "../../device/index.ts";
import { commandSigner, readPublicKeys, readSigner } from "../../trust/crypto.node.ts";
import {
  digestBlocks,
  embedInGzip,
  encodeEnvelope,
  encodeManifest,
  MANIFEST_TYPE,
  readGzipEmbedding,
  sealEnvelope,
  type Manifest,
  type PublicKey,
  type Signer,
} from "../../trust/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily } from "../families.ts";
import type { FamilyName, PackageInput, Report, SignOptions } from "../family.ts";
import type { Io } from "../io.ts";
import { commonOptions, printReport, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { findClaim, MANIFEST_SUFFIX } from "../trust.ts";

interface Values extends SharedValues {
  key?: string[];
  signCommand?: string;
  publicKey?: string;
  packageVersion?: string;
  hardware?: string[];
  embed?: boolean;
  output?: string;
}

async function readText(io: Io, file: string): Promise<string> {
  try {
    return await readFile(resolve(io.cwd, file), "latin1");
  } catch (e) {
    throw new OtaError("DEVICE_NOT_FOUND", { what: "the key file cannot be read", where: file }, e);
  }
}

async function signersOf(values: Values, io: Io): Promise<Signer[]> {
  const signers: Signer[] = [];
  for (const file of values.key ?? []) signers.push(readSigner(await readText(io, file), file));
  if (values.signCommand !== undefined) {
    if (values.publicKey === undefined) {
      throw new OtaError("USAGE", {
        what: "--sign-command needs --public-key",
        hint: "The signature it makes is checked against that key.",
      });
    }
    const key = readPublicKeys(await readText(io, values.publicKey), values.publicKey)[0] as PublicKey;
    signers.push(commandSigner(values.signCommand, key));
  }
  if (signers.length === 0) {
    throw new OtaError("USAGE", {
      what: "no key to sign with",
      hint: "Give --key FILE (make one with: otaforge keygen NAME) or --sign-command.",
    });
  }
  return signers;
}

/** Writes beside `path` and renames over it, so that an interrupted run leaves the old file. */
async function replaceFile(path: string, content: ByteStream | Uint8Array): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  const file = await open(temporary, "wx", 0o644);
  try {
    if (content instanceof Uint8Array) await file.writeFile(content);
    else for await (const chunk of content) await file.writeFile(chunk);
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (e) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw e;
  }
}

/** What is signed: facts given on the command line, or those of the manifest over the same bytes (re-signing). */
async function describePackage(
  input: PackageInput & { reader: RandomReader },
  family: FamilyName,
  values: Values,
  { io, signers }: { io: Io; signers: readonly Signer[] },
): Promise<Manifest> {
  const embed = values.embed === true;
  if (embed && !input.gzipped) {
    throw new OtaError("TRUST_NO_ROOM", {
      what: `a ${family} package of this form has no room for a signature`,
      hint: "Leave --embed out; the signature is then written beside the package.",
    });
  }
  const { bare } = embed ? await readGzipEmbedding(input.reader) : { bare: input.reader };
  const content = await digestBlocks(streamRange(bare), bare.size, nodeDigests);
  const claim = await findClaim(input, io);
  // A manifest left over from another build says nothing of this one.
  const earlier = claim?.sha256 === content.package.sha256 ? claim : undefined;
  const version = values.packageVersion ?? earlier?.version;
  if (version === undefined) {
    throw new OtaError("USAGE", { what: "the package's version is not known", hint: "Give --package-version 1.2.3." });
  }
  return {
    family,
    hardware: values.hardware ?? earlier?.hardware ?? [],
    version,
    coverage: embed ? "gzip-without-extra" : "file",
    ...content,
    items: claim?.items ?? [],
    signers: signers.map((s) => s.key.id).sort(),
  };
}

export const signCommand: Subcommand = {
  async build(io, done) {
    return newCommand("sign", io)
      .description(
        "Signs a package of any family. The signed manifest is written beside it (PACKAGE.manifest), or into its gzip header " +
          "with --embed, which every gunzip skips. Signing again replaces the signatures and needs no rebuilding.",
      )
      .argument("<package>", "package file")
      .option("-k, --key <file...>", "private keys (PEM)")
      .option("--sign-command <command>", "command that signs standard input and prints the raw signature")
      .option("--public-key <file>", "public key that belongs to --sign-command")
      .option("--package-version <version>", "version the package brings, such as 1.10.3")
      .option("--hardware <name...>", "hardware the package is for (default: any)")
      .option("--embed", "put the signature into the gzip header instead of beside the package")
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
              : await family.sign(input, familyOptions(values, io));
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};

function familyOptions(values: Values, io: Io): SignOptions {
  const path = (file: string): string => resolve(io.cwd, file);
  return {
    ...commonOptions(values, io),
    keyFiles: (values.key ?? []).map(path),
    ...(values.signCommand === undefined ? {} : { signCommand: values.signCommand }),
    ...(values.publicKey === undefined ? {} : { publicKeyFile: path(values.publicKey) }),
    ...(values.output === undefined ? {} : { outputFile: path(values.output) }),
  };
}

async function signByManifest(
  input: PackageInput & { reader: RandomReader },
  family: FamilyName,
  values: Values,
  io: Io,
): Promise<Report> {
  const signers = await signersOf(values, io);
  const manifest = await describePackage(input, family, values, { io, signers });
  const envelope = encodeEnvelope(await sealEnvelope(MANIFEST_TYPE, encodeManifest(manifest), signers));
  const embed = values.embed === true;
  const file = values.output ?? (embed ? input.name : `${input.name}${MANIFEST_SUFFIX}`);
  const content = embed ? embedInGzip((await readGzipEmbedding(input.reader)).bare, envelope) : envelope;
  await replaceFile(resolve(io.cwd, file), content);
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
