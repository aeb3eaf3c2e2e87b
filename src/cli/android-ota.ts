/** Makes an Android package from target files: what `ota_from_target_files` and `otaforge pack android` share. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { delimiter, join, resolve } from "node:path";
import type { MadePackage, MakeOptions } from "../android/releasetools/options.ts";
import {
  makeBlockFull,
  makeBlockIncremental,
  makeFull,
  makeIncremental,
  makeVerifyPackage,
  openTargetFiles,
  patchMakerOf,
  readKeys,
  signPlan,
  verifyPackage,
  writePlan,
  type BlockOptions,
  type DeviceExtension,
  type PackageSigner,
  type TargetFiles,
} from "../android/index.ts";
import { signerFromCommand, signerFromFiles } from "../android/signing/keys.node.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { Cancel, ProgressSink, RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";
import { decodeText } from "../core/text.ts";
import { openZip, type ZipArchive } from "../core/zip/index.ts";
import { createDeltaEngine } from "../delta/engine.node.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../device/index.ts";
import { createPendingFile, type PendingFile } from "./android-output.ts";
import { loadExtension } from "./device-extension.ts";

/** A package request, as the command line said it. Paths are relative to `cwd`. */
export interface OtaRequest {
  readonly cwd: string;
  readonly targetFiles: string;
  readonly output: string;
  readonly source?: string;
  readonly profile: "safe" | "vendor";
  readonly wipeUserData: boolean;
  readonly omitPrereq: boolean;
  readonly extraScript?: string;
  readonly twoStep: boolean;
  readonly fota: boolean;
  readonly extension?: string;
  readonly extras: ReadonlyMap<string, string>;
  readonly jobs?: number;
  readonly verbose: boolean;
  /** Block-based packages of the 7.1 tool; absent: file-based ones of the 4.4 tool. */
  readonly block?: BlockRequest;
  readonly signing: SigningRequest;
}

export interface BlockRequest {
  readonly verify: boolean;
  /** Make a package that only checks. */
  readonly genVerify: boolean;
  readonly downgrade: boolean;
  readonly brotli: boolean;
  readonly stashThreshold?: number;
  /** File with the program, instead of the build's updater. */
  readonly binary?: string;
}

export interface SigningRequest {
  /** Leave the package unsigned. */
  readonly none: boolean;
  /** Key path without suffix; absent: the build's default key. */
  readonly key?: string;
  readonly privateKeySuffix?: string;
  readonly publicKeySuffix?: string;
  readonly password?: string;
  /** Command that signs; needs `certificate` or the certificate beside `key`. */
  readonly command?: string;
  readonly certificate?: string;
  /** Folder searched first for programs of the command. */
  readonly searchPath?: string;
}

export interface OtaResult {
  readonly output: string;
  readonly size: number;
  /** SHA-256, hex. */
  readonly sha256: string;
  readonly kind: "full" | "incremental";
  readonly signed: boolean;
  readonly entries: number;
  readonly patches: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface OtaPorts {
  readonly progress: ProgressSink;
  readonly cancel: Cancel;
}

/** SHA-1 of Android's public test certificates: everyone has their private keys. */
const PUBLIC_TEST_KEYS: ReadonlySet<string> = new Set(["61ed377e85d386a8dfee6b864bd85b0bfaa5af81"]);

/** Target files and what must be closed when they are done with. */
class OpenFiles {
  readonly #readers: { close(): Promise<void> }[] = [];

  async zip(path: string): Promise<ZipArchive> {
    const reader = await openFileReader(path);
    this.#readers.push(reader);
    return openZip(reader, { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) });
  }

