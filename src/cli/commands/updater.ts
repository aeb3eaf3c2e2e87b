/**
 * `updater VERSION FD PACKAGE [retry]`: the update-binary protocol (formats/android.md section 4.5) over a board or the files that
 * stand for one. Commands for recovery go to the descriptor FD, the log to standard output. The exit codes are the original's.
 */
import { writeSync } from "node:fs";
import { resolve } from "node:path";
import { guessEra, runUpdater, SCRIPT_NAME } from "../../android/index.ts";
import type { EdifyEra } from "../../android/index.ts";
import { fromLatin1, toLatin1 } from "../../android/latin1.ts";
import { isOtaError } from "../../core/errors.ts";
import { openZip } from "../../core/zip/index.ts";
import { acquireLock, openDevice, openFileReader } from "../../device/index.ts";
import { systemCode } from "../../device/system-errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import type { Io } from "../io.ts";

const HELP = `usage: updater VERSION FD PACKAGE [retry] [--device DEVICE.json] [--era 4.4|7.1]
               [--vendor-compatible] [--run-scripts]

Runs the updater-script of PACKAGE. VERSION is 1, 2 or 3; commands for recovery go to descriptor FD.
Exit codes: 0 success, 1 wrong arguments, 2 wrong version, 3 package cannot be opened, 4 no updater-script,
5 it cannot be read, 6 it does not parse, 7 it aborted, 90 it asked for a restart;
69 no device (its description cannot be read, it is locked).
`;

export interface UpdaterArguments {
  readonly positional: readonly string[];
  readonly device: string | undefined;
  readonly era: EdifyEra | undefined;
  readonly vendor: boolean;
  readonly runScripts: boolean;
  readonly help: boolean;
  readonly wrong: string | undefined;
}

/** Takes our options out of the arguments; everything else is the original's. */
export function parseUpdaterArguments(argv: readonly string[]): UpdaterArguments {
  const positional: string[] = [];
  let device: string | undefined;
  let era: EdifyEra | undefined;
  let wrong: string | undefined;
  const flags = new Set<string>();
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = (argv[i] as string).split(/=(.*)/s, 2) as [string, string | undefined];
    if (name === "--device" || name === "-d" || name === "--era") {
      const value = inline ?? argv[++i];
      if (value === undefined) wrong = `${name} needs a value`;
      else if (name !== "--era") device = value;
      else if (value === "4.4" || value === "7.1") era = value;
      else wrong = `no such era: ${value}`;
    } else if (["--vendor-compatible", "--run-scripts", "--help", "-h"].includes(name)) flags.add(name);
    else if (name.startsWith("--")) wrong = `unknown option ${name}`;
    else positional.push(argv[i] as string);
  }
  return {
    positional,
    device,
    era,
    wrong,
    vendor: flags.has("--vendor-compatible"),
    runScripts: flags.has("--run-scripts"),
    help: flags.has("--help") || flags.has("-h"),
  };
}

/** The era of a package's script, by looking. */
async function eraOf(reader: RandomReader, codecs: Parameters<typeof openZip>[1]["codecs"]): Promise<EdifyEra> {
  try {
    const zip = await openZip(reader, { codecs });
    return guessEra(await zip.read(zip.need(SCRIPT_NAME), 64 * 1024 * 1024));
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return "7.1";
  }
}

/** Whether a number is a descriptor that is open for writing. */
function canWrite(fd: number): boolean {
  try {
    writeSync(fd, new Uint8Array(0));
    return true;
  } catch (e) {
    // Anything else may pass, and is no reason not to update.
    return systemCode(e) !== "EBADF";
  }
}

/** How long a full pipe that does not block is left to its reader, milliseconds. */
const FULL_PIPE_MS = 10;

/** All of the bytes, also to a pipe that does not block. */
function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (e) {
      if (systemCode(e) !== "EAGAIN") throw e;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS);
    }
  }
}

/** Writes whole lines to a descriptor. A reader that went away is recovery's affair: the update goes on without it. */
function pipeTo(fd: number, io: Io): (line: string) => void {
  let gone = false;
  return (line) => {
    const bytes = toLatin1(`${line}\n`);
    if (fd === 1) io.out(bytes);
    else if (fd === 2) io.err(fromLatin1(bytes));
    else if (!gone) {
      try {
        writeWhole(fd, bytes);
      } catch (e) {
        gone = true;
        io.err(`updater: warning: nobody reads descriptor ${fd} (${systemCode(e) ?? String(e)}); the update goes on\n`);
      }
    }
  };
}

export async function updaterMain(argv: readonly string[], io: Io): Promise<number> {
  const args = parseUpdaterArguments(argv);
  if (args.help) {
    io.out(HELP);
    return 0;
  }
  const [version, fdText, packageName, retry] = args.positional;
  const count = args.positional.length;
  const mayRetry = count === 4 && args.era !== "4.4";
  if (args.wrong !== undefined || (count !== 3 && !mayRetry) || packageName === undefined) {
    io.err(args.wrong === undefined ? `unexpected number of arguments (${count + 1})\n` : `updater: ${args.wrong}\n`);
    return 1;
  }
  if (version === undefined || !/^[123]$/.test(version)) {
    io.err(`wrong updater binary API; expected 1, 2, or 3; got ${version}\n`);
    return 2;
  }
  const fd = /^\d{1,6}$/.test(fdText ?? "") ? Number(fdText) : 0;
  if (fd !== 1 && fd !== 2 && !canWrite(fd)) {
    io.err(`updater: FD (${fdText}) is no descriptor that is open for writing\n`);
    return 1;
  }
  const log = (text: string): void => (fd === 1 ? io.err(text) : io.out(toLatin1(text)));
  const path = resolve(io.cwd, packageName);
  let reader: Awaited<ReturnType<typeof openFileReader>>;
  try {
    reader = await openFileReader(path);
  } catch (e) {
    if (!isOtaError(e)) throw e;
    log(`failed to open package ${packageName}: ${e.message}\n`);
    return 3;
  }
  try {
    const device = await openDevice(args.device === undefined ? undefined : resolve(io.cwd, args.device), {
      runScripts: args.runScripts,
    });
    try {
      const lock = await acquireLock(device, "updater");
      try {
        const outcome = await runUpdater({
          device,
          package: reader,
          era: args.era ?? (await eraOf(reader, device.codecs)),
          profile: args.vendor ? "vendor" : "safe",
          retry: retry === "retry",
          packagePath: path,
          pipe: pipeTo(fd, io),
          log,
          cancel: io.signal,
          ...(device.kind === "board"
            ? { sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) }
            : {}),
        });
        if (outcome.reboot !== undefined) log(`sys.powerctl=${outcome.reboot}\n`);
        return outcome.exitCode;
      } finally {
        await lock.release();
      }
    } finally {
      await device.close();
    }
  } finally {
    await reader.close();
  }
}
