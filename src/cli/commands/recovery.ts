/**
 * `recovery`: one run of recovery over a board or the files that stand for one (formats/android.md section 7). Options that are not
 * ours are recovery's own arguments; without any, the control block and /cache/recovery/command say what to do.
 */
import { resolve } from "node:path";
import { openUpdateZip, parseFstab, runRecovery } from "../../android/index.ts";
import type { EdifyEra, Fstab, VerifierKey } from "../../android/index.ts";
import { partitionType } from "../../android/target-files/fstab.ts";
import { findMtd } from "../../android/updater/device-files.ts";
import { readKeys } from "../../android/verifier/index.ts";
import { OtaError, isOtaError } from "../../core/errors.ts";
import { decodeText } from "../../core/text.ts";
import { acquireLock, openDevice } from "../../device/index.ts";
import type { OpenedDevice } from "../../device/index.ts";
import { fromLatin1 } from "../../android/latin1.ts";
import { loadAndroidKeys } from "../android-verify.ts";
import { readBattery } from "../battery.ts";
import type { Io } from "../io.ts";
import { recoveryScreen } from "../recovery-screen.ts";
import { describedScreen, openProgressScreen, parseScreenNumber, parseScreenSize } from "../screen.ts";
import type { ScreenChoice } from "../screen.ts";
import { checkRunUpdateBinary, runUpdateBinary } from "../update-binary.ts";

const HELP = `usage: recovery [--device DEVICE.json] [options] [recovery's own arguments]

Recovery's arguments (without any: the control block of misc, then /cache/recovery/command):
  --update_package=PATH (or --update-zip=PATH)  --wipe_data  --wipe_cache  --locale=xx_YY
  --send_intent=TEXT  --show_text  --just_exit  --stages=N
  since 5.0 and 7.1: --shutdown_after --reason=TEXT --retry_count=N --security …

Not in the original:
  --device FILE             device description (default: this machine is the board)
  --era 4.4|7.1             whose recovery and updater (default: recovery of 4.4, the updater told from the script)
  --keys FILE               trusted keys (default: keys of the description, else /res/keys or otacerts.zip of the device)
  --misc NODE               node of the control block (default: /misc of recovery.fstab, or a node named …/misc)
  --screen FILE  --screen-size WxH  --screen-depth 16|24|32
  --run-scripts             run programs that scripts name on this machine although the device is an image
  --run-update-binary       run the package's own program instead of our interpreter (a board only)
  --json                    print the result as JSON behind the text
  --vendor-compatible       the bare verdicts and results of the original

Exit codes are recovery's status: 0 success, 1 error, 2 corrupt or not trusted, 3 nothing to do, 4 skipped, 5 retry;
90 the package goes on at its next stage: restart, and run recovery again.
Of failures around it: 64 wrong options of ours, 69 no device (its description, its lock), 7 interrupted.
`;

/** As the updater's. */
const EXIT_RESTART = 90;

const WITH_VALUE = ["device", "era", "keys", "misc", "screen", "screen-size", "screen-depth"] as const;
const FLAGS = ["run-scripts", "run-update-binary", "json", "vendor-compatible", "help"] as const;

interface Parsed {
  readonly values: ReadonlyMap<string, string>;
  /** Recovery's own, byte strings. */
  readonly own: readonly string[];
}

/** Takes our options out; `-d FILE` is `--device FILE`. @throws OtaError USAGE */
export function parseRecoveryCommand(argv: readonly string[]): Parsed {
  const values = new Map<string, string>();
  const own: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] as string;
    const [, name = "", inline] = /^--([^=]+)(?:=(.*))?$/s.exec(arg === "-d" ? "--device" : arg) ?? [];
    if ((WITH_VALUE as readonly string[]).includes(name)) {
      const value = inline ?? argv[++i];
      if (value === undefined) throw new OtaError("USAGE", { what: "the option needs a value", where: `--${name}` });
      values.set(name, value);
    } else if ((FLAGS as readonly string[]).includes(name) && inline === undefined) values.set(name, "");
    else own.push(fromLatin1(new TextEncoder().encode(arg)));
  }
  const era = values.get("era");
  if (era !== undefined && era !== "4.4" && era !== "7.1") {
    throw new OtaError("USAGE", { what: "no such era", where: "--era", expected: "4.4 or 7.1", found: era });
  }
  return { values, own };
}

async function textOf(device: OpenedDevice, path: string): Promise<Uint8Array | undefined> {
  try {
    if ((await device.files.stat(path))?.kind !== "file") return undefined;
    const file = await device.files.open(path, "read");
    try {
      return await file.read(0, Math.min(file.size, 4 << 20));
    } finally {
      await file.close();
    }
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return undefined;
  }
}

/** recovery.fstab of the device; version 2 where its lines have five fields. */
async function readFstab(device: OpenedDevice): Promise<Fstab> {
  const bytes = await textOf(device, "/etc/recovery.fstab");
  if (bytes === undefined) return new Map();
  const text = decodeText(bytes);
  for (const version of [2, 1] as const) {
    try {
      return parseFstab(text, version);
    } catch (e) {
      if (!isOtaError(e)) throw e;
    }
  }
  return new Map();
}

