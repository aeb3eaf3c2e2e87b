/**
 * One run of recovery, formats/android.md section 7: arguments, verification before anything else, installation, wiping, and the
 * traces it leaves.
 */
import { BINARY_NAME, METADATA_NAME, SCRIPT_NAME } from "../entry-names.ts";
import { isOtaError } from "../../core/errors.ts";
import type { Cancel, Device, RandomReader } from "../../core/ports.ts";
import { openZip } from "../../core/zip/index.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import type { EdifyEra } from "../edify/ast.ts";
import { fromLatin1 } from "../latin1.ts";
import { devicePath, failureText, openTarget } from "../updater/device-files.ts";
import { guessEra } from "../updater/guess-era.ts";
import { formatFlash, mountableNode } from "../updater/mtd.ts";
import { runUpdater } from "../updater/run.ts";
import { guardReader } from "../verifier/guarded-reader.ts";
import type { VerifierKey } from "../verifier/keys.ts";
import { verifyPackage } from "../verifier/verify.ts";
import { chooseArguments, parseArguments } from "./arguments.ts";
import type { RecoveryRequest } from "./arguments.ts";
import { readControlBlock, writeControlBlock } from "./bcb.ts";
import { mappedReader, parseBlockMap } from "./block-map.ts";
import {
  COMMAND_FILE,
  readText,
  RECOVERY_FOLDER,
  RecoveryLog,
  removeFile,
  restoreFiles,
  saveLastFiles,
  writeText,
} from "./cache-files.ts";
import type { RecoveryUi } from "./ui.ts";

/** Status of an installation, as last_install and the log have it. */
export const STATUS = Object.freeze({ success: 0, error: 1, corrupt: 2, none: 3, skipped: 4, retry: 5 });
export type Status = (typeof STATUS)[keyof typeof STATUS];

/** Types of recovery.fstab that are erased to format them. */
const FLASH_TYPES = new Set(["yaffs2", "mtd"]);
const UNCRYPT_STATUS = `${RECOVERY_FOLDER}/uncrypt_status`;
/** Numbers of the 7.1 summary's line `error: n`. */
const ZIP_ERRORS = { verification: 21, open: 22 };

/** Attempts of 7.1 after input/output errors. */
const MAX_RETRIES = 4;
/** Charge below which 7.1 installs nothing, per cent: on battery, and with a charger. */
const LOW_BATTERY = { discharging: 20, charging: 15 };
const VERIFY_FRACTION = 0.25;
const VERIFY_SECONDS = 60;
/** Boot reasons after which 7.1 installs nothing by itself. */
const BAD_REASONS = new Set(["kernel_panic", "Panic"]);

export interface RecoveryOptions {
  readonly device: Device;
  readonly era: EdifyEra;
  /** The updater's release, where it is not recovery's: `guess` tells it from the script. */
  readonly scriptEra?: EdifyEra | "guess";
  readonly profile: "safe" | "vendor";
  /** Arguments of the command itself; when there are any, nothing else is looked at. */
  readonly commandLine: readonly string[];
  readonly ui: RecoveryUi;
  /** Reads the trusted keys. @throws OtaError KEYS_UNREADABLE, DEVICE_NOT_FOUND */
  keys(): Promise<readonly VerifierKey[]>;
  /** Node of the partition misc; undefined: there is none. */
  readonly misc: string | undefined;
  /** Node behind a mount point (`/cache`, `/data`). */
  nodeOf(mountPoint: string): string | undefined;
  /** What file system a mount point has, and its size when it is not the whole node (negative: room at the end). Default ext4. */
  fileSystemOf?(mountPoint: string): { readonly fsType: string; readonly sizeBytes?: number } | undefined;
  /** Charge of the battery, where there is one. */
  battery?(): Promise<{ readonly percent: number; readonly charging: boolean } | undefined>;
  /** The board runs the package's own update-binary instead of our interpreter; gives its exit code. */
  runUpdateBinary?(
    reader: RandomReader,
    path: string,
    line: (line: string) => void,
  ): Promise<{ readonly exitCode: number }>;
  /** Errors and warnings that go to the log alone and not to the screen. */
  warn?(text: string): void;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly cancel?: Cancel;
}

export interface RecoveryOutcome {
  readonly status: Status;
  /** Text of the restart property. */
  readonly reboot: string;
  /** The package is not done: it goes on at its next stage, when recovery runs after the restart. */
  readonly unfinished: boolean;
  readonly log: string;
}

