/** UBI volumes of a board: described by sysfs, changed by the ubi programs of mtd-utils. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { OtaError } from "../../core/index.ts";
import type { ByteStream, UbiVolumes } from "../../core/index.ts";
import { checkInside, openRawFile } from "../disk/raw-file.ts";
import type { RunProgram } from "../run-program.ts";
import { sysAttribute, sysNode, sysNumber, ubiVolumeSize } from "../sysfs.ts";

/** Gives every byte of `content` and fails when it has another size: the volume then stays marked as damaged. */
async function* exactly(content: ByteStream, size: number, where: string): ByteStream {
  let given = 0;
  for await (const chunk of content) {
    given += chunk.length;
    if (given > size) break;
    yield chunk;
  }
  if (given !== size) throw new OtaError("DEVICE_IO", { what: "content has another size than announced", where });
}

/** {@link UbiVolumes} of a board. `sys` and `run` are there for tests. */
export function boardUbi(run: RunProgram, mounted: () => Promise<ReadonlySet<string>>, sys = "/sys"): UbiVolumes {
  const nameOf = async (path: string): Promise<string | undefined> => {
    const node = await sysNode(path, sys);
    return node?.kind === "ubi" ? node.name : undefined;
  };
  const known = async (path: string): Promise<string> => {
    const name = await nameOf(path);
    if (name !== undefined) return name;
    throw new OtaError("DEVICE_NOT_FOUND", { what: "no such UBI volume", where: path });
  };
  const need = async (where: string, program: string, args: readonly string[], input?: ByteStream): Promise<void> => {
    const { exitCode, stderr } = await run(program, args, input === undefined ? {} : { input });
    if (exitCode === 0) return;
    const found = stderr.trim().split("\n").pop() ?? `exit code ${exitCode}`;
    const full = /not enough|no space|ENOSPC/i.test(stderr);
    throw new OtaError(full ? "DEVICE_NO_SPACE" : "DEVICE_IO", { what: `${program} failed`, where, found });
  };
  const device = (name: string): string => name.replace(/_\d+$/, "");
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));
  const refuseMounted = async (path: string, name: string): Promise<void> => {
    const nodes = await mounted();
    const label = `${device(name)}:${(await sysAttribute(sys, "class/ubi", name, "name")) ?? ""}`;
    if ([path, name, `/dev/${name}`, label].some((known) => nodes.has(known))) {
      throw new OtaError("DEVICE_BUSY", { what: "the UBI volume is mounted", where: path });
    }
  };
  const infoOf = async (name: string): ReturnType<UbiVolumes["info"]> => {
    const at = (attribute: string): Promise<string | undefined> => sysAttribute(sys, "class/ubi", name, attribute);
    const leb = (await sysNumber(sys, "class/ubi", device(name), "eraseblock_size")) ?? 0;
    const free = (await sysNumber(sys, "class/ubi", device(name), "avail_eraseblocks")) ?? 0;
    return {
      name: (await at("name")) ?? name,
      volumeId: Number(/\d+$/.exec(name)?.[0]),
      size: await ubiVolumeSize(sys, name),
      type: (await at("type")) === "static" ? "static" : "dynamic",
      updating: (await at("upd_marker")) === "1" || (await at("corrupted")) === "1",
      availableBytes: leb * free,
    };
  };
  return {
    async info(path) {
      const name = await nameOf(path);
      return name === undefined ? undefined : infoOf(name);
    },
    async update(path, size, content) {
      const name = await known(path);
      await refuseMounted(path, name);
      checkInside(path, await ubiVolumeSize(sys, name), 0, size);
      await need(path, "ubiupdatevol", ["-s", String(size), path, "-"], exactly(content, size, path));
    },
    async create(beside, name, size) {
      const ubi = device(await known(beside));
      await need(beside, "ubimkvol", [`${folderOf(beside)}/${ubi}`, "-N", name, "-s", String(size)]);
      for (const entry of await readdir(join(sys, "class/ubi"))) {
        const isOurs = device(entry) === ubi && entry !== ubi;
        if (isOurs && (await sysAttribute(sys, "class/ubi", entry, "name")) === name)
          return `${folderOf(beside)}/${entry}`;
      }
      throw new OtaError("DEVICE_IO", { what: "a UBI volume was made and cannot be found", where: name });
    },
    async remove(path) {
      const name = await known(path);
      await refuseMounted(path, name);
      const id = String(/\d+$/.exec(name)?.[0]);
      await need(path, "ubirmvol", [`${folderOf(path)}/${device(name)}`, "-n", id]);
    },
    async swapNames(a, b) {
      const [first, second] = [await known(a), await known(b)];
      if (device(first) !== device(second)) {
        throw new OtaError("DEVICE_WRONG_KIND", { what: "the volumes lie on two UBI devices", where: `${a}, ${b}` });
      }
      const nameA = (await infoOf(first))?.name ?? first;
      const nameB = (await infoOf(second))?.name ?? second;
      // One call renames both, which the kernel does atomically.
      await need(`${a}, ${b}`, "ubirename", [`${folderOf(a)}/${device(first)}`, nameA, nameB, nameB, nameA]);
    },
    async open(path) {
      const name = await known(path);
      if ((await infoOf(name))?.updating === true) {
        throw new OtaError("DEVICE_VOLUME_DAMAGED", {
          what: "an update of the UBI volume was begun and not finished",
          where: path,
          hint: "Run the update again.",
        });
      }
      const size = (await sysNumber(sys, "class/ubi", name, "data_bytes")) ?? (await ubiVolumeSize(sys, name));
      const raw = await openRawFile({ file: path, path, size, access: "read" });
      return { size, read: (offset, length) => raw.read(offset, length), close: () => raw.close() };
    },
  };
}
