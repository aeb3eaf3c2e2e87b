/** Mounts of an image device: folders and file system images that stand for file systems of a board. */
import { OtaError } from "../../core/index.ts";
import type { FileStore, MountInfo, Mounts } from "../../core/index.ts";
import type { LocatedDescription } from "../description.ts";
import { normalPath } from "../paths.ts";
import type { ImageLoop } from "./image-loops.ts";

/** Mounts of an image: which of the described ones an installer finds or makes mounted. */
export class ImageMounts implements Mounts {
  readonly #described: readonly (MountInfo & { readonly from: string })[];
  readonly #folders: ReadonlySet<string>;
  readonly #files: FileStore;
  readonly #loops: ReadonlyMap<string, ImageLoop>;
  #mounted: MountInfo[];

  /** `loops`: the images, by the folder they are seen at. */
  constructor(description: LocatedDescription, files: FileStore, loops: ReadonlyMap<string, ImageLoop>) {
    this.#files = files;
    this.#loops = loops;
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

  async known(node: string): Promise<{ readonly readOnly: boolean } | undefined> {
    return this.#described.find((mount) => mount.node === node);
  }

  async #empty(folder: string): Promise<void> {
    for (const name of await this.#files.list(folder)) {
      const path = `${folder}/${name}`;
      if ((await this.#files.stat(path))?.kind === "folder") await this.#empty(path);
      await this.#files.remove(path);
    }
    await this.#files.syncFolder(folder);
  }

  async format(
    node: string,
    { fsType, sizeBytes }: { readonly fsType: string; readonly sizeBytes?: number },
  ): Promise<void> {
    if (this.#mounted.some((mount) => mount.node === node)) {
      throw new OtaError("DEVICE_BUSY", { what: "is mounted", where: node });
    }
    const known = this.#described.find(
      (mount) => mount.node === node && (this.#folders.has(mount.at) || this.#loops.has(mount.at)),
    );
    if (known === undefined) {
      throw new OtaError("DEVICE_NOT_FOUND", {
        what: "nothing to format",
        where: node,
        hint: "Describe it under mounts in the device description, with a dir or an image.",
      });
    }
    const loop = this.#loops.get(known.at);
    if (loop === undefined) await this.#empty(known.at);
    else await loop.format(fsType, sizeBytes);
  }

  /** Folder with the files of an image: what a board sees at `at` while the image is mounted there. */
  async imageFolder(at: string, loop: ImageLoop): Promise<string> {
    if (this.#mounted.some((mount) => mount.at === at)) return loop.folder();
    throw new OtaError("DEVICE_NOT_FOUND", { what: "the file system image is not mounted", where: at });
  }

  async unmount(at: string): Promise<void> {
    const where = normalPath(at);
    const rest = this.#mounted.filter((mount) => mount.at !== where);
    if (rest.length === this.#mounted.length) {
      throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing is mounted", where });
    }
    await this.#loops.get(where)?.release();
    this.#mounted = rest;
  }
}
