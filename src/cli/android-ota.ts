/** Makes an Android package from target files: what `ota_from_target_files` and `otaforge pack android` share. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, resolve } from "node:path";
import type { MadePackage, MakeOptions } from "../android/releasetools/options.ts";
import {
  makeBlockFull,
  makeBlockIncremental,
  hasRecoveryPatch,
  makeFull,
  makeFull71,
  makeIncremental,
  makeIncremental71,
  makeVerifyPackage,
  openTargetFiles,
  patchMakerOf,
  signPlan,
  writePlan,
  type BlockOptions,
  type DeviceExtension,
  type Options71,
  type PackageSigner,
  type TargetFiles,
} from "../android/index.ts";
import { parseKeyValues } from "../android/target-files/key-values.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ProgressSink } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";
import { decodeText } from "../core/text.ts";
import type { ZipArchive } from "../core/zip/index.ts";
import { createDeltaEngine } from "../delta/engine.node.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { isAbBuild, makeAb } from "./android-ab.ts";
import { writeLogDiff } from "./android-log-diff.ts";
import { createPendingFile, type PendingFile } from "./android-output.ts";
import type { OtaPorts, OtaRequest, OtaResult } from "./android-request.ts";
import { openSigner, verifyOwn } from "./android-signer.ts";
import { OpenFiles } from "./android-zips.ts";
import { loadExtension } from "./device-extension.ts";
import { ScratchFiles } from "./scratch-file.ts";

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
    era: request.era,
    note: (level, text) => progress.note(level, text),
  });
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
    era: request.era,
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

/** Values of the OEM partition, where they are given. */
async function readOem(request: OtaRequest): Promise<Pick<Options71, "oem">> {
  if (request.oemSettings === undefined) return {};
  const file = resolve(request.cwd, request.oemSettings);
  const text = await readFile(file).catch((e: unknown) => {
    throw new OtaError("DEVICE_NOT_FOUND", { what: "the OEM settings cannot be read", where: file }, e);
  });
  return { oem: { values: parseKeyValues(decodeText(text), file), noMount: request.oemNoMount } };
}

/** Options of later tools than the one that was asked for. @throws OtaError USAGE */
function refuseLaterOptions(request: OtaRequest, progress: ProgressSink): void {
  if (request.payloadSigner !== undefined || request.keepSlot) {
    progress.note("warning", "--payload_signer and --keep_slot are for A/B packages: without effect on this one");
  }
  if (request.era !== "4.4") return;
  const given = [
    request.verify ? "--verify" : undefined,
    request.downgrade ? "--downgrade" : undefined,
    request.overrideTimestamp ? "--override_timestamp" : undefined,
    request.oemSettings === undefined ? undefined : "--oem_settings",
    request.binary === undefined ? undefined : "--binary",
  ].filter((o) => o !== undefined);
  if (given.length === 0) return;
  throw new OtaError("USAGE", {
    what: "the 4.4 tool does not know this option",
    where: given.join(", "),
    hint: "Add --era 7.1, or --block.",
  });
}

async function make(
  target: TargetFiles,
  source: TargetFiles | undefined,
  options: MakeOptions,
  request: OtaRequest,
  scratch: ScratchFiles,
): Promise<MadePackage> {
  const { block, era, binary, verify, downgrade, overrideTimestamp } = request;
  if (era === "4.4") return source === undefined ? makeFull(target, options) : makeIncremental(source, target, options);
  const options71: Options71 = {
    ...options,
    verify,
    downgrade,
    overrideTimestamp,
    ...(await readOem(request)),
    ...(binary === undefined ? {} : { binary: new Uint8Array(await readFile(resolve(request.cwd, binary))) }),
  };
  // The 7.1 tool makes blocks only of builds that patch recovery themselves; that of 8.1, which has brotli, of all.
  const lacking = [target, ...(source === undefined ? [] : [source])].find((build) => !hasRecoveryPatch(build));
  const fallBack = block !== undefined && !block.genVerify && !block.brotli && lacking !== undefined;
  if (fallBack) {
    options.progress.note(
      "warning",
      "a build has no SYSTEM/recovery-from-boot.p: a file-based package is made instead of a block-based one, as the original does",
    );
  }
  if (block === undefined || fallBack)
    return source === undefined ? makeFull71(target, options71) : makeIncremental71(source, target, options71);
  const { genVerify, ...how } = block;
  const blockOptions: BlockOptions = {
    ...options71,
    ...how,
    codecs: nodeCodecs,
    openScratch: () => scratch.open(),
  };
  if (genVerify) return makeVerifyPackage(target, blockOptions);
  return source === undefined
    ? makeBlockFull(target, blockOptions)
    : makeBlockIncremental(source, target, blockOptions);
}

/** Makes, signs and writes the package. The output appears under its name only when it is whole. @throws OtaError */
export async function makeOta(request: OtaRequest, ports: OtaPorts): Promise<OtaResult> {
  const { progress, cancel } = ports;
  if (request.payload === "always" || (request.payload === "auto" && (await isAbBuild(request)))) {
    return makeAb(request, ports);
  }
  refuseLaterOptions(request, progress);
  const files = new OpenFiles();
  const output = resolve(request.cwd, request.output);
  const scratch = new ScratchFiles(dirname(output));
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
    file = await createPendingFile(output);
    engine = createDeltaEngine({ jobs, manyFiles: true });
    const options: MakeOptions = {
      digests: nodeDigests,
      // Twice as many as threads: the next files are read while those before them are compared.
      patches: patchMakerOf(engine, 2 * jobs, cancel),
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
    const made = await make(target, source, options, request, scratch);
    const size = await write(made, signer, file, request, ports);
    if (source !== undefined) await writeLogDiff(request, source.zip, target.zip);
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
    await scratch.close();
    await files.close();
  }
}
