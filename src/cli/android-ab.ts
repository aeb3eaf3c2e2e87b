/** Makes an A/B package (payload.bin) from target files. */
import { availableParallelism } from "node:os";
import { dirname, resolve } from "node:path";
import {
  checkPlaces,
  makePayload,
  mapImage,
  openAbBuild,
  openImage,
  OPERATION_NUMBER,
  planAbPackage,
  readKeys,
  signPlan,
  verifyPayloadMetadata,
  writeUnsignedPlan,
  type AbBuild,
  type MadeAbPackage,
  type MakePayloadOptions,
  type MappedFile,
  type PackageSigner,
  type PayloadPartition,
  type PayloadSigner,
} from "../android/index.ts";
import { createPackers } from "../android/payload/packers.node.ts";
import { payloadSignerFromProgram } from "../android/signing/payload-signer.node.ts";
import { unpackEntry } from "../android/scratch.ts";
import { parseKeyValues } from "../android/target-files/key-values.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";
import { decodeText } from "../core/text.ts";
import { openZip } from "../core/zip/index.ts";
import { createDeltaEngine } from "../delta/engine.node.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { writeLogDiff } from "./android-log-diff.ts";
import { payloadOfZip } from "./android-payload.ts";
import { createPendingFile, type PendingFile } from "./android-output.ts";
import type { OtaPorts, OtaRequest, OtaResult } from "./android-request.ts";
import { openSigner, verifyOwn } from "./android-signer.ts";
import { OpenFiles } from "./android-zips.ts";
import { ScratchFiles } from "./scratch-file.ts";

const MAX_TEXT = 16 * 2 ** 20;
/** Deltas of builds that do not say their minor version: what every update engine since Android 7 can apply. */
const FIRST_MINOR = 4;
/** Bytes of a signature by the most common kind of key. */
const RSA_2048 = 256;
const PATCHES: ReadonlySet<number> = new Set([OPERATION_NUMBER.SOURCE_BSDIFF, OPERATION_NUMBER.BROTLI_BSDIFF]);

/** Whether the target files are those of an A/B device. */
export async function isAbBuild(request: OtaRequest): Promise<boolean> {
  if (/\.zip\+.+\.zip$/i.test(request.targetFiles)) return false;
  const files = new OpenFiles();
  try {
    const zip = await files.zip(resolve(request.cwd, request.targetFiles));
    const entry = zip.get("META/misc_info.txt");
    if (entry === undefined) return false;
    const info = parseKeyValues(decodeText(await zip.read(entry, MAX_TEXT)), entry.name);
    return info.get("ab_update") === "true";
  } finally {
    await files.close();
  }
}

/** What file-based and block-based packages have and payloads do not. @throws OtaError USAGE */
function refuseScriptOptions(request: OtaRequest): void {
  const given = [
    request.twoStep ? "--two_step" : undefined,
    request.extraScript === undefined ? undefined : "--extra_script",
    request.extension === undefined ? undefined : "--device_specific",
    request.block?.genVerify === true ? "--gen_verify" : undefined,
  ].filter((o) => o !== undefined);
  if (given.length === 0) return;
  throw new OtaError("USAGE", {
    what: "an A/B package has no script",
    where: given.join(", "),
    hint: "Leave the option out; what must run after the update goes into META/postinstall_config.txt of the build.",
  });
}

/** An image of a build, unpacked into a temporary file; undefined when the build has none of this name. */
async function openPartitionImage(
  build: AbBuild,
  name: string,
  files: ScratchFiles,
  { progress, cancel }: OtaPorts,
): Promise<{ raw: RandomReader; files?: ReadonlyMap<string, MappedFile> } | undefined> {
  const entry = build.zip.get(`IMAGES/${name}.img`) ?? build.zip.get(`RADIO/${name}.img`);
  if (entry === undefined) return undefined;
  const reader = await unpackEntry(build.zip, entry, () => files.open(), { item: name, progress, cancel });
  const image = await openImage(reader);
  const mapEntry = build.zip.get(`IMAGES/${name}.map`);
  if (mapEntry === undefined) return { raw: image.raw };
  const mapped = await mapImage(image, decodeText(await build.zip.read(mapEntry)));
  return { raw: image.raw, files: mapped.files };
}

