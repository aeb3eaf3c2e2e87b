/** A simulated copy of an opened device: what a rehearsal works on, so that nothing real is ever written. */
import { OtaError, formatBytes } from "../core/index.ts";
import type { BlockTarget, Device, FileStore, RandomReader } from "../core/index.ts";
import { CARD_NODE } from "./image/image-nodes.ts";
import type { OpenedDevice } from "./open-device.ts";
import { openExt4 } from "./ext4/ext4-image.ts";
import type { Ext4Image } from "./ext4/ext4-image.ts";
import { openFileReader } from "./file-reader.ts";
import { normalPath } from "./paths.ts";
import { FILE_BLOCK } from "./simulated/file-system-medium.ts";
import type {
  SimulatedFile,
  SimulatedFileSystem,
  SimulatedNode,
  SimulatedSpec,
  SimulatedVolume,
} from "./simulated/index.ts";

/** What a copy may hold by default, bytes: it lies in the memory of every thread. */
export const MAX_COPY = 256 * 1024 * 1024;

/** Counts what is copied and stops in time. */
class Budget {
  /** Bytes that may still be copied. */
  left: number;
  readonly #limit: number;

  constructor(limit: number) {
    this.left = this.#limit = limit;
  }

  async read(reader: RandomReader, where: string): Promise<Uint8Array> {
    this.take(reader.size, where);
    return reader.read(0, reader.size);
  }

  take(bytes: number, where: string): void {
    this.left -= bytes;
    if (this.left < 0) {
      throw new OtaError("DEVICE_TOO_SMALL", {
        what: "the device is too large to be rehearsed in memory",
        where,
        expected: `at most ${formatBytes(this.#limit)} in all nodes and files`,
        hint: "Describe a smaller device: the targets of the package, with as many bytes as matter.",
      });
    }
  }
}

