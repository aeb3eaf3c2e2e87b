/** Files that stand for UBI volumes, with the kernel's update marker kept in the state folder. */
import { unlink } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OtaError, checkRange, memoryReader } from "../../core/index.ts";
import type { FileStore, UbiVolumes } from "../../core/index.ts";
import type { DeviceDescription } from "../description.ts";
import { checkInside } from "../disk/raw-file.ts";
import { readExactly, writeAll } from "../file-reader.ts";
import { openJournal } from "../journal.ts";
import { deviceError } from "../system-errors.ts";

interface Volume {
  readonly file: string;
  readonly name: string;
  readonly size: number;
  readonly type: "static" | "dynamic";
  readonly updating: boolean;
}

/** What differs from the description: null for a volume that was removed. */
type Changes = Record<string, Volume | null>;

interface Parsed {
  readonly device: string;
  readonly id: number;
}

/** `/dev/ubi0_3` is volume 3 of `/dev/ubi0_`. @throws OtaError DEVICE_DESCRIPTION */
function parse(path: string): Parsed {
  const match = /^(.*_)(\d+)$/.exec(path);
  if (match !== null) return { device: match[1] as string, id: Number(match[2]) };
  throw new OtaError("DEVICE_DESCRIPTION", { what: "a UBI volume's node ends in `_` and a number", where: path });
}

export interface ImageUbi extends UbiVolumes {
  size(path: string): Promise<number | undefined>;
}

export interface ImageUbiOptions {
  readonly nodes: NonNullable<DeviceDescription["nodes"]>;
  readonly freeBytes: number;
  readonly state: FileStore;
  readonly mounted: () => Promise<ReadonlySet<string>>;
}

/** {@link UbiVolumes} of an image device. */
export function imageUbi({ nodes, freeBytes, state, mounted }: ImageUbiOptions): ImageUbi {
  const journal = openJournal<Changes>(state, "ubi-volumes");

  const described = async (): Promise<Map<string, Volume>> => {
    const volumes = new Map<string, Volume>();
    for (const [path, node] of Object.entries(nodes)) {
      if (node.kind !== "ubi") continue;
      const size = node.size ?? (await stat(node.file).catch(() => undefined))?.size ?? 0;
      const { id } = parse(path);
      const { file, name = `vol${id}`, type = "dynamic" } = node;
      volumes.set(path, { file, name, size, type, updating: false });
    }
    return volumes;
  };

  const all = async (): Promise<Map<string, Volume>> => {
    const volumes = await described();
    // Most descriptions have no UBI volume, and none can be made where there is none.
    if (volumes.size === 0) return volumes;
    for (const [path, change] of Object.entries((await journal.load()) ?? {})) {
      if (change === null) volumes.delete(path);
      else volumes.set(path, change);
    }
    return volumes;
  };

  const known = async (path: string): Promise<Volume> => {
    const volume = (await all()).get(path);
    if (volume !== undefined) return volume;
    throw new OtaError("DEVICE_NOT_FOUND", { what: "no such UBI volume", where: path });
  };

  const save = async (changes: Changes): Promise<void> => {
    await journal.save({ ...(await journal.load()), ...changes });
  };

  /** Free bytes of the UBI device: what was described, less what was made and plus what was removed since. */
  const available = async (path: string): Promise<number> => {
    const { device } = parse(path);
    const sum = (volumes: Map<string, Volume>): number =>
      [...volumes].filter(([p]) => parse(p).device === device).reduce((total, [, v]) => total + v.size, 0);
    return freeBytes + sum(await described()) - sum(await all());
  };

  const refuseMounted = async (path: string): Promise<void> => {
    if ((await mounted()).has(path)) {
      throw new OtaError("DEVICE_BUSY", { what: "the UBI volume is mounted", where: path });
    }
  };

  return {
    size: async (path) => (await all()).get(path)?.size,
    async info(path) {
      const volume = (await all()).get(path);
      if (volume === undefined) return undefined;
      const { name, size, type, updating } = volume;
      return { name, size, type, updating, volumeId: parse(path).id, availableBytes: await available(path) };
    },
    async update(path, size, content) {
      const volume = await known(path);
      await refuseMounted(path);
      checkInside(path, volume.size, 0, size);
      await save({ [path]: { ...volume, updating: true } });
      const file = await open(volume.file, "w").catch((e: unknown) => {
        throw deviceError(e, volume.file);
      });
      try {
        let offset = 0;
        for await (const chunk of content) {
          if (offset + chunk.length > size) {
            offset = -1;
            break;
          }
          await writeAll(file, offset, chunk, path);
          offset += chunk.length;
        }
        if (offset !== size) {
          throw new OtaError("DEVICE_IO", { what: "content has another size than announced", where: path });
        }
        await file.sync();
      } finally {
        await file.close();
      }
      await save({ [path]: { ...volume, updating: false } });
    },
    async create(beside, name, size) {
      const { device } = parse(beside);
      const neighbour = await known(beside);
      const volumes = await all();
      for (const [path, volume] of volumes) {
        if (parse(path).device === device && volume.name === name) {
          throw new OtaError("DEVICE_EXISTS", { what: "a UBI volume of this name exists", where: name });
        }
      }
      const free = await available(beside);
      if (size > free) {
        throw new OtaError("DEVICE_NO_SPACE", {
          what: "no room for another UBI volume",
          where: beside,
          expected: size,
          found: free,
        });
      }
      let id = 0;
      while (volumes.has(`${device}${id}`)) id++;
      const path = `${device}${id}`;
      const file = join(dirname(neighbour.file), `${path.slice(path.lastIndexOf("/") + 1)}.volume`);
      await (await open(file, "w")).close();
      await save({ [path]: { file, name, size, type: "dynamic", updating: false } });
      return path;
    },
    async remove(path) {
      const volume = await known(path);
      await refuseMounted(path);
      await save({ [path]: null });
      if (nodes[path] === undefined) await unlink(volume.file).catch(() => undefined);
    },
    async swapNames(a, b) {
      const [first, second] = [await known(a), await known(b)];
      if (parse(a).device !== parse(b).device) {
        throw new OtaError("DEVICE_WRONG_KIND", { what: "the volumes lie on two UBI devices", where: `${a}, ${b}` });
      }
      await save({ [a]: { ...first, name: second.name }, [b]: { ...second, name: first.name } });
    },
    async open(path) {
      const volume = await known(path);
      if (volume.updating) {
        throw new OtaError("DEVICE_VOLUME_DAMAGED", {
          what: "an update of the UBI volume was begun and not finished",
          where: path,
          hint: "Run the update again.",
        });
      }
      const file = await open(volume.file, "r").catch((e: unknown) => {
        if ((e as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw deviceError(e, volume.file);
      });
      // A described volume whose file nobody has written is a new one: there is nothing in it.
      if (file === undefined) return { ...memoryReader(new Uint8Array(0)), close: async () => undefined };
      const { size } = await file.stat();
      return {
        size,
        async read(offset, length) {
          checkRange(size, offset, length);
          return readExactly(file, offset, length, path);
        },
        close: () => file.close(),
      };
    },
  };
}
