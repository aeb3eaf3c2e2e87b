/**
 * Installing a SigmaStar package: the order of work of `STATES`, over ports only.
 *
 * Lock, check the whole package, preflight, begin script, mounts, records in order, end script. The journal says after every
 * step what is done, so that running the same command again finishes what a power cut, a failure or Ctrl-C interrupted. A
 * record is noted only after it was written, flushed and read back.
 */
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Device, ProgressSink } from "../../core/ports.ts";
import { silentProgress } from "../../core/progress.ts";
import { checkCancel } from "../../core/streams.ts";
import { concatBytes } from "../../core/bytes.ts";
import { openJournal } from "../../device/journal.ts";
import type { Generation } from "../layout.ts";
import { operationOf } from "../layout.ts";
import { MAX_SCRIPT_BYTES } from "../read.ts";
import { saveState, warn } from "./context.ts";
import type { Context, Scratch } from "./context.ts";
import { asInstallState, firstState } from "./device-state.ts";
import type { InstallState } from "./device-state.ts";
import { removeTemporaries, runFiles } from "./file-step.ts";
import { checkMounts, followNotedUnmounts } from "./mounts.ts";
import { openPayloads, verifySource } from "./package-source.ts";
import type { PackageSource, VerifiedPackage } from "./package-source.ts";
import { joinPath } from "./paths.ts";
import { planTargets, targetName } from "./plan.ts";
import type { AccessCallback, PromisedDifference, Target } from "./plan.ts";
import { preflight } from "./preflight.ts";
import { cleanRawDifference, runRaw, runRawDifference } from "./raw-step.ts";
import { settleVolume, runVolume } from "./volume-step.ts";

