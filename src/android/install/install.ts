/**
 * Installs a package with an update script (`update.zip`) on any device: everything is checked, then the script runs. Run again after a
 * cut it goes on: block updates and patches find out what is done, a two-step package resumes at its stage.
 */
import { SCRIPT_NAME } from "../entry-names.ts";
import { OtaError } from "../../core/errors.ts";
import { unicode } from "../latin1.ts";
import type { Cancel, Device, ProgressSink, RandomReader } from "../../core/ports.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import { guardReader } from "../verifier/guarded-reader.ts";
import type { VerifierKey } from "../verifier/keys.ts";
import type { EdifyEra } from "../edify/ast.ts";
import { failureText } from "../updater/device-files.ts";
import { guessEra } from "../updater/guess-era.ts";
import { runUpdater } from "../updater/run.ts";
import type { UpdaterOutcome } from "../updater/run.ts";
import {
  checkBattery,
  checkEntries,
  checkFloor,
  checkHardware,
  checkSignature,
  openUpdateZip,
  raiseFloor,
} from "./admission.ts";
import type { Battery } from "./admission.ts";
import { readMetadata } from "./metadata.ts";
import type { PackageMetadata } from "./metadata.ts";
import { readLine } from "./pipe.ts";
import { watchDevice } from "./watch-device.ts";

/** Restarts a two-step package may ask for in one installation; real ones ask for two. */
const MAX_RESTARTS = 8;

export interface AndroidInstallOptions {
  readonly profile: "safe" | "vendor";
  /** Keys the device trusts; empty: unsigned packages are taken. */
  readonly keys: readonly VerifierKey[];
  /** Whose functions and results the script gets; default: told from the script. */
  readonly era?: EdifyEra;
  /** Lowest version, of the device description. */
  readonly minimumVersion?: string;
  /** Node behind a mount point (`/cache`), where one is known. */
  readonly nodeOf?: (mountPoint: string) => string | undefined;
  /** Path of the package on the device, which is never deleted to make room. */
  readonly packagePath?: string;
  readonly battery?: Battery;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
  /** Waits, where a script asks for it. */
  readonly sleep?: (ms: number) => Promise<void>;
  /** The package's own program runs instead of our interpreter; gives its exit code. Boards only. */
  readonly runUpdateBinary?: (reader: RandomReader, zip: ZipArchive, pipe: (line: string) => void) => Promise<number>;
}

export interface AndroidInstallReport {
  readonly outcome: "installed" | "restart";
  /** `unsigned`, `signed by …`. */
  readonly signature: string;
  readonly era: EdifyEra;
  readonly metadata: PackageMetadata;
  /** What the script showed, line by line. */
  readonly screen: readonly string[];
  /** Restarts it asked for and got: the stages of a two-step package on an image or a simulated device. */
  readonly restarts: number;
  /** `outcome` restart: where the board is to be restarted into. */
  readonly reboot?: string;
}

/** A package that was let in. */
interface Admitted {
  readonly reader: RandomReader;
  readonly zip: ZipArchive;
  readonly signature: string;
  readonly metadata: PackageMetadata;
}

/** All checks that need no look at the targets. Nothing is written. @throws OtaError ANDROID_*, TRUST_*, ZIP_* */
export async function admitPackage(
  device: Device,
  opened: RandomReader,
  options: AndroidInstallOptions,
): Promise<Admitted> {
  const { keys, progress, cancel, minimumVersion } = options;
  const checks = {
    ...(progress === undefined ? {} : { progress }),
    ...(cancel === undefined ? {} : { cancel }),
  };
  const reader = guardReader(opened, device.digests);
  const rules = options.profile === "vendor" ? (options.era ?? "7.1") : "safe";
  const signature = await checkSignature(device, reader, keys, { ...checks, rules });
  const zip = await openUpdateZip(device, reader);
  // A signature vouches for every byte; without one the checksums are all there is.
  if (keys.length === 0) await checkEntries(zip, checks);
  const metadata = await readMetadata(zip);
  if (options.profile === "safe") {
    await checkHardware(device, metadata);
    await checkFloor(device, metadata, {
      signed: keys.length > 0,
      ...(minimumVersion === undefined ? {} : { minimumVersion }),
    });
    checkBattery(options.battery);
  }
  return { reader, zip, signature, metadata };
}

/** As recovery begins: /cache and nothing else is mounted. A running board keeps what it has. */
async function prepareMounts(device: Device, cacheNode: string | undefined): Promise<void> {
  if (device.kind === "board") return;
  const mounted = await device.mounts.list();
  for (const { at } of mounted) {
    if (at !== "/" && at !== "/cache" && at !== "/tmp") await device.mounts.unmount(at);
  }
  if (cacheNode === undefined || mounted.some(({ at }) => at === "/cache")) return;
  await device.mounts.mount(cacheNode, "/cache", { fsType: "ext4" });
}

/** What to do after a script that stopped, by whether it got to write. */
const HINTS = Object.freeze({
  untouched: "Nothing was written: the old system is as it was. The messages above say why.",
  partly: "The device may be partly updated. Put right what the messages above say and run the same command again.",
});

