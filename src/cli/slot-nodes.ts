/** Nodes of A/B partitions: among those of a description, and under a board's by-name folders. */
import { existsSync } from "node:fs";
import type { NodeOfSlot } from "../android/index.ts";
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
