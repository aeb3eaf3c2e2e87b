/** What is mounted on a board. */
import { readFile, realpath } from "node:fs/promises";
import { OtaError } from "../../core/index.ts";
import type { MountInfo, Mounts } from "../../core/index.ts";
import type { RunProgram } from "../run-program.ts";
import { nodeSize } from "../sysfs.ts";

/** Undoes the octal escapes (`\040`) of /proc/self/mounts. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The lines of /proc/self/mounts. */
export function parseMounts(text: string): MountInfo[] {
  return text.split("\n").flatMap((line) => {
    const [node, at, fsType, options] = line.split(" ");
    if (node === undefined || at === undefined || fsType === undefined || options === undefined) return [];
    return [{ node: unescape(node), at: unescape(at), fsType, readOnly: options.split(",").includes("ro") }];
  });
}

/** A node's names: scripts say `/dev/block/by-name/system`, which is a link, and the kernel shows where it leads. */
async function namesOf(node: string): Promise<ReadonlySet<string>> {
  return new Set([node, await realpath(node).catch(() => node)]);
}

/** {@link Mounts} of a board, through `mount` and `umount`. */
export function boardMounts(run: RunProgram, file = "/proc/self/mounts", sizeOf = nodeSize): Mounts {
  const list = async (): Promise<MountInfo[]> => parseMounts(await readFile(file, "utf8").catch(() => ""));
  const need = async (program: string, args: readonly string[], where: string): Promise<void> => {
    const { exitCode, stderr } = await run(program, args);
    if (exitCode === 0) return;
    const busy = /busy/i.test(stderr);
    const found = stderr.trim().split("\n").pop() ?? `exit code ${exitCode}`;
    throw new OtaError(busy ? "DEVICE_BUSY" : "DEVICE_IO", { what: `${program} failed`, where, found });
  };
  return {
    list,
    async mount(node, at, { fsType, flags }) {
      const names = await namesOf(node);
      const there = (await list()).find((mount) => names.has(mount.node) && mount.at === at);
      if (there?.readOnly === true && flags?.split(",").includes("ro") !== true) {
        throw new OtaError("DEVICE_READ_ONLY", {
          what: "is mounted for reading only",
          where: at,
          hint: "Unmount it first.",
        });
      }
      if (there !== undefined) return;
      await need("mount", ["-t", fsType, ...(flags === undefined ? [] : ["-o", flags]), "--", node, at], at);
    },
    async unmount(at) {
      if (!(await list()).some((mount) => mount.at === at)) {
        throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing is mounted", where: at });
      }
      await need("umount", ["--", at], at);
    },
    async format(node, { fsType, sizeBytes }) {
      const names = await namesOf(node);
      if ((await list()).some((mount) => names.has(mount.node))) {
        throw new OtaError("DEVICE_BUSY", { what: "is mounted", where: node });
      }
      if (!/^[a-z0-9]{1,16}$/.test(fsType)) {
        throw new OtaError("DEVICE_WRONG_KIND", { what: "no file system of this name", where: fsType });
      }
      // A negative size leaves that much room at the end, where an encrypted /data has its keys.
      const bytes = sizeBytes === undefined || sizeBytes > 0 ? sizeBytes : (await sizeOf(node)) + sizeBytes;
      if (bytes !== undefined && bytes <= 0) {
        throw new OtaError("DEVICE_TOO_SMALL", {
          what: "no room for a file system",
          where: node,
          found: `${bytes} bytes`,
        });
      }
      // mkfs.f2fs counts in sectors, the others take a unit.
      const unit = (n: number): string => (fsType === "f2fs" ? `${Math.floor(n / 512)}` : `${Math.floor(n / 1024)}k`);
      const size = bytes === undefined ? [] : [unit(bytes)];
      const force = fsType === "f2fs" ? "-f" : fsType.startsWith("ext") ? "-F" : undefined;
      await need(`mkfs.${fsType}`, [...(force === undefined ? [] : [force]), "--", node, ...size], node);
    },
  };
}