class Recovery {
  readonly #options: RecoveryOptions;
  readonly #device: Device;
  readonly #ui: RecoveryUi;
  readonly #log: RecoveryLog;
  #text = "";
  #wipeRequested = false;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#device = options.device;
    this.#ui = options.ui;
    this.#log = new RecoveryLog(options.device);
  }

  #keep(text: string): void {
    this.#text += text;
    this.#log.add(text);
  }

  #info(text: string): void {
    this.#keep(text);
    if (/^[EW]:/.test(text)) this.#options.warn?.(text);
  }

  #print(text: string): void {
    this.#ui.print(text);
    this.#keep(text);
  }

  #error(text: string): void {
    this.#print(`E:${text}\n`);
  }

  #fileSystem(at: string): { readonly fsType: string; readonly sizeBytes?: number } {
    return this.#options.fileSystemOf?.(at) ?? { fsType: "ext4" };
  }

  async #mount(at: string): Promise<boolean> {
    if ((await this.#device.mounts.list()).some((m) => m.at === at)) return true;
    const node = this.#options.nodeOf(at);
    if (node === undefined) return true;
    try {
      const { fsType } = this.#fileSystem(at);
      await this.#device.mounts.mount(await mountableNode(this.#device, node), at, { fsType });
      return true;
    } catch (e) {
      this.#info(`W:failed to mount ${at} (${failureText(e)})\n`);
      return false;
    }
  }

  async #unmount(at: string): Promise<void> {
    if (!(await this.#device.mounts.list()).some((m) => m.at === at)) return;
    try {
      await this.#device.mounts.unmount(at);
    } catch (e) {
      this.#info(`W:failed to unmount ${at} (${failureText(e)})\n`);
    }
  }

  /** Formats a volume; the traces of earlier runs stay on /cache. */
  async #erase(volume: "/data" | "/cache"): Promise<boolean> {
    this.#ui.background("erasing");
    const cache = volume === "/cache";
    if (cache) await this.#mount(volume);
    const saved = cache ? await saveLastFiles(this.#device) : new Map<string, Uint8Array>();
    this.#print(`Formatting ${volume}...\n`);
    let done = false;
    try {
      await this.#unmount(volume);
      const node = this.#options.nodeOf(volume);
      if (node === undefined || this.#device.mounts.format === undefined) {
        this.#error(`format_volume: unknown volume "${volume}"`);
      } else {
        const fileSystem = this.#fileSystem(volume);
        const flash = FLASH_TYPES.has(fileSystem.fsType) && (await formatFlash(this.#device, node));
        if (!flash) await this.#device.mounts.format(node, fileSystem);
        done = true;
      }
    } catch (e) {
      this.#error(`format_volume: failed to format ${volume}: ${failureText(e)}`);
    }
    if (cache) {
      await this.#mount(volume);
      await restoreFiles(this.#device, saved);
      this.#log.startOver();
      await this.#log.copy();
    }
    return done;
  }

  /** Opens the package: a file, or a block map. The caller closes it. */
  async #open(path: string): Promise<{ readonly reader: RandomReader; close(): Promise<void> } | undefined> {
    const name = path.startsWith("@") ? path.slice(1) : path;
    try {
      if ((await this.#device.files.stat(devicePath(name))) === undefined) {
        this.#error(`failed to open ${path} (No such file or directory)`);
        return undefined;
      }
      const file = await this.#device.files.open(devicePath(name), "read");
      if (!path.startsWith("@")) return { reader: file, close: () => file.close() };
      const map = parseBlockMap(fromLatin1(await file.read(0, Math.min(file.size, 16 << 20))));
      await file.close();
      const target = await openTarget(this.#device, map.device, "read");
      return { reader: mappedReader(target, map), close: () => target.close() };
    } catch (e) {
      this.#error(`failed to open ${path} (${failureText(e)})`);
      return undefined;
    }
  }

  /** Mounts as an installation begins: the cache alone. */
  async #prepareMounts(keep: string): Promise<void> {
    await this.#mount("/cache");
    for (const { at } of await this.#device.mounts.list()) {
      if (at === "/cache" || at === "/tmp" || at === "/" || keep.startsWith(`${at}/`)) continue;
      if (/^\/(proc|sys|dev)(\/|$)/.test(at)) continue;
      if (this.#options.nodeOf(at) !== undefined) await this.#unmount(at);
    }
  }

  async #install(request: RecoveryRequest, path: string): Promise<Status> {
    this.#ui.background("installing");
    this.#print("Finding update package...\n");
    this.#ui.showProgress(VERIFY_FRACTION, VERIFY_SECONDS);
    this.#info(`I:Update location: ${path}\n`);
    const volume = /^@?(\/[^/]+)\//.exec(path)?.[1];
    if (volume !== undefined && !(await this.#mount(volume))) {
      this.#error(`Can't mount ${path}`);
      return STATUS.corrupt;
    }
    this.#print("Opening update package...\n");
    let keys: readonly VerifierKey[];
    try {
      keys = await this.#options.keys();
    } catch (e) {
      if (!isOtaError(e)) throw e;
      this.#info(`E:${e.message}\n`);
      this.#error("Failed to load keys");
      return STATUS.corrupt;
    }
    this.#info(`I:${keys.length} key(s) loaded\n`);
    this.#print("Verifying update package...\n");
    const opened = await this.#open(path);
    if (opened === undefined) {
      this.#error("signature verification failed");
      return STATUS.corrupt;
    }
    try {
      return await this.#verifyAndRun(request, path, { opened: opened.reader, keys });
    } finally {
      await opened.close();
    }
  }

  async #verifyAndRun(
    request: RecoveryRequest,
    path: string,
    { opened, keys }: { readonly opened: RandomReader; readonly keys: readonly VerifierKey[] },
  ): Promise<Status> {
    const { era, profile, cancel } = this.#options;
    const reader = guardReader(opened, this.#device.digests);
    const rules = profile === "vendor" ? era : "safe";
    let accepted = false;
    try {
      const verdict = await verifyPackage(reader, keys, {
        digests: this.#device.digests,
        codecs: this.#device.codecs,
        rules,
        ...(cancel === undefined ? {} : { cancel }),
      });
      ({ accepted } = verdict);
      if (!accepted) {
        const reason = verdict.reason ?? "failed to verify whole-file signature";
        // 4.4 says nothing of a file that has no footer; the log has it here.
        if (verdict.unsigned && era === "4.4") this.#info(`E:${reason}\n`);
        else this.#error(reason);
      }
    } catch (e) {
      this.#error(`failed to read ${path} (${failureText(e)})`);
    }
    this.#info(`I:verify_file returned ${accepted ? 0 : 1}\n`);
    if (!accepted) {
      this.#error("signature verification failed");
      this.#lines.push(`error: ${ZIP_ERRORS.verification}`);
      return STATUS.corrupt;
    }
    const zip = await this.#openZip(reader, path);
    if (zip === undefined) {
      this.#lines.push(`error: ${ZIP_ERRORS.open}`);
      return STATUS.corrupt;
    }
    this.#print("Installing update...\n");
    if (zip.get(BINARY_NAME) === undefined) {
      this.#info(`E:${path} has no ${BINARY_NAME}: no update package\n`);
      return STATUS.corrupt;
    }
    if (era === "7.1") this.#lines.push(...(await buildLines(zip)));
    const seen = { retry: false };
    const line = (text: string): void => this.#command(text, seen);
    let exitCode: number;
    if (this.#options.runUpdateBinary === undefined) {
      const outcome = await runUpdater({
        device: this.#device,
        package: reader,
        era: await this.#scriptEra(zip),
        profile,
        retry: request.retryCount > 0,
        packagePath: devicePath(path),
        pipe: line,
        log: (text) => this.#info(text),
        ...(this.#options.sleep === undefined ? {} : { sleep: this.#options.sleep }),
        ...(cancel === undefined ? {} : { cancel }),
      });
      ({ exitCode } = outcome);
      if (outcome.reboot !== undefined) throw new RestartAsked(outcome.reboot);
    } else ({ exitCode } = await this.#options.runUpdateBinary(reader, path, line));
    if (seen.retry && era === "7.1") return STATUS.retry;
    if (exitCode !== 0) {
      this.#error(`Error in ${path}\n(Status ${exitCode})`);
      return STATUS.error;
    }
    return STATUS.success;
  }

  /** The package's archive; undefined, with the reason on the screen and in the log, when it has not one reading. */
  async #openZip(reader: RandomReader, path: string): Promise<ZipArchive | undefined> {
    try {
      return await openZip(reader, {
        codecs: this.#device.codecs,
        crc32: (bytes, crc) => this.#device.digests.crc32(bytes, crc),
      });
    } catch (e) {
      failureText(e);
      if (isOtaError(e)) this.#info(`E:${e.message}\n`);
      this.#error(`Can't open ${path}\n(bad)`);
      return undefined;
    }
  }

  async #scriptEra(zip: ZipArchive): Promise<EdifyEra> {
    const { scriptEra, era } = this.#options;
    if (scriptEra !== "guess") return scriptEra ?? era;
    try {
      return guessEra(await zip.read(zip.need(SCRIPT_NAME), 64 << 20));
    } catch (e) {
      // The updater will say what is wrong with the package.
      if (!isOtaError(e)) throw e;
      return era;
    }
  }

  /** A line of the update-binary protocol, formats/android.md section 4.5. */
  #command(line: string, seen: { retry: boolean }): void {
    const [word, ...rest] = line.split(" ");
    const argument = rest.join(" ");
    switch (word) {
      case "progress": {
        const [fraction, seconds] = rest;
        this.#ui.showProgress((Number(fraction) || 0) * (1 - VERIFY_FRACTION), Math.trunc(Number(seconds) || 0));
        return;
      }
      case "set_progress":
        this.#ui.setProgress(Number(rest[0]) || 0);
        return;
      case "ui_print":
        this.#print(argument === "" ? "\n" : argument);
        return;
      case "wipe_cache":
        this.#wipeRequested = true;
        return;
      case "clear_display":
        this.#ui.background("none");
        return;
      case "enable_reboot":
        return;
      case "retry_update":
        seen.retry = true;
        return;
      case "log":
        if (this.#options.era === "7.1") this.#lines.push(argument);
        return;
      default:
        this.#info(`E:unknown command [${word}]\n`);
    }
  }

  readonly #lines: string[] = [];

  /** Why 7.1 installs nothing now; undefined when it may. */
  async #skip(): Promise<{ readonly text: string; readonly code: number } | undefined> {
    if (this.#options.era !== "7.1" && this.#options.profile === "vendor") return undefined;
    const battery = await this.#options.battery?.();
    const needed = battery?.charging === true ? LOW_BATTERY.charging : LOW_BATTERY.discharging;
    if (battery !== undefined && battery.percent < needed) {
      return { text: `battery capacity is not enough for installing package, needed is ${needed}%\n`, code: 20 };
    }
    const reason = await this.#device.properties.get("ro.boot.bootreason");
    if (this.#options.era === "7.1" && reason !== undefined && BAD_REASONS.has(reason)) {
      return { text: "bootreason is in the blacklist; skip OTA installation\n", code: 23 };
    }
    return undefined;
  }

  async #update(request: RecoveryRequest, path: string): Promise<Status> {
    const skip = await this.#skip();
    if (skip !== undefined) {
      this.#print(skip.text);
      this.#log.install = `${path}\n0\nerror: ${skip.code}`;
      return STATUS.skipped;
    }
    const begun = this.#device.clock.monotonicMs();
    await this.#prepareMounts(path);
    const status = await this.#install(request, path);
    await this.#mount("/cache");
    const head = `${path}\n${status === STATUS.success ? "1" : "0"}`;
    const seconds = Math.round((this.#device.clock.monotonicMs() - begun) / 1000);
    this.#log.install =
      this.#options.era === "4.4"
        ? `${head}\n`
        : [
            ...[head, `time_total: ${seconds}`, `retry: ${request.retryCount}`, ...this.#lines],
            ...(await uncryptLines(this.#device)),
          ].join("\n");
    if (status === STATUS.success) {
      if (this.#wipeRequested && !(await this.#erase("/cache"))) {
        this.#error("Cache wipe (requested by package) failed.");
      }
    } else this.#print("Installation aborted.\n");
    return status;
  }

  async #wipe(request: RecoveryRequest): Promise<Status> {
    const data = !request.wipeData || (await this.#erase("/data"));
    const done = (!request.wipeCache || (await this.#erase("/cache"))) && data;
    if (!done) this.#print(request.wipeData ? "Data wipe failed.\n" : "Cache wipe failed.\n");
    return done ? STATUS.success : STATUS.error;
  }

  async #finish(request: RecoveryRequest, locale: string | undefined): Promise<void> {
    await this.#mount("/cache");
    if (request.sendIntent !== undefined) {
      await writeText(this.#device, `${RECOVERY_FOLDER}/intent`, request.sendIntent, { mode: 0o777 });
    }
    if (locale !== undefined) {
      await writeText(this.#device, `${RECOVERY_FOLDER}/last_locale`, locale, { mode: 0o644 });
    }
    await this.#log.copy();
    await this.#clearBlock();
    await removeFile(this.#device, COMMAND_FILE);
  }

  async #clearBlock(): Promise<void> {
    try {
      await writeControlBlock(this.#device, this.#options.misc, { command: "", status: "", recovery: "", stage: "" });
    } catch (e) {
      this.#info(`E:failed to write the boot message: ${failureText(e)}\n`);
    }
  }

  async #remember(args: readonly string[]): Promise<void> {
    try {
      await writeControlBlock(this.#device, this.#options.misc, {
        command: "boot-recovery",
        recovery: `recovery\n${args.map((a) => `${a}\n`).join("")}`,
      });
    } catch (e) {
      this.#info(`E:failed to write the boot message: ${failureText(e)}\n`);
    }
  }

  async run(): Promise<RecoveryOutcome> {
    const { era, misc, commandLine } = this.#options;
    const log = (text: string): void => this.#info(text);
    await this.#mount("/cache");
    const block = await readControlBlock(this.#device, misc);
    const args = chooseArguments(commandLine, block, await readText(this.#device, COMMAND_FILE), log);
    await this.#remember(args);
    const request = parseArguments(args, era, log);
    this.#info(`I:Command: ${args.map((a) => `"${a}"`).join(" ")}\n`);
    const saved = await readText(this.#device, `${RECOVERY_FOLDER}/last_locale`);
    const locale = request.locale ?? saved?.trim();
    this.#ui.background("none");
    if (request.showText) this.#ui.showText();

    let status: Status = STATUS.success;
    try {
      if (request.updatePackage !== undefined) status = await this.#update(request, request.updatePackage);
      else if (request.wipeData || request.wipeCache) status = await this.#wipe(request);
      else if (!request.justExit) {
        status = STATUS.none;
        this.#ui.background("no-command");
      }
    } catch (e) {
      if (!(e instanceof RestartAsked)) throw e;
      // A two-step package goes on at its next stage: nothing of this run is finished.
      await this.#log.copy();
      return { status: STATUS.success, reboot: e.property, unfinished: true, log: this.#text };
    }
    if (status === STATUS.retry && request.retryCount < MAX_RETRIES) return this.#tryAgain(args, request);
    const failed = status === STATUS.error || status === STATUS.corrupt || status === STATUS.retry;
    if (failed) {
      await this.#log.copy();
      this.#ui.background("error");
    }
    if (status !== STATUS.success) {
      const { sendIntent: _, ...rest } = request;
      await this.#finish(rest, locale);
      this.#ui.background(failed ? "error" : "no-command");
      await this.#ui.menu();
    }
    await this.#finish(request, locale);
    this.#print("Rebooting...\n");
    const reboot = request.shutdownAfter ? "shutdown," : "reboot,";
    return { status, reboot, unfinished: false, log: this.#text };
  }

  async #tryAgain(args: readonly string[], request: RecoveryRequest): Promise<RecoveryOutcome> {
    await this.#log.copy();
    const kept = args.filter((arg) => !arg.startsWith("--retry_count"));
    await this.#remember([...kept, `--retry_count=${request.retryCount + 1}`]);
    this.#print(`Retry attempt ${request.retryCount}\n`);
    return { status: STATUS.retry, reboot: "reboot,recovery", unfinished: true, log: this.#text };
  }
}

/** Lines of the summary of 7.1 that say which builds the package is for. */
async function buildLines(zip: ZipArchive): Promise<string[]> {
  const entry = zip.get(METADATA_NAME);
  if (entry === undefined) return [];
  let text: string;
  try {
    text = fromLatin1(await zip.read(entry, 1 << 20));
  } catch (e) {
    // The updater will say what is wrong with the package.
    failureText(e);
    return [];
  }
  return text.split("\n").flatMap((line) => {
    const [, which, number] = /^\s*(pre|post)-build-incremental[^=]*=\s*(\d{1,10})\s*$/.exec(line) ?? [];
    return number === undefined ? [] : [`${which === "pre" ? "source" : "target"}_build: ${Number(number)}`];
  });
}

/** What the running system noted of the block map it made for the package. */
async function uncryptLines(device: Device): Promise<string[]> {
  const text = (await readText(device, UNCRYPT_STATUS))?.trim();
  return text?.startsWith("uncrypt_") === true ? [text] : [];
}

class RestartAsked extends Error {
  readonly property: string;

  constructor(property: string) {
    super(property);
    this.property = property;
  }
}

/** Runs recovery once, up to the restart it ends with. The caller restarts, or does not. */
export async function runRecovery(options: RecoveryOptions): Promise<RecoveryOutcome> {
  return new Recovery(options).run();
}