async function closing<T extends { close(): Promise<void> }, R>(
  opened: T,
  work: (opened: T) => Promise<R>,
): Promise<R> {
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

async function copyNode(device: Device, path: string, budget: Budget): Promise<SimulatedNode | undefined> {
  const info = await device.nodes.info(path);
  if (info === undefined || info.kind === "ubi" || info.kind === "file") return undefined;
  const { kind, size, eraseSize, writeSize } = info;
  return closing(await device.nodes.open(path, "read"), async (node: BlockTarget) => {
    const badBlocks: number[] = [];
    for (let at = 0; node.isBad !== undefined && at < size; at += eraseSize ?? size) {
      if (await node.isBad(at)) badBlocks.push(at / (eraseSize ?? size));
    }
    return {
      kind,
      size,
      content: await budget.read(node, path),
      ...(eraseSize === undefined ? {} : { eraseSize }),
      ...(writeSize === undefined ? {} : { writeSize }),
      ...(badBlocks.length === 0 ? {} : { badBlocks }),
    };
  });
}

async function copyVolume(device: Device, path: string, budget: Budget): Promise<SimulatedVolume | undefined> {
  const info = await device.ubi.info(path);
  if (info === undefined) return undefined;
  const { name, size, type, updating } = info;
  if (updating) return { name, size, type, updating };
  const content = await closing(await device.ubi.open(path), (volume) => budget.read(volume, path));
  return { name, size, type, content };
}

/** Copies what lies in folders, and counts the space it takes. */
class FileCopy {
  files: Record<string, SimulatedFile> = {};
  readonly #store: FileStore;
  readonly #budget: Budget;
  /** Folders that are file systems of their own. */
  readonly #borders: ReadonlySet<string>;

  constructor(store: FileStore, budget: Budget, borders: ReadonlySet<string>) {
    this.#store = store;
    this.#budget = budget;
    this.#borders = borders;
  }

  /**
   * Everything below `folder` in its file system; sockets, pipes and device nodes are left out, hard links become files of their
   * own. Gives the bytes of the blocks it takes.
   */
  async folder(folder: string): Promise<number> {
    let used = 0;
    for (const name of await this.#store.list(folder)) {
      const path = folder === "/" ? `/${name}` : `${folder}/${name}`;
      if (!this.#borders.has(path)) used += await this.#one(path);
    }
    return used;
  }

  /** Everything in an ext4 image that is seen at `at`. Gives the bytes of the blocks it takes. */
  async image(at: string, image: Ext4Image): Promise<number> {
    let used = 0;
    for await (const entry of image.entries()) {
      const { path, kind, attributes, size, link } = entry;
      this.#budget.take(size, at);
      this.files[at + path] = {
        ...attributes,
        kind,
        ...(link === undefined ? {} : { link }),
        ...(kind === "file" ? { content: await entry.content() } : {}),
      };
      used += Math.ceil(size / FILE_BLOCK) * FILE_BLOCK;
    }
    return used;
  }

  async #one(path: string): Promise<number> {
    const info = await this.#store.stat(path);
    if (info === undefined || info.kind === "other") return 0;
    const attributes = await this.#store.attributes(path);
    if (info.kind === "link") {
      this.files[path] = { ...attributes, kind: "link", link: await this.#store.readLink(path) };
      return 0;
    }
    if (info.kind === "folder") {
      this.files[path] = { ...attributes, kind: "folder" };
      return this.folder(path);
    }
    const file = await this.#store.open(path, "read");
    const content = await closing(file, () => this.#budget.read(file, path));
    this.files[path] = { ...attributes, kind: "file", content };
    return Math.ceil(content.length / FILE_BLOCK) * FILE_BLOCK;
  }
}

async function copyState(state: FileStore, budget: Budget): Promise<Record<string, Uint8Array>> {
  const copy: Record<string, Uint8Array> = {};
  for (const name of await state.list("/")) {
    // A lock belongs to a process of this machine, the notes of an image device to its real files.
    if (name.startsWith("lock") || name.startsWith("attributes")) continue;
    if ((await state.stat(`/${name}`))?.kind !== "file") continue;
    copy[name] = await closing(await state.open(`/${name}`, "read"), (file) => budget.read(file, name));
  }
  return copy;
}

interface CopiedFiles {
  readonly files: Record<string, SimulatedFile>;
  readonly fileSystems: Record<string, SimulatedFileSystem>;
}

const NO_FILES: CopiedFiles = { files: {}, fileSystems: {} };

/** The files of a mount's image; what cannot be read says so when it is mounted, since a package may only write its blocks. */
async function imageSpace(
  copy: FileCopy,
  at: string,
  file: string,
): Promise<Pick<SimulatedFileSystem, "capacityBytes" | "unreadable">> {
  const before = { ...copy.files };
  let size = 0;
  try {
    return await closing(await openFileReader(file), async (reader) => {
      ({ size } = reader);
      const image = await openExt4(reader);
      if (image === undefined) return { capacityBytes: size, unreadable: "the image holds no ext4 file system" };
      return { capacityBytes: (await copy.image(at, image)) + image.freeBytes };
    });
  } catch (e) {
    if (!(e instanceof OtaError) || e.code === "DEVICE_TOO_SMALL") throw e;
    copy.files = before;
    return { capacityBytes: size, unreadable: e.message };
  }
}

async function copyFileSystems(device: OpenedDevice, budget: Budget): Promise<CopiedFiles> {
  const { description } = device;
  const mounts = new Map(Object.entries(description.mounts ?? {}).map(([at, mount]) => [normalPath(at), mount]));
  const copy = new FileCopy(device.files, budget, new Set(mounts.keys()));
  const fileSystems: Record<string, SimulatedFileSystem> = {};
  const mounted = await device.mounts.list();
  const space = async (at: string): Promise<Pick<SimulatedFileSystem, "capacityBytes" | "volatile">> => {
    const used = await copy.folder(at);
    const { freeBytes, volatile } = await device.files.space(at);
    return { capacityBytes: used + freeBytes, volatile };
  };
  if (description.root !== undefined) fileSystems["/"] = await space("/");
  for (const [at, { dir, image, node, fsType, readOnly }] of mounts) {
    const place =
      dir !== undefined ? await space(at) : image !== undefined ? await imageSpace(copy, at, image) : undefined;
    if (place === undefined) continue;
    fileSystems[at] = {
      ...place,
      mounted: mounted.some((one) => one.at === at),
      ...(node === undefined ? {} : { node }),
      ...(fsType === undefined ? {} : { fsType }),
      ...(readOnly === undefined ? {} : { readOnly }),
    };
  }
  return { files: copy.files, fileSystems };
}

/**
 * Describes a simulated device that holds what an image device holds now. Plain data: worker threads make the device from it.
 * `more` names nodes beyond those of the description (a board describes none).
 * @throws OtaError DEVICE_TOO_SMALL when it is more than `maxBytes`, DEVICE_IO
 */
export async function copyToSimulation(
  device: OpenedDevice,
  { maxBytes = MAX_COPY, more = [] }: { readonly maxBytes?: number; readonly more?: readonly string[] } = {},
): Promise<SimulatedSpec> {
  const { description } = device;
  const budget = new Budget(maxBytes);
  const nodes: Record<string, SimulatedNode> = {};
  const ubi: Record<string, SimulatedVolume> = {};
  let ubiFreeBytes = 0;
  const imageNodes = Object.values(description.mounts ?? {}).flatMap(({ image, node }) =>
    image !== undefined && node !== undefined ? [node] : [],
  );
  const card = description.card === undefined ? [] : [CARD_NODE];
  for (const path of new Set([...Object.keys(description.nodes ?? {}), ...imageNodes, ...card, ...more])) {
    const volume = await copyVolume(device, path, budget);
    if (volume !== undefined) {
      ubi[path] = volume;
      ubiFreeBytes = (await device.ubi.info(path))?.availableBytes ?? 0;
      continue;
    }
    const node = await copyNode(device, path, budget);
    if (node !== undefined) nodes[path] = node;
  }
  const { files, fileSystems } = device.kind === "image" ? await copyFileSystems(device, budget) : NO_FILES;
  return {
    nodes,
    ubi,
    ubiFreeBytes,
    files,
    fileSystems,
    properties: description.properties ?? {},
    state: await copyState(device.state, budget),
    ...(device.hardware === undefined ? {} : { hardware: device.hardware }),
    ...(device.running === undefined ? {} : { running: device.running }),
  };
}
