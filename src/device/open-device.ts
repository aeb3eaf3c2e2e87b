/** Opens what a description stands for: a board, or files and folders on a PC. */
import { existsSync, mkdirSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OtaError } from "../core/index.ts";
import type { Device, FileStore, Mounts, Properties } from "../core/index.ts";
import { boardLabels } from "./board/board-labels.ts";
import { boardMounts } from "./board/board-mounts.ts";
import { boardNodes } from "./board/board-nodes.ts";
import { boardUbi } from "./board/board-ubi.ts";
import { nodeCodecs } from "./codecs.ts";
import { descriptionKind, readDescription } from "./description.ts";
import type { LocatedDescription } from "./description.ts";
import { nodeDigests } from "./digests.ts";
import { AttributeStore } from "./disk/attribute-store.ts";
import { diskFiles } from "./disk/disk-files.ts";
import type { DiskArea } from "./disk/disk-files.ts";
import { CARD_NODE, badBlocksIn, imageNodes } from "./image/image-nodes.ts";
import { imageLoop, mountsImages, releaseLeftovers } from "./image/image-loops.ts";
import type { ImageLoop } from "./image/image-loops.ts";
import { ImageMounts } from "./image/image-mounts.ts";
import { imageUbi } from "./image/image-ubi.ts";
import { normalPath } from "./paths.ts";
import { unpackedImage } from "./image/unpacked-image.ts";
import { runProgram } from "./run-program.ts";
import { notedScripts, shellScripts } from "./shell-scripts.ts";
import { deviceError } from "./system-errors.ts";

/** Where a board keeps its state when the description does not say. */
export const BOARD_STATE = "/var/lib/otaforge";

export interface OpenDeviceOptions {
  /** Image device: run scripts on this machine instead of noting them. */
  readonly runScripts?: boolean;
  /** The running slot, instead of the description's. */
  readonly running?: "a" | "b";
}

/** A device with the description it was opened from. */
export interface OpenedDevice extends Device {
  /** Paths are absolute. Without a description: empty but for `file: undefined`. */
  readonly description: LocatedDescription;
  /** Real folder of the state. */
  readonly stateFolder: string;
  close(): Promise<void>;
}

function openState(folder: string): FileStore {
  try {
    mkdirSync(folder, { recursive: true });
    return diskFiles({ areas: [{ at: "/", folder: realpathSync(folder) }] });
  } catch (e) {
    throw deviceError(e, folder) as Error;
  }
}

function boardProperties(described: Readonly<Record<string, string>>): Properties {
  return {
    async get(name) {
      const known = described[name];
      if (known !== undefined) return known;
      const found = await runProgram("getprop", [name]).catch(() => undefined);
      const text = found?.exitCode === 0 ? new TextDecoder().decode(found.stdout).trim() : "";
      return text === "" ? undefined : text;
    },
  };
}

const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };

const mountedNodes = (mounts: Mounts) => async (): Promise<ReadonlySet<string>> =>
  new Set((await mounts.list()).map(({ node }) => node));

function optional(
  description: LocatedDescription,
  running: "a" | "b" | undefined,
): Pick<Device, "hardware" | "running"> {
  const slot = running ?? description.running;
  return {
    ...(description.hardware === undefined ? {} : { hardware: description.hardware }),
    ...(slot === undefined ? {} : { running: slot }),
  };
}