/** Why a script ended early, as an error with the class users act by. `changed`: it, or an earlier stage, wrote to the device. */
function failureOf(outcome: UpdaterOutcome, real: OtaError | undefined, changed: boolean, log: string): OtaError {
  const lastLine = unicode(log.trim().split("\n").at(-1) ?? "");
  if (outcome.preflight !== undefined) {
    return new OtaError("ANDROID_PREFLIGHT", {
      what: "the device cannot take the package",
      found: unicode(outcome.preflight.join("; ")),
      hint: "Nothing was written. Put right what is named and run the same command again.",
    });
  }
  switch (outcome.exitCode) {
    case 3:
    case 4:
    case 5:
    case 6:
      return new OtaError("ANDROID_SCRIPT", {
        what: "the package has no update script that can be run",
        where: SCRIPT_NAME,
        // Of a script that does not parse the last line is the number of mistakes.
        found: /^line \d.*$/m.exec(unicode(log))?.[0] ?? lastLine,
      });
    default: {
      const hint = changed ? HINTS.partly : HINTS.untouched;
      if (real !== undefined) {
        return new OtaError(
          real.code,
          { ...real.details, what: `the update stopped: ${real.details.what}`, hint },
          real,
        );
      }
      return new OtaError("ANDROID_UPDATE_FAILED", {
        what: "the update script stopped",
        found:
          outcome.message === undefined
            ? lastLine.replace(/script aborted \(no error message\)$/, "") || `exit code ${outcome.exitCode}`
            : unicode(outcome.message).trim().replace(/\.$/, "") || "an abort without a message",
        hint,
      });
    }
  }
}

/** Lines of the updater's log that are shown when its script stops, and the most of each, characters. */
const TAIL = { lines: 6, length: 300 };

/** What the log said last: why a statement failed is told to nobody else. `shown`: lines that were on the screen. */
function logTail(log: string, shown: readonly string[]): string[] {
  return log
    .split("\n")
    .map((line) => line.trim().slice(0, TAIL.length))
    .filter((line) => line !== "" && !line.startsWith("script aborted") && !shown.includes(line))
    .slice(-TAIL.lines);
}

/** What `wipe_cache` asks for: recovery formats /cache once the script is done. */
async function wipeCache(device: Device, node: string | undefined, note: (text: string) => void): Promise<void> {
  if (node === undefined || device.mounts.format === undefined) return;
  try {
    await device.mounts.unmount("/cache");
    await device.mounts.format(node, { fsType: "ext4" });
    await device.mounts.mount(node, "/cache", { fsType: "ext4" });
  } catch (e) {
    note(`/cache could not be wiped as the package asks: ${failureText(e)}`);
  }
}

/**
 * Checks and installs a package. Resolves when it is completely installed, or when a board must be restarted first.
 * @throws OtaError ANDROID_*, TRUST_*, ZIP_*, DEVICE_*, CANCELLED
 */
export async function installUpdateZip(
  device: Device,
  opened: RandomReader,
  options: AndroidInstallOptions,
): Promise<AndroidInstallReport> {
  const { profile, progress, cancel, keys } = options;
  const admitted = await admitPackage(device, opened, options);
  const { reader, zip, signature, metadata } = admitted;
  const script = zip.get(SCRIPT_NAME);
  const era = options.era ?? (script === undefined ? "7.1" : guessEra(await zip.read(script, 64 << 20)));
  const screen: string[] = [];
  let cacheWanted = false;
  const bar = { base: 0, share: 0 };
  // A script tells fractions; they are shown as parts of what the package holds.
  const totalBytes = zip.entries.reduce((sum, e) => sum + e.size, 0);
  const pipe = (line: string): void => {
    const command = readLine(line);
    switch (command.kind) {
      case "progress":
        bar.base = Math.min(1, bar.base + bar.share);
        bar.share = command.fraction;
        break;
      case "set-progress":
        progress?.progress({
          phase: "install",
          doneBytes: Math.round(Math.min(1, bar.base + bar.share * Math.min(1, command.fraction)) * totalBytes),
          totalBytes,
        });
        break;
      case "print":
        if (command.text !== "") {
          screen.push(command.text);
          progress?.note("info", command.text);
        }
        break;
      case "wipe-cache":
        cacheWanted = true;
        break;
      default:
    }
  };
  const base = { signature, era, metadata };
  const cacheNode = (await device.mounts.list()).find((m) => m.at === "/cache")?.node ?? options.nodeOf?.("/cache");
  await prepareMounts(device, cacheNode);
  let changed = false;
  for (let restarts = 0; ; restarts++) {
    const watched = watchDevice(device);
    let log = "";
    const outcome: UpdaterOutcome =
      options.runUpdateBinary === undefined
        ? await runUpdater({
            device: watched.device,
            package: reader,
            era,
            profile,
            pipe,
            log: (text) => (log = (log + text).slice(-65536)),
            ...(options.packagePath === undefined ? {} : { packagePath: options.packagePath }),
            ...(options.sleep === undefined ? {} : { sleep: options.sleep }),
            ...(cancel === undefined ? {} : { cancel }),
          })
        : { exitCode: await options.runUpdateBinary(reader, zip, pipe) };
    if (outcome.exitCode === 0) {
      if (cacheWanted) await wipeCache(device, cacheNode, (text) => progress?.note("warning", text));
      if (keys.length > 0 && profile === "safe") await raiseFloor(device, metadata);
      return { ...base, outcome: "installed", screen, restarts };
    }
    // What the package's own program did is not seen.
    changed ||= watched.changed() || options.runUpdateBinary !== undefined;
    if (outcome.reboot === undefined && outcome.preflight === undefined) {
      for (const line of logTail(log, screen)) progress?.note("info", `updater: ${line}`);
    }
    if (outcome.reboot === undefined) throw failureOf(outcome, watched.failure(), changed, log);
    progress?.note("info", `the package asks for a restart (${outcome.reboot})`);
    if (device.kind === "board") return { ...base, outcome: "restart", screen, restarts, reboot: outcome.reboot };
    if (restarts >= MAX_RESTARTS) {
      throw new OtaError("ANDROID_UPDATE_FAILED", {
        what: "the package asks for a restart again and again",
        found: `${restarts + 1} times`,
      });
    }
    // An image has no loader: a restart is nothing but running the package again.
    await prepareMounts(device, cacheNode);
  }
}