/** Nodes of the fstab's lines by mount point: flash partitions stand there by their name. */
async function fstabNodes(device: OpenedDevice, fstab: Fstab): Promise<ReadonlyMap<string, string>> {
  const nodes = new Map<string, string>();
  for (const [at, line] of fstab) {
    const named = partitionType(line.fsType) === "MTD" && !line.device.startsWith("/");
    const node = named ? await findMtd(device, line.device) : line.device;
    if (node !== undefined) nodes.set(at, node);
  }
  return nodes;
}

const KEY_FILES = ["/res/keys", "/system/etc/security/otacerts.zip"];

async function trustedKeys(
  device: OpenedDevice,
  files: readonly string[],
  era: EdifyEra,
): Promise<readonly VerifierKey[]> {
  if (files.length > 0) return loadAndroidKeys(files, era);
  for (const name of KEY_FILES) {
    const bytes = await textOf(device, name);
    if (bytes !== undefined) return readKeys(bytes, { name, codecs: device.codecs, era });
  }
  throw new OtaError("DEVICE_NOT_FOUND", { what: "the device has no keys", where: KEY_FILES.join(", ") });
}

function screenOf(values: ReadonlyMap<string, string>, device: OpenedDevice): ScreenChoice | undefined {
  const described = device.description.framebuffer;
  const path = values.get("screen");
  if (path === undefined) return described === undefined ? undefined : describedScreen(described);
  const size = values.get("screen-size");
  const depth = values.get("screen-depth");
  return {
    path,
    ...(size === undefined ? {} : parseScreenSize(size)),
    ...(depth === undefined ? {} : { depth: parseScreenNumber(depth, "--screen-depth") }),
  };
}

async function run({ values, own }: Parsed, io: Io, device: OpenedDevice): Promise<number> {
  const fstab = await readFstab(device);
  const lines = await fstabNodes(device, fstab);
  const mounts = device.description.mounts ?? {};
  const nodeOf = (at: string): string | undefined => {
    const mount = mounts[at];
    return mount === undefined ? lines.get(at) : (mount.node ?? at);
  };
  const fileSystemOf = (at: string): { readonly fsType: string; readonly sizeBytes?: number } => {
    const line = fstab.get(at);
    const length = line?.length ?? 0;
    const fsType = mounts[at]?.fsType ?? line?.fsType ?? "ext4";
    return { fsType, ...(length === 0 ? {} : { sizeBytes: length }) };
  };
  const nodes = Object.keys(device.description.nodes ?? {});
  const misc = values.get("misc") ?? lines.get("/misc") ?? nodes.find((node) => node.endsWith("/misc"));
  const chosen = values.get("era") as EdifyEra | undefined;
  const era = chosen ?? "4.4";
  const keyFile = values.get("keys");
  const keyFiles = keyFile === undefined ? (device.description.keys ?? []) : [resolve(io.cwd, keyFile)];
  const choice = screenOf(values, device);
  const screen =
    choice === undefined
      ? undefined
      : await openProgressScreen(choice, io.cwd, (text) => io.err(`recovery: warning: ${text}\n`));
  const board = device.kind === "board";
  const ui = recoveryScreen(io, screen, board);
  try {
    const outcome = await runRecovery({
      device,
      era,
      scriptEra: chosen ?? "guess",
      profile: values.has("vendor-compatible") ? "vendor" : "safe",
      commandLine: own,
      ui,
      // A later key type is no reason to refuse when nobody asked for the old recovery.
      keys: () => trustedKeys(device, keyFiles, chosen ?? "7.1"),
      misc,
      nodeOf,
      fileSystemOf,
      battery: () => readBattery(device),
      warn: (text) => io.err(`recovery: ${text}`),
      cancel: io.signal,
      ...(board ? { sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) } : {}),
      ...(values.has("run-update-binary")
        ? {
            runUpdateBinary: async (reader, path, pipe) => {
              const zip = await openUpdateZip(device, reader);
              const log = (text: string): void => io.err(text);
              return { exitCode: await runUpdateBinary({ zip, path, pipe, log }) };
            },
          }
        : {}),
    });
    io.out(`sys.powerctl=${outcome.reboot}\n`);
    if (values.has("json")) {
      const { status, reboot, unfinished, log } = outcome;
      io.out(`${JSON.stringify({ status, reboot, unfinished, log })}\n`);
    }
    if (!outcome.unfinished || outcome.status !== 0) return outcome.status;
    io.err("recovery: the package is not installed yet: it goes on at its next stage when recovery runs again\n");
    return EXIT_RESTART;
  } finally {
    await ui.stop();
    await screen?.close();
  }
}

export async function recoveryMain(argv: readonly string[], io: Io): Promise<number> {
  const parsed = parseRecoveryCommand(argv);
  const { values } = parsed;
  if (values.has("help")) {
    io.out(HELP);
    return 0;
  }
  const file = values.get("device");
  const device = await openDevice(file === undefined ? undefined : resolve(io.cwd, file), {
    runScripts: values.has("run-scripts"),
  });
  try {
    if (values.has("run-update-binary")) checkRunUpdateBinary(device.kind);
    const lock = await acquireLock(device, "recovery");
    try {
      return await run(parsed, io, device);
    } finally {
      await lock.release();
    }
  } finally {
    await device.close();
  }
}