  async close(): Promise<void> {
    for (const reader of this.#readers) await reader.close();
  }
}

async function openTarget(
  files: OpenFiles,
  path: string,
  request: OtaRequest,
  progress: ProgressSink,
): Promise<TargetFiles> {
  // A.zip+B.zip: B holds the images.
  const pair = /^(.+\.zip)\+(.+\.zip)$/i.exec(path);
  const open = (name: string): Promise<ZipArchive> => files.zip(resolve(request.cwd, name));
  const zip = await open(pair?.[1] ?? path);
  const images = pair === null ? undefined : await open(pair[2] as string);
  return openTargetFiles(images === undefined ? { zip } : { zip, images }, {
    digests: nodeDigests,
    profile: request.profile,
    era: request.block === undefined ? "4.4" : "7.1",
    note: (level, text) => progress.note(level, text),
  });
}

/** `keys/release.pk8` and `keys/release.x509.pem` name the same pair as `keys/release`. */
function keyPath(path: string): string {
  return path.replace(/\.(pk8|x509\.pem|pem)$/, "");
}

async function openSigner(
  request: OtaRequest,
  defaultKey: string,
  progress: ProgressSink,
): Promise<PackageSigner | undefined> {
  const { none, command, certificate, searchPath, key, password, privateKeySuffix, publicKeySuffix } = request.signing;
  if (none) return undefined;
  let signer: PackageSigner;
  const path = resolve(request.cwd, keyPath(key ?? defaultKey));
  if (command !== undefined) {
    if (searchPath !== undefined) {
      const folder = resolve(request.cwd, searchPath);
      process.env["PATH"] = [join(folder, "bin"), folder, process.env["PATH"] ?? ""].join(delimiter);
    }
    const file =
      certificate === undefined ? `${path}${publicKeySuffix ?? ".x509.pem"}` : resolve(request.cwd, certificate);
    signer = await signerFromCommand(command, file);
  } else {
    if (key === undefined && !existsSync(`${path}${publicKeySuffix ?? ".x509.pem"}`)) {
      throw new OtaError("ANDROID_KEY", {
        what: "no signing key was named, and the build's default key is not on this machine",
        where: defaultKey,
        hint:
          "Name one with -k KEY (KEY.pk8 and KEY.x509.pem), or leave the package unsigned with --no_signing. " +
          "Make one with: openssl req -x509 -newkey rsa:2048 -sha256 -days 10000 -nodes -keyout KEY.pem -out KEY.x509.pem -subj /CN=release",
      });
    }
    signer = await signerFromFiles({
      path,
      ...(privateKeySuffix === undefined ? {} : { privateKeySuffix }),
      ...(publicKeySuffix === undefined ? {} : { publicKeySuffix }),
      ...(password === undefined ? {} : { password }),
    });
  }
  const digest = nodeDigests.create("sha1");
  digest.update(signer.certificate);
  if (PUBLIC_TEST_KEYS.has(toHex(digest.digest()))) {
    progress.note(
      "warning",
      "this is Android's public test key: everyone can sign packages that devices with it accept",
    );
  }
  return signer;
}

async function openExtension(
  request: OtaRequest,
  target: TargetFiles,
  progress: ProgressSink,
): Promise<DeviceExtension | undefined> {
  if (request.extension !== undefined) return loadExtension(request.extension, request.cwd);
  const { toolExtensions } = target.info;
  if (toolExtensions === undefined) return undefined;
  if (existsSync(resolve(request.cwd, toolExtensions))) {
    progress.note("info", `(using device-specific extensions from target_files: ${toolExtensions})`);
    return loadExtension(toolExtensions, request.cwd);
  }
  progress.note("warning", `the build's device extension ${toolExtensions} is not on this machine: none is used`);
  return undefined;
}

/** Reads the finished package as a device would: it must be accepted with the signer's own certificate. */
async function verifyOwn(reader: RandomReader, signer: PackageSigner, ports: OtaPorts): Promise<void> {
  const keys = await readKeys(signer.otacert, { name: "the signing certificate", codecs: nodeCodecs });
  const verdict = await verifyPackage(reader, keys, { digests: nodeDigests, cancel: ports.cancel });
  if (!verdict.accepted) {
    throw new OtaError("ANDROID_SIGNER", {
      what: "the signature does not belong to the certificate",
      found: verdict.reason ?? "rejected",
      hint: "Nothing was written. Does the signing command use the key of this certificate?",
    });
  }
}

async function write(
  made: MadePackage,
  signer: PackageSigner | undefined,
  file: PendingFile,
  request: OtaRequest,
  ports: OtaPorts,
): Promise<number> {
  if (signer === undefined) {
    return writePlan(made.plan, file, { codecs: nodeCodecs, digests: nodeDigests, cancel: ports.cancel });
  }
  const size = await signPlan(made.plan, file, signer, {
    codecs: nodeCodecs,
    digests: nodeDigests,
    progress: ports.progress,
    cancel: ports.cancel,
    profile: request.profile,
    era: request.block === undefined ? "4.4" : "7.1",
  });
  await verifyOwn(file.reader(size), signer, ports);
  return size;
}

async function readExtraScript(request: OtaRequest): Promise<string | undefined> {
  if (request.extraScript === undefined) return undefined;
  try {
    return decodeText(await readFile(resolve(request.cwd, request.extraScript)));
  } catch (e) {
    throw new OtaError("DEVICE_NOT_FOUND", { what: "the extra script cannot be read", where: request.extraScript }, e);
  }
}

async function make(
  target: TargetFiles,
  source: TargetFiles | undefined,
  options: MakeOptions,
  request: OtaRequest,
): Promise<MadePackage> {
  const { block } = request;
  if (block === undefined)
    return source === undefined ? makeFull(target, options) : makeIncremental(source, target, options);
  const { binary, genVerify, ...how } = block;
  const blockOptions: BlockOptions = {
    ...options,
    ...how,
    codecs: nodeCodecs,
    ...(binary === undefined ? {} : { binary: new Uint8Array(await readFile(resolve(request.cwd, binary))) }),
  };
  if (genVerify) return makeVerifyPackage(target, blockOptions);
  return source === undefined
    ? makeBlockFull(target, blockOptions)
    : makeBlockIncremental(source, target, blockOptions);
}

/** Makes, signs and writes the package. The output appears under its name only when it is whole. @throws OtaError */
export async function makeOta(request: OtaRequest, ports: OtaPorts): Promise<OtaResult> {
  const { progress, cancel } = ports;
  const files = new OpenFiles();
  const jobs = request.jobs ?? availableParallelism();
  let engine: ReturnType<typeof createDeltaEngine> | undefined;
  let file: PendingFile | undefined;
  try {
    const extraScript = await readExtraScript(request);
    const target = await openTarget(files, request.targetFiles, request, progress);
    const source =
      request.source === undefined ? undefined : await openTarget(files, request.source, request, progress);
    if (request.verbose) {
      for (const [key, value] of [...target.info.values].sort()) progress.note("info", `${key.padEnd(30)} = ${value}`);
    }
    // A key that is missing is told before minutes of work, and so is an output that cannot be written.
    const signer = await openSigner(request, (source ?? target).info.defaultKey, progress);
    const extension = await openExtension(request, target, progress);
    const output = resolve(request.cwd, request.output);
    file = await createPendingFile(output);
    engine = createDeltaEngine({ jobs });
    const options: MakeOptions = {
      digests: nodeDigests,
      patches: patchMakerOf(engine, jobs, cancel),
      progress,
      cancel,
      profile: request.profile,
      wipeUserData: request.wipeUserData,
      omitPrereq: request.omitPrereq,
      twoStep: request.twoStep,
      fota: request.fota,
      extras: request.extras,
      ...(extraScript === undefined ? {} : { extraScript }),
      ...(extension === undefined ? {} : { extension }),
    };
    const made = await make(target, source, options, request);
    const size = await write(made, signer, file, request, ports);
    const digest = nodeDigests.create("sha256");
    for await (const chunk of streamRange(file.reader(size))) digest.update(chunk);
    await file.keep();
    return {
      output,
      size,
      sha256: toHex(digest.digest()),
      kind: source === undefined ? "full" : "incremental",
      signed: signer !== undefined,
      entries: made.plan.entries.length,
      patches: made.plan.entries.filter((e) => e.input.name.startsWith("patch/")).length,
      metadata: Object.fromEntries([...made.metadata].sort()),
    };
  } finally {
    await engine?.close();
    await file?.drop();
    await files.close();
  }
}
