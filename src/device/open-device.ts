/** Opens what a description stands for: a board, or files and folders on a PC. */
import { existsSync, mkdirSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OtaError } from "../core/index.ts";
import type { Device, FileStore, MountInfo, Mounts, Properties } from "../core/index.ts";
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
import { imageUbi } from "./image/image-ubi.ts";
import { normalPath } from "./paths.ts";
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

/** Mounts of an image: which of the described ones an installer finds or makes mounted. */
class ImageMounts implements Mounts {
  readonly #described: readonly (MountInfo & { readonly from: string })[];
  readonly #folders: ReadonlySet<string>;
  readonly #files: FileStore;
  #mounted: MountInfo[];

  constructor(description: LocatedDescription, files: FileStore) {
    this.#files = files;
    this.#folders = new Set(
      Object.entries(description.mounts ?? {}).flatMap(([at, { dir }]) => (dir === undefined ? [] : [normalPath(at)])),
    );
    // A recovery starts with nothing mounted and mounts what it needs; the other families update a running system.
    const byDefault = description.family !== "android";
    this.#described = Object.entries(description.mounts ?? {}).map(([at, mount]) => ({
      at: normalPath(at),
      node: mount.node ?? normalPath(at),
      readOnly: mount.readOnly ?? false,
      from: (mount.mounted ?? byDefault) ? "start" : "later",
      ...(mount.fsType === undefined ? {} : { fsType: mount.fsType }),
    }));
    this.#mounted = this.#described.filter(({ from }) => from === "start").map(({ from: _, ...info }) => info);
  }

  async list(): Promise<readonly MountInfo[]> {
    return this.#mounted.slice();
  }

  async mount(node: string, at: string, { fsType }: { fsType: string }): Promise<void> {
    const where = normalPath(at);
    if (this.#mounted.some((mount) => mount.node === node && mount.at === where)) return;
    const known = this.#described.find((mount) => mount.node === node || mount.at === where);
    if (known === undefined) {
      throw new OtaError("DEVICE_NOT_FOUND", {
        what: "nothing to mount",
        where: `${node} at ${where}`,
        hint: "Describe it under mounts in the device description.",
      });
    }
    if (known.at !== where) {
      throw new OtaError("DEVICE_NOT_FOUND", {
        what: "the description shows this node at another folder",
        where: node,
        expected: known.at,
        found: where,
      });
    }
    this.#mounted.push({ at: where, node, readOnly: known.readOnly, fsType });
  }

  async knows(node: string): Promise<boolean> {
    return this.#described.some((mount) => mount.node === node);
  }

  async #empty(folder: string): Promise<void> {
    for (const name of await this.#files.list(folder)) {
      const path = `${folder}/${name}`;
      if ((await this.#files.stat(path))?.kind === "folder") await this.#empty(path);
      await this.#files.remove(path);
    }
    await this.#files.syncFolder(folder);
  }

  async format(node: string): Promise<void> {
    if (this.#mounted.some((mount) => mount.node === node)) {
      throw new OtaError("DEVICE_BUSY", { what: "is mounted", where: node });
    }
    const known = this.#described.find((mount) => mount.node === node && this.#folders.has(mount.at));
    if (known === undefined) {
      throw new OtaError("DEVICE_NOT_FOUND", {
        what: "nothing to format",
        where: node,
        hint: "Describe it under mounts in the device description, with a dir.",
      });
    }
    await this.#empty(known.at);
  }

  async unmount(at: string): Promise<void> {
    const where = normalPath(at);
    const rest = this.#mounted.filter((mount) => mount.at !== where);
    if (rest.length === this.#mounted.length) {
      throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing is mounted", where });
    }
    this.#mounted = rest;
  }
}

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
  for (const [at, mount] of Object.entries(description.mounts ?? {})) {
    const { readOnly, freeBytes, volatile } = mount;
    areas.push({
      at: normalPath(at),
      folder: mount.dir === undefined ? undefined : real(mount.dir),
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(freeBytes === undefined ? {} : { freeBytes }),
      ...(volatile === undefined ? {} : { volatile }),
    });
    if (mount.image !== undefined && mount.node !== undefined) {
      nodes[mount.node] ??= { file: mount.image, kind: "block" };
    }
  }
  const files = diskFiles({ areas, noted: new AttributeStore(join(stateFolder, "attributes")) });
  const mounts = new ImageMounts(description, files);
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
    async close() {},
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
 * @throws OtaError DEVICE_DESCRIPTION, DEVICE_NOT_FOUND, DEVICE_READ_ONLY (the state folder cannot be made)
 */
export async function openDevice(
  descriptionPath: string | undefined,
  options: OpenDeviceOptions = {},
): Promise<OpenedDevice> {
  const description: LocatedDescription =
    descriptionPath === undefined ? { file: undefined } : await readDescription(descriptionPath);
  const kind = descriptionPath === undefined ? "board" : descriptionKind(description);
  return kind === "board" ? openBoard(description, options) : openImage(description, options);
}
