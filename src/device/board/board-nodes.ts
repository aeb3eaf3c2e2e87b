/** Raw nodes of a board: real block devices and flash, or a regular file that is used as one. */
import { OtaError } from "../../core/index.ts";
import type { FileStore, NodeInfo, NodeStore } from "../../core/index.ts";
import { openRawFile } from "../disk/raw-file.ts";
import { fileTarget } from "../file-target.ts";
import type { RunProgram } from "../run-program.ts";
import { sysNode } from "../sysfs.ts";
import { openMtd } from "./mtd-tools.ts";

/** {@link NodeStore} of a board. `alias` gives other names for nodes (the card of a description). */
export function boardNodes(
  files: FileStore,
  run: RunProgram,
  mounted: () => Promise<ReadonlySet<string>>,
  alias: Readonly<Record<string, string>> = {},
): NodeStore {
  const real = (path: string): string => alias[path] ?? path;
  return {
    async info(path) {
      const node = await sysNode(real(path));
      if (node !== undefined) {
        const { kind, size, eraseSize, writeSize } = node;
        const info: NodeInfo = {
          kind,
          size,
          ...(eraseSize === undefined ? {} : { eraseSize }),
          ...(writeSize === undefined ? {} : { writeSize }),
        };
        return info;
      }
      const file = await files.stat(real(path));
      return file?.kind === "file" ? { kind: "file", size: file.size } : undefined;
    },
    async open(path, access) {
      const file = real(path);
      const node = await sysNode(file);
      if (access === "write" && (await mounted()).has(file)) {
        throw new OtaError("DEVICE_BUSY", { what: "the node is mounted", where: path });
      }
      if (node === undefined) return fileTarget(path, await files.open(file, access === "read" ? "read" : "update"));
      if (node.kind === "ubi") {
        throw new OtaError("DEVICE_WRONG_KIND", {
          what: "a UBI volume is read and updated as one, not written at offsets",
          where: path,
        });
      }
      if (node.kind !== "block") return openMtd(node, path, access, run);
      return openRawFile({ file, path, size: node.size, access, exclusive: true });
    },
  };
}
