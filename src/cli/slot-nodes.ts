/** Nodes of A/B partitions: among those of a description, and under a board's by-name folders. */
import { existsSync, statSync } from "node:fs";
import type { NodeOfSlot } from "../android/index.ts";
import { OtaError } from "../core/errors.ts";
import type { LocatedDescription } from "../device/index.ts";

const BOARD_FOLDERS = ["/dev/block/by-name", "/dev/block/bootdevice/by-name", "/dev/disk/by-partlabel"];

/** Nodes a description names, of which one ends in `/system_b` for partition system of slot b. */
export function slotNodes(description: Pick<LocatedDescription, "nodes" | "mounts">): string[] {
  const mounts = Object.values(description.mounts ?? {}).flatMap(({ node, image }) =>
    node === undefined || image === undefined ? [] : [node],
  );
  return [...Object.keys(description.nodes ?? {}), ...mounts];
}

/** Finds a partition's node by its name and slot: among the described ones, on a board under its by-name folders. */
export function findSlotNode(nodes: readonly string[], board: boolean): NodeOfSlot {
  return (partition, slot) => {
    const name = `${partition}_${slot}`;
    const described = nodes.find((node) => node.endsWith(`/${name}`));
    if (described !== undefined || !board) return described;
    return BOARD_FOLDERS.map((folder) => `${folder}/${name}`).find((path) => existsSync(path));
  };
}

/** What a file is behind its names. */
function identityOf(file: string): string {
  const info = statSync(file, { throwIfNoEntry: false });
  if (info === undefined) return file;
  return info.isBlockDevice() ? `device ${info.rdev}` : `inode ${info.dev}:${info.ino}`;
}

/**
 * The slots of the partitions must lie in files of their own: one that stands for two of them would have the running slot
 * overwritten. @throws OtaError DEVICE_DESCRIPTION
 */
export function checkSlotFiles(
  { nodes, mounts }: Pick<LocatedDescription, "nodes" | "mounts">,
  nodeOf: NodeOfSlot,
  partitions: readonly string[],
): void {
  const images = Object.values(mounts ?? {}).flatMap(({ node, image }) =>
    node === undefined || image === undefined ? [] : [[node, image] as const],
  );
  const files = new Map([...Object.entries(nodes ?? {}).map(([node, { file }]) => [node, file] as const), ...images]);
  const seen = new Map<string, string>();
  for (const name of partitions) {
    for (const slot of ["a", "b"] as const) {
      const node = nodeOf(name, slot);
      const file = node === undefined ? undefined : files.get(node);
      if (node === undefined || file === undefined) continue;
      const identity = identityOf(file);
      const other = seen.get(identity);
      if (other !== undefined && other !== node) {
        throw new OtaError("DEVICE_DESCRIPTION", {
          what: "two partitions lie in one file",
          where: `${other} and ${node}`,
          expected: "a file for each partition of each slot",
          found: file,
          hint: "Name another file in the device description; a link to the same one does not do. Nothing was written.",
        });
      }
      seen.set(identity, node);
    }
  }
}