export interface InstallOptions {
  /** `vendor`: failing scripts do not stop the update, added files get the umask, files that exist keep their mode. */
  readonly profile?: "safe" | "vendor";
  /** Where completed content of differences is kept meanwhile (`-t`). */
  readonly scratch?: Scratch;
  /** Use a folder for differences that a power cut empties. */
  readonly acceptVolatile?: boolean;
  readonly access?: AccessCallback;
  /** Write destinations with mask 0 as well. */
  readonly ignoreMasks?: boolean;
  /** Bases and results a detached manifest promises. */
  readonly promised?: readonly PromisedDifference[];
  /** Who signed the package, when a signature was verified. */
  readonly signedBy?: string;
  /** Refuse packages without a verified signature: the device has keys. */
  readonly requireSignature?: boolean;
  /** Give up what another package's interrupted update left half-written. */
  readonly abandon?: boolean;
  /** Takes the device's lock; without it the caller sees to it that no second installer runs. @throws OtaError DEVICE_LOCKED */
  readonly lock?: (device: Device) => Promise<{ release(): Promise<void> }>;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

/** What happened to one destination. */
export interface TargetResult {
  readonly record: number;
  readonly destination: number;
  readonly path: string;
  readonly operation: string;
  /** `earlier`: an interrupted run had done it. */
  readonly outcome: "done" | "earlier" | "skipped";
  readonly reason?: string;
}

export interface ScriptOutcome {
  readonly name: string;
  /** False: the device only notes scripts. */
  readonly ran: boolean;
  readonly exitCode: number;
}

export interface InstallResult {
  readonly family: "sigmastar";
  readonly generation: Generation;
  /** Written, read back and committed. Whether the device runs it is known only after its next boot. */
  readonly outcome: "installed";
  /** This run finished an interrupted one. */
  readonly resumed: boolean;
  readonly signature: "unsigned" | "signed";
  readonly signedBy?: string;
  /** Which package: hex SHA-256 over header, scripts, heads and payload digests. */
  readonly package: string;
  readonly targets: readonly TargetResult[];
  readonly scripts: readonly ScriptOutcome[];
  readonly warnings: readonly string[];
}

/** Most changes of one batch: its journal record stays small. */
const MAX_BATCH = 256;

/** A simulated power cut: there is no one left to clean up. */
export function isPowerCut(e: unknown): boolean {
  return e instanceof OtaError && e.code === "DEVICE_POWER_CUT";
}

function isVerified(from: PackageSource | VerifiedPackage): from is VerifiedPackage {
  return "records" in from;
}

/**
 * Installs a package, or finishes an interrupted installation of the same one.
 *
 * @param from - an open package, or one that `verifySource` has read (a rehearsal verifies once and installs often)
 * @throws OtaError of every class: `format` damaged package, `trust` unsigned where keys are required, `mismatch` wrong base,
 *   `device` targets and scripts, `interrupted` cancelled. Until the begin script has run nothing is written to any target.
 */
export async function installSigmastar(
  device: Device,
  from: PackageSource | VerifiedPackage,
  options: InstallOptions = {},
): Promise<InstallResult> {
  const lock = await options.lock?.(device);
  let cut = false;
  try {
    return await installLocked(device, from, options);
  } catch (e) {
    cut = isPowerCut(e);
    throw e;
  } finally {
    if (!cut) await lock?.release();
  }
}

function verify(device: Device, source: PackageSource, options: InstallOptions): Promise<VerifiedPackage> {
  return verifySource(source, device, {
    ...(options.cancel === undefined ? {} : { cancel: options.cancel }),
    onProgress: (doneBytes, totalBytes, _, count) =>
      options.progress?.progress({ phase: "verify", item: "package", count, doneBytes, totalBytes }),
  });
}

async function installLocked(
  device: Device,
  from: PackageSource | VerifiedPackage,
  options: InstallOptions,
): Promise<InstallResult> {
  const sink = options.progress ?? silentProgress;
  const pkg = isVerified(from) ? from : await verify(device, from, options);
  if (options.signedBy === undefined) {
    if (options.requireSignature === true) {
      throw new OtaError("SIGMASTAR_UNSIGNED", {
        what: "the package is unsigned and this device has keys",
        hint: "Sign it with one of the device's keys.",
      });
    }
    sink.note("warning", "the package is unsigned: anyone can have made it");
  }
  const journal = openJournal<unknown>(device.state, "sigmastar");
  const loaded = asInstallState(await journal.load());
  const { state, resumed } = firstState(pkg.id, loaded);
  const payloads = openPayloads(pkg, device);
  const ctx: Context = {
    device,
    pkg,
    payloads,
    sink,
    journal,
    vendor: options.profile === "vendor",
    promised: options.promised ?? [],
    resumed,
    state,
    warnings: [],
    totalBytes: 0,
    doneBytes: 0,
    ...(options.scratch === undefined ? {} : { scratch: options.scratch }),
    ...(options.cancel === undefined ? {} : { cancel: options.cancel }),
  };
  try {
    return await installPlanned(ctx, options, loaded);
  } finally {
    await payloads.close();
  }
}

async function installPlanned(
  ctx: Context,
  options: InstallOptions,
  loaded: InstallState | undefined,
): Promise<InstallResult> {
  const { device, pkg } = ctx;
  const targets = await planTargets(device, pkg, options);
  checkScripts(pkg);
  const wanted = targets.filter((t) => t.work !== "skip" && t.work !== "missing");
  const left = wanted.filter((t) => t.position >= ctx.state.position);
  for (const t of wanted) ctx.totalBytes += t.record.head.fileSize;
  for (const t of wanted) if (t.position < ctx.state.position) ctx.doneBytes += t.record.head.fileSize;
  for (const t of targets) {
    if (t.work === "missing") warn(ctx, `${targetName(t.record, t.path)}: skipped, ${t.reason ?? ""}`);
  }
  const other = loaded?.unfinished === true && !ctx.resumed ? loaded : undefined;
  refuseHalfWritten(other, left, options);
  const note = ctx.state.step;
  if (note?.kind === "files" && !note.prepared) await removeTemporaries(ctx, note.temporaries);
  const { roomForBatches } = await preflight(ctx, left, options.acceptVolatile === true);
  if (other !== undefined) await settleOther(ctx, other);
  const scripts: ScriptOutcome[] = [];
  if (!ctx.resumed) await ctx.journal.save(ctx.state);
  try {
    await runScript(ctx, scripts, { name: "begin script", text: pkg.beginScript, status: "0" });
    if (scripts[0]?.ran === false) await followNotedUnmounts(ctx, pkg.beginScript);
    await checkMounts(ctx, left);
    await runTargets(ctx, left, scripts, roomForBatches);
    if (wanted.some((t) => t.work === "raw difference")) await cleanScratch(ctx);
  } catch (e) {
    if (!isPowerCut(e)) await runFailedEnd(ctx, scripts);
    throw e;
  }
  await runScript(ctx, scripts, { name: "end script", text: pkg.endScript, status: "0" });
  await saveState(ctx, { unfinished: false });
  ctx.sink.progress({
    phase: "done",
    index: pkg.records.length,
    count: pkg.records.length,
    doneBytes: 1,
    totalBytes: 1,
  });
  return {
    family: "sigmastar",
    generation: pkg.generation,
    outcome: "installed",
    resumed: ctx.resumed,
    signature: options.signedBy === undefined ? "unsigned" : "signed",
    ...(options.signedBy === undefined ? {} : { signedBy: options.signedBy }),
    package: pkg.id,
    targets: targets.map((t) => targetResult(t, left)),
    scripts,
    warnings: ctx.warnings,
  };
}

function targetResult(t: Target, left: readonly Target[]): TargetResult {
  const skipped = t.work === "skip" || t.work === "missing";
  return {
    record: t.record.index,
    destination: t.destination,
    path: t.path,
    operation: operationOf(t.record.head.opt)?.name ?? "",
    outcome: skipped ? "skipped" : left.includes(t) ? "done" : "earlier",
    ...(t.reason === undefined ? {} : { reason: t.reason }),
  };
}

function checkScripts(pkg: VerifiedPackage): void {
  for (const record of pkg.records) {
    if (operationOf(record.head.opt)?.name !== "SCRIPT_EXEC" || record.head.fileSize <= MAX_SCRIPT_BYTES) continue;
    throw new OtaError("SIGMASTAR_SCRIPT_TOO_LARGE", {
      what: "a script is too large",
      where: `record ${record.index}`,
      expected: `at most ${MAX_SCRIPT_BYTES} bytes`,
      found: record.head.fileSize,
    });
  }
}

/** Another package's difference was being written onto a raw target: only its completed content can finish it. */
function refuseHalfWritten(other: InstallState | undefined, left: readonly Target[], options: InstallOptions): void {
  const note = other?.step;
  if (note?.kind !== "raw difference" || options.abandon === true) return;
  if (left.some((t) => t.path === note.node && t.work === "raw")) return;
  throw new OtaError("SIGMASTAR_OTHER_UNFINISHED", {
    what: "another package's interrupted update left a target half-written",
    where: note.node,
    hint: "Install that package again first, or one that writes the whole target, or give it up with --abandon.",
  });
}

/** Clears what another package's interrupted update left. */
async function settleOther(ctx: Context, other: InstallState): Promise<void> {
  warn(ctx, "another package's update was interrupted; this one replaces it");
  const note = other.step;
  if (note?.kind === "files") await removeTemporaries(ctx, note.temporaries);
  else if (note?.kind === "volume") await settleVolume(ctx, note);
  else if (note?.kind === "raw difference" && (await ctx.scratch?.files.stat(note.file)) !== undefined) {
    await ctx.scratch?.files.remove(note.file);
  }
}

/** Removes completed contents that a cut left behind after their target was done. */
async function cleanScratch(ctx: Context): Promise<void> {
  if (ctx.scratch === undefined) return;
  const { files, folder } = ctx.scratch;
  const mine = `otaforge-${ctx.pkg.id.slice(0, 12)}-`;
  const left = (await files.list(folder)).filter((name) => name.startsWith(mine));
  for (const name of left) await files.remove(joinPath(folder, name));
  if (left.length > 0) await files.syncFolder(folder);
}

async function runScript(
  ctx: Context,
  outcomes: ScriptOutcome[],
  script: { readonly name: string; readonly text: Uint8Array; readonly status: "0" | "-1" },
): Promise<void> {
  checkCancel(ctx.cancel);
  if (script.text.length === 0) return;
  const variables = { OTA_STATUS: script.status, ...(ctx.resumed ? { OTA_RESUME: "1" } : {}) };
  const { ran, exitCode } = await ctx.device.scripts.run({ name: script.name, text: script.text, variables });
  outcomes.push({ name: script.name, ran, exitCode });
  if (!ran) ctx.sink.note("info", `${script.name}: noted, not run on this device`);
  if (!ran || exitCode === 0) return;
  if (ctx.vendor) {
    warn(ctx, `${script.name} ended with ${exitCode}`);
    return;
  }
  throw new OtaError("SIGMASTAR_SCRIPT_FAILED", {
    what: "a script of the package failed",
    where: script.name,
    expected: "exit status 0",
    found: exitCode,
    hint: "What was written stays; running the same command again goes on from here.",
  });
}

/** The end script after a failure: told so by OTA_STATUS, and never a reason to hide that failure. */
async function runFailedEnd(ctx: Context, outcomes: ScriptOutcome[]): Promise<void> {
  try {
    const text = ctx.pkg.endScript;
    if (text.length === 0) return;
    const variables = { OTA_STATUS: "-1", ...(ctx.resumed ? { OTA_RESUME: "1" } : {}) };
    const { ran, exitCode } = await ctx.device.scripts.run({ name: "end script", text, variables });
    outcomes.push({ name: "end script", ran, exitCode });
    if (ran && exitCode !== 0) warn(ctx, `end script ended with ${exitCode}`);
  } catch (e) {
    if (isPowerCut(e)) throw e;
    warn(ctx, `end script: ${(e as Error).message}`);
  }
}

async function runTargets(
  ctx: Context,
  left: readonly Target[],
  scripts: ScriptOutcome[],
  roomForBatches: boolean,
): Promise<void> {
  const start = ctx.state.position;
  for (let i = 0; i < left.length;) {
    checkCancel(ctx.cancel);
    const target = left[i] as Target;
    if (target.work.startsWith("file")) {
      const batch = nextBatch(ctx, left.slice(i, i + MAX_BATCH), roomForBatches);
      const end = (batch.at(-1) as Target).position + 1;
      await runFiles(ctx, batch, end);
      i += batch.length;
      await saveState(ctx, { position: end });
      continue;
    }
    if (target.work === "script") await runRecordScript(ctx, target, scripts);
    else if (target.work === "volume") await runVolume(ctx, target);
    else if (target.work === "raw difference") await runRawDifference(ctx, target);
    else await runRaw(ctx, target, ctx.resumed && i === 0 && target.position >= start);
    await saveState(ctx, { position: target.position + 1 });
    if (target.work === "raw difference") await cleanRawDifference(ctx, target);
    ctx.doneBytes += target.record.head.fileSize;
    i++;
  }
}

async function runRecordScript(ctx: Context, target: Target, scripts: ScriptOutcome[]): Promise<void> {
  const parts: Uint8Array[] = [];
  for await (const piece of ctx.payloads.stream(target.record)) parts.push(piece.slice());
  const name = targetName(target.record, target.path);
  await runScript(ctx, scripts, { name, text: concatBytes(...parts), status: "0" });
}

/** Whether two changes of one batch would meet: the same path, or one inside the other. */
function meets(paths: ReadonlySet<string>, path: string): boolean {
  if (paths.has(path)) return true;
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
    if (paths.has(path.slice(0, at))) return true;
  }
  for (const other of paths) if (other.startsWith(`${path}/`)) return true;
  return false;
}

/** The file changes that are completed side by side: those an interrupted run had prepared, or as many as may be. */
function nextBatch(ctx: Context, candidates: readonly Target[], roomForBatches: boolean): Target[] {
  const note = ctx.state.step;
  const prepared = note?.kind === "files" && note.prepared ? note.end : undefined;
  const batch: Target[] = [];
  const paths = new Set<string>();
  for (const target of candidates) {
    if (!target.work.startsWith("file")) break;
    if (prepared !== undefined) {
      if (target.position >= prepared) break;
    } else if (meets(paths, target.path) || (!roomForBatches && batch.length > 0)) break;
    paths.add(target.path);
    batch.push(target);
  }
  return batch;
}