async function openPartition(
  name: string,
  target: AbBuild,
  source: AbBuild | undefined,
  open: (build: AbBuild, name: string) => ReturnType<typeof openPartitionImage>,
): Promise<PayloadPartition> {
  const fresh = await open(target, name);
  if (fresh === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", { what: "the target files lack an entry", where: `IMAGES/${name}.img` });
  }
  const old = source === undefined ? undefined : await open(source, name);
  return {
    name,
    fresh: fresh.raw,
    ...(old === undefined ? {} : { old: old.raw }),
    ...(fresh.files === undefined ? {} : { freshFiles: fresh.files }),
    ...(old?.files === undefined ? {} : { oldFiles: old.files }),
    postinstall: target.postinstall(name),
  };
}

/** Timestamps and devices of both builds must fit. @throws OtaError ANDROID_NOT_POSSIBLE */
function checkBuilds(target: AbBuild, source: AbBuild, request: OtaRequest): void {
  const [before, after] = [source, target].map((b) => b.needProp("ro.product.device"));
  if (before !== after) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "the builds are for different devices",
      where: "ro.product.device",
      expected: before ?? "",
      found: after ?? "",
    });
  }
  const [old, fresh] = [source, target].map((b) => Number(b.needProp("ro.build.date.utc"))) as [number, number];
  const asked = request.downgrade ? "--downgrade" : request.overrideTimestamp ? "--override_timestamp" : undefined;
  if (asked !== undefined && !(fresh < old)) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: `${asked} was given, and the target build is not older than the source build`,
      where: "ro.build.date.utc",
      expected: `less than ${old}`,
      found: fresh,
    });
  }
  if (fresh < old && asked === undefined && !request.omitPrereq) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "the target build is older than the source build: the device would refuse the package",
      where: "ro.build.date.utc",
      expected: `${old} or later`,
      found: fresh,
      hint: "Say --downgrade (user data is wiped), --override_timestamp (user data stays), or -n to leave the check out.",
    });
  }
}

function minorVersionOf(target: AbBuild, source: AbBuild | undefined, ports: OtaPorts): number {
  // The program that applies the delta is the one on the device: the source's.
  const minor = (source ?? target).minorVersion;
  if (minor === undefined && source !== undefined) {
    ports.progress.note(
      "warning",
      `META/update_engine_config.txt does not say PAYLOAD_MINOR_VERSION: ${FIRST_MINOR} is taken`,
    );
  }
  return minor ?? FIRST_MINOR;
}

/** Who signs the payload: the program that was named, or the package's own signer. */
async function payloadSignerOf(
  request: OtaRequest,
  signer: PackageSigner | undefined,
): Promise<PayloadSigner | undefined> {
  if (request.payloadSigner === undefined) return signer;
  const { program, args, signatureSize = signer?.signatureSize ?? RSA_2048 } = request.payloadSigner;
  const path = program.includes("/") ? resolve(request.cwd, program) : program;
  return payloadSignerFromProgram({ program: path, args, signatureSize });
}

/** A device may know another key for payloads than for packages; most do not. */
async function checkPayloadSigner(reader: RandomReader, signer: PackageSigner, ports: OtaPorts): Promise<void> {
  const keys = await readKeys(signer.otacert, { name: "the signing certificate", codecs: nodeCodecs });
  const zip = await openZip(reader, { codecs: nodeCodecs });
  const { state } = await verifyPayloadMetadata(await payloadOfZip(zip), keys, { digests: nodeDigests });
  if (state === "good") return;
  ports.progress.note(
    "warning",
    "the payload signer's signature is not by the key of the package's certificate: only devices that hold the signer's own key take the payload",
  );
}