function openImage(description: LocatedDescription, options: OpenDeviceOptions): OpenedDevice {
  const stateFolder = description.state ?? join(dirname(description.file ?? "DEVICE.json"), ".otaforge");
  const state = openState(stateFolder);
  const real = (folder: string): string => {
    if (existsSync(folder)) return realpathSync(folder);
    const hint = "Make it, or correct the device description.";
    throw new OtaError("DEVICE_NOT_FOUND", {
      what: "a folder of the device description is missing",
      where: folder,
      hint,
    });
  };
  const { root } = description;
  const areas: DiskArea[] = root === undefined ? [] : [{ at: "/", folder: real(root) }];
  const nodes = { ...description.nodes };
  if (description.card !== undefined) nodes[CARD_NODE] = { file: description.card, kind: "block" };
  const loops = new Map<string, ImageLoop>();
  for (const [path, mount] of Object.entries(description.mounts ?? {})) {
    const { image, fsType = "ext4", readOnly, freeBytes, volatile } = mount;
    const at = normalPath(path);
    const described = { file: image ?? "", fsType, readOnly: readOnly ?? false };
    const unpacked = image === undefined || mountsImages() ? undefined : unpackedImage(described, at, runProgram);
    const loop = image === undefined ? undefined : (unpacked ?? imageLoop(described, runProgram));
    if (loop !== undefined) loops.set(at, loop);
    areas.push({
      at,
      folder: mount.dir === undefined ? undefined : real(mount.dir),
      ...(loop === undefined ? {} : { openFolder: () => mounts.imageFolder(at, loop) }),
      ...(unpacked === undefined ? {} : { notes: unpacked.notes, freeBytes: () => unpacked.freeBytes() }),
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(freeBytes === undefined ? {} : { freeBytes }),
      ...(volatile === undefined ? {} : { volatile }),
    });
    if (mount.image !== undefined && mount.node !== undefined) {
      nodes[mount.node] ??= { file: mount.image, kind: "block" };
    }
  }
  const noted = new AttributeStore(join(stateFolder, "attributes"));
  const files = diskFiles({ areas, noted, labels: boardLabels(runProgram) });
  const mounts = new ImageMounts(description, files, loops);
  const mounted = mountedNodes(mounts);
  const ubi = imageUbi({ nodes, freeBytes: description.ubiFreeBytes ?? 0, state, mounted });
  return {
    kind: "image",
    ...optional(description, options.running),
    description,
    stateFolder,
    nodes: imageNodes({ nodes, files, marked: badBlocksIn(state), mounted, ubiSize: (path) => ubi.size(path) }),
    files,
    ubi,
    scripts: options.runScripts === true ? shellScripts(root) : notedScripts,
    properties: { get: async (name) => description.properties?.[name] },
    mounts,
    clock,
    digests: nodeDigests,
    codecs: nodeCodecs,
    state,
    bootId: async () => undefined,
    async close() {
      for (const loop of loops.values()) await loop.release();
    },
  };
}

function openBoard(description: LocatedDescription, options: OpenDeviceOptions): OpenedDevice {
  const stateFolder = description.state ?? BOARD_STATE;
  const files = diskFiles({ areas: [{ at: "/", folder: "/" }], labels: boardLabels(runProgram) });
  const mounts = boardMounts(runProgram);
  const mounted = mountedNodes(mounts);
  const alias = description.card === undefined ? {} : { [CARD_NODE]: description.card };
  return {
    kind: "board",
    ...optional(description, options.running),
    description,
    stateFolder,
    nodes: boardNodes(files, runProgram, mounted, alias),
    files,
    ubi: boardUbi(runProgram, mounted),
    scripts: shellScripts(undefined),
    properties: boardProperties(description.properties ?? {}),
    mounts,
    clock,
    digests: nodeDigests,
    codecs: nodeCodecs,
    state: openState(stateFolder),
    bootId: async () => {
      const id = await readFile("/proc/sys/kernel/random/boot_id", "latin1").catch(() => undefined);
      return id?.trim();
    },
    async close() {},
  };
}

/**
 * Opens the device a description stands for; without one, the board this program runs on.
 * @throws OtaError DEVICE_DESCRIPTION, DEVICE_NOT_FOUND, DEVICE_READ_ONLY (the state folder cannot be made), DEVICE_BUSY (a killed
 *   run left an image mounted and a program uses it)
 */
export async function openDevice(
  descriptionPath: string | undefined,
  options: OpenDeviceOptions = {},
): Promise<OpenedDevice> {
  const description: LocatedDescription =
    descriptionPath === undefined ? { file: undefined } : await readDescription(descriptionPath);
  const kind = descriptionPath === undefined ? "board" : descriptionKind(description);
  if (kind === "board") return openBoard(description, options);
  const images = Object.values(description.mounts ?? {}).flatMap(({ image }) => (image === undefined ? [] : [image]));
  await releaseLeftovers(images, runProgram);
  return openImage(description, options);
}
