/** Opens a K230's card for a command: a device description, or a file or node named on the command line. */
import { existsSync, mkdirSync, realpathSync, statSync } from "node:fs";
import { createHash } from "node:crypto";
import { rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Option, type Command } from "commander";
import { OtaError } from "../core/errors.ts";
import type { FileStore } from "../core/ports.ts";
import { nodeDigests } from "../device/digests.ts";
import { diskFiles } from "../device/disk/disk-files.ts";
import { openRawFile } from "../device/disk/raw-file.ts";
import { openFileReader } from "../device/file-reader.ts";
import type { OpenedDevice } from "../device/index.ts";
import { openCard, type CardOptions, type K230Card, type Medium } from "../k230/index.ts";
import type { Repacker } from "../delta/index.ts";
import type { Io } from "./io.ts";

export const MEDIA: readonly Medium[] = ["sdcard", "emmc", "spi-nand", "spi-nor"];

export interface CardValues {
  disk?: string;
  device?: string;
  medium?: Medium;
  running?: "a" | "b";
  state?: string;
  board?: string;
  chip?: string;
}

/** Adds the options that name the card. */
export function withCardOptions(command: Command): Command {
  return command
    .option("--disk <file>", "image of the whole medium, or its node")
    .option("--device <file>", "device description (DEVICE.json) instead of --disk")
    .addOption(new Option("--medium <medium>", "what the medium is (default: sdcard)").choices(MEDIA))
    .addOption(new Option("--running <slot>", "the slot that really runs").choices(["a", "b"]))
    .option("--state <dir>", "folder for the journal and trial counters of --disk")
    .option("--board <text>", "board text the image must have, where it has one")
    .option("--chip <text>", "chip text the image must have, where it has one");
}

/** The re-packers of this machine, for delta images. */
export const machineRepackers = async (): Promise<readonly Repacker[]> =>
  (await import("../delta/repackers.node.ts")).allRepackers();

/** What a device's description says of its card. */
export function cardOptions(device: Pick<OpenedDevice, "description">): CardOptions {
  const { medium, loader, board, chip } = device.description;
  return {
    ...(medium === undefined ? {} : { medium }),
    ...(board === undefined ? {} : { board }),
    ...(chip === undefined ? {} : { chip }),
    ...(loader === undefined ? {} : { readsMetaOn: loader.readsMetaOn }),
  };
}

export interface OpenedCard {
  readonly card: K230Card;
  /** The described device; absent for a card that was named by its file. */
  readonly device?: OpenedDevice;
  close(): Promise<void>;
}

function stateStore(folder: string, mode = 0o777): FileStore {
  mkdirSync(folder, { recursive: true, mode });
  return diskFiles({ areas: [{ at: "/", folder: realpathSync(folder) }] });
}

/**
 * The card the options name. Opened for writing it is locked when there is a device description.
 * @throws OtaError USAGE, DEVICE_*
 */
export async function openCardOf(
  values: CardValues,
  io: Io,
  use: { access: "read" | "write"; command: string },
): Promise<OpenedCard> {
  if (values.device !== undefined) return openDescribed(values, values.device, io, use);
  if (values.disk === undefined) {
    throw new OtaError("USAGE", { what: "no card was named", hint: "Give --disk FILE or --device DEVICE.json." });
  }
  const path = resolve(io.cwd, values.disk);
  const reader = await openFileReader(path);
  await reader.close();
  const file = realpathSync(path);
  const exclusive = statSync(file).isBlockDevice();
  const lock = use.access === "write" ? await lockMedium(file, use.command) : undefined;
  const opening = openRawFile({ file, path: values.disk, size: reader.size, access: use.access, exclusive });
  const target = await opening.catch(async (e: unknown) => {
    await lock?.release();
    throw e;
  });
  const { medium = "sdcard", running, board, chip, state } = values;
  const card: K230Card = {
    target,
    medium,
    digests: nodeDigests,
    repackers: machineRepackers,
    ...(running === undefined ? {} : { running }),
    ...(board === undefined ? {} : { board }),
    ...(chip === undefined ? {} : { chip }),
    ...(state === undefined ? {} : { state: stateStore(resolve(io.cwd, state)) }),
  };
  const close = async (): Promise<void> => {
    await target.close();
    await lock?.release();
  };
  return { card, close };
}

/** A medium named without a description has no state folder: its lock lies with the temporary files, by its real path. */
async function lockMedium(file: string, command: string): Promise<{ release(): Promise<void> }> {
  const { acquireLock } = await import("../device/processes.ts");
  const name = createHash("sha256").update(file).digest("hex").slice(0, 32);
  // Not os.userInfo(): a board may have no /etc/passwd.
  const folder = join(tmpdir(), `otaforge-locks-${process.getuid?.() ?? 0}`, name);
  const state = stateStore(folder, 0o700);
  const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
  const lock = await acquireLock({ state, clock, bootId: async () => undefined }, command);
  return {
    async release() {
      await lock.release();
      // Not empty: another installer is about to take it.
      await rmdir(folder).catch(() => undefined);
    },
  };
}

async function openDescribed(
  values: CardValues,
  file: string,
  io: Io,
  { access, command }: { access: "read" | "write"; command: string },
): Promise<OpenedCard> {
  if (values.disk !== undefined) throw new OtaError("USAGE", "--disk and --device exclude each other");
  const path = resolve(io.cwd, file);
  if (!existsSync(path)) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such device description", where: file });
  // Loaded only here: on a small board every megabyte of a description's reader counts.
  const { acquireLock, openDevice } = await import("../device/index.ts");
  const device = await openDevice(path, values.running === undefined ? {} : { running: values.running });
  const lock = access === "write" ? await acquireLock(device, command) : undefined;
  try {
    const { medium, board, chip } = values;
    const options = {
      ...cardOptions(device),
      repackers: machineRepackers,
      ...(medium === undefined ? {} : { medium }),
      ...(board === undefined ? {} : { board }),
      ...(chip === undefined ? {} : { chip }),
    };
    const card = await openCard(device, options, access);
    const close = async (): Promise<void> => {
      await card.target.close();
      await lock?.release();
      await device.close();
    };
    return { card, device, close };
  } catch (e) {
    await lock?.release();
    await device.close();
    throw e;
  }
}