async function write(
  made: MadeAbPackage,
  signer: PackageSigner | undefined,
  file: PendingFile,
  ports: OtaPorts,
): Promise<number> {
  const common = { codecs: nodeCodecs, digests: nodeDigests, cancel: ports.cancel };
  const size =
    signer === undefined
      ? await writeUnsignedPlan(made.plan, file, common)
      : await signPlan(made.plan, file, signer, { ...common, progress: ports.progress, era: "7.1" });
  const reader = file.reader(size);
  if (signer !== undefined) await verifyOwn(reader, signer, ports);
  checkPlaces(made, await openZip(reader, { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) }));
  return size;
}

/** Makes, signs and writes the package. The output appears under its name only when it is whole. @throws OtaError */
export async function makeAb(request: OtaRequest, ports: OtaPorts): Promise<OtaResult> {
  refuseScriptOptions(request);
  const { progress, cancel } = ports;
  const output = resolve(request.cwd, request.output);
  const jobs = request.jobs ?? availableParallelism();
  const files = new OpenFiles();
  const scratch = new ScratchFiles(dirname(output));
  let engine: ReturnType<typeof createDeltaEngine> | undefined;
  let file: PendingFile | undefined;
  try {
    const build = async (name: string): Promise<AbBuild> => openAbBuild(await files.zip(resolve(request.cwd, name)));
    const target = await build(request.targetFiles);
    const source = request.source === undefined ? undefined : await build(request.source);
    if (request.verbose) {
      for (const [key, value] of [...target.info].sort()) progress.note("info", `${key.padEnd(30)} = ${value}`);
    }
    if (source !== undefined) checkBuilds(target, source, request);
    const signer = await openSigner(request, (source ?? target).defaultKey, progress);
    const payloadSigner = await payloadSignerOf(request, signer);
    file = await createPendingFile(output);
    engine = createDeltaEngine({ jobs, manyFiles: true });
    const packers = await createPackers(jobs);
    if (packers.xz === undefined)
      progress.note("warning", "there is no xz program on this machine: bzip2 is used instead");
    const partitions: PayloadPartition[] = [];
    const open = (of: AbBuild, name: string): ReturnType<typeof openPartitionImage> =>
      openPartitionImage(of, name, scratch, ports);
    for (const name of target.partitions) partitions.push(await openPartition(name, target, source, open));
    const securityPatchLevel = target.prop("ro.build.version.security_patch");
    const backwards = request.downgrade || request.overrideTimestamp;
    const maxTimestamp = Number((backwards ? (source ?? target) : target).needProp("ro.build.date.utc"));
    const options: MakePayloadOptions = {
      minorVersion: minorVersionOf(target, source, ports),
      ...(request.omitPrereq ? {} : { maxTimestamp }),
      ...(target.dynamicPartitions === undefined ? {} : { dynamicPartitions: target.dynamicPartitions }),
      ...(securityPatchLevel === undefined ? {} : { securityPatchLevel }),
      ...(payloadSigner === undefined ? {} : { signer: payloadSigner }),
      packers,
      delta: engine,
      digests: nodeDigests,
      codecs: nodeCodecs,
      scratch: await scratch.open(),
      progress,
      cancel,
    };
    const payload = await makePayload(partitions, options);
    const { wipeUserData, downgrade, overrideTimestamp, keepSlot, fota } = request;
    const how = { wipeUserData, downgrade, overrideTimestamp, keepSlot, fota };
    const made = await planAbPackage(payload, target, source, how);
    const size = await write(made, signer, file, ports);
    if (request.payloadSigner !== undefined && signer !== undefined) {
      await checkPayloadSigner(file.reader(size), signer, ports);
    }
    if (source !== undefined) await writeLogDiff(request, source.zip, target.zip);
    const operations = payload.manifest.partitions.flatMap((p) => p.operations);
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
      patches: operations.filter((op) => PATCHES.has(op.type ?? 0)).length,
      operations: operations.length,
      metadata: Object.fromEntries([...made.metadata].sort()),
    };
  } finally {
    await engine?.close();
    await file?.drop();
    await scratch.close();
    await files.close();
  }
}
