/**
 * What an install will do: one target for every destination of every record, in order, with the kind of work it needs.
 *
 * A plan is made before anything is written. What a record asks for and what the device has there decide the work: a raw
 * image for a UBI volume is a volume update, because UBI refuses plain writes.
 */
import { OtaError } from "../../core/errors.ts";
import type { Device, NodeInfo } from "../../core/ports.ts";
import { printable } from "../../core/text.ts";
import { MAX_DESTINATIONS, OPT } from "../layout.ts";
import { devicePath } from "./paths.ts";
import type { ContentDigest } from "./device-state.ts";
import type { VerifiedPackage, VerifiedRecord } from "./package-source.ts";

/** `skip`: mask 0 or refused by the caller; `missing`: one of several destinations that this device does not have. */
export type Work =
  | "script"
  | "raw"
  | "volume"
  | "raw difference"
  | "file update"
  | "file add"
  | "file delete"
  | "file difference"
  | "skip"
  | "missing";

export interface Target {
  readonly record: VerifiedRecord;
  /** Number of the destination in its record. */
  readonly destination: number;
  /** `16 * record + destination`. */
  readonly position: number;
  /** Path in the device; the script's name for scripts. */
  readonly path: string;
  readonly work: Work;
  /** Why a target is skipped. */
  readonly reason?: string;
  /** The node, for raw targets and volumes. */
  readonly node?: NodeInfo;
  /** Raw target that is a regular file (`/dev` of a card, `boot/IPL`). */
  readonly isFile?: boolean;
}

/** Base and result a detached manifest promises for a difference. */
export interface PromisedDifference {
  readonly record: number;
  /** Number of the destination; absent: all of the record. */
  readonly destination?: number;
  readonly base?: ContentDigest;
  readonly result?: ContentDigest;
}

/** Asked once for every destination before anything is done; -1 skips it, 0 allows it (section 7.3). */
export type AccessCallback = (
  path: string,
  recordIndex: number,
  destinationIndex: number,
  userLog: string,
) => 0 | -1 | Promise<0 | -1>;

export interface PlanOptions {
  readonly access?: AccessCallback;
  /** Write destinations with mask 0 as well. */
  readonly ignoreMasks?: boolean;
}

/** `record 3 /dev/mtd5`: how messages name a target. */
export function targetName(record: VerifiedRecord, path: string): string {
  return `record ${record.index} ${printable(path)}`;
}

function wrongKind(where: string, what: string, hint: string): OtaError {
  return new OtaError("DEVICE_WRONG_KIND", { what, where, hint });
}

/** The character device of a flash partition whose block device is named. */
function flashBehind(path: string): string | undefined {
  const match = /^(.*\/)mtdblock(\d+)$/.exec(path);
  return match === null ? undefined : `${match[1] as string}mtd${match[2] as string}`;
}

async function refusePlainNandWrite(device: Device, path: string, node: NodeInfo, where: string): Promise<void> {
  const flash = flashBehind(path);
  const behind = flash === undefined ? undefined : (await device.nodes.info(flash))?.kind;
  // A board tells the flash behind its block device; the record asks for a block write all the same, and who reads that block
  // device later goes around no bad block either.
  const nand = node.kind === "nand" ? flash !== undefined || node.eraseSize === undefined : behind === "nand";
  if (!nand) return;
  throw new OtaError("SIGMASTAR_NAND_PLAIN_WRITE", {
    what: "a plain block write onto NAND does not go around bad blocks",
    where,
    hint: `Name ${flash ?? "the /dev/mtdN node"} as destination (bad blocks are skipped there), or put the image into a UBI volume.`,
  });
}

type Resolved = Pick<Target, "work" | "node" | "isFile">;

async function resolveRaw(device: Device, path: string, opt: number, where: string): Promise<Resolved | undefined> {
  const node = await device.nodes.info(path);
  if (node === undefined || node.kind === "file") {
    const file = await device.files.stat(path);
    if (file === undefined && node === undefined) return undefined;
    if (opt === OPT.UBI_UPDATE) {
      throw wrongKind(
        where,
        "the target of a UBI record is no UBI volume",
        "Pack it with --file-update or --block-update.",
      );
    }
    if (file !== undefined && file.kind !== "file") {
      throw wrongKind(where, `a raw image cannot be written onto a ${file.kind}`, "Name a node or a regular file.");
    }
    return { work: "raw", isFile: true, ...(node === undefined ? {} : { node }) };
  }
  if (node.kind === "ubi") return { work: "volume", node };
  if (opt === OPT.UBI_UPDATE) {
    throw wrongKind(
      where,
      "the target of a UBI record is no UBI volume",
      "Pack it with --block-update, or name the volume (/dev/ubi0_1).",
    );
  }
  await refusePlainNandWrite(device, path, node, where);
  return { work: "raw", node };
}

async function resolve(device: Device, record: VerifiedRecord, path: string): Promise<Resolved | undefined> {
  const where = targetName(record, path);
  switch (record.head.opt) {
    case OPT.BLK_UPDATE:
    case OPT.UBI_UPDATE:
      return resolveRaw(device, path, record.head.opt, where);
    case OPT.FILE_ADD:
    case OPT.FILE_DELETE: {
      const kind = (await device.nodes.info(path))?.kind ?? "file";
      if (kind !== "file")
        throw wrongKind(where, "a file record names a raw node", "Pack it with --block-update or --ubi-update.");
      return { work: record.head.opt === OPT.FILE_ADD ? "file add" : "file delete" };
    }
    default: {
      const node = await device.nodes.info(path);
      if (node === undefined || node.kind === "file") {
        return { work: record.head.opt === OPT.FILE_DIFF ? "file difference" : "file update" };
      }
      if (record.head.opt === OPT.FILE_UPDATE) {
        throw wrongKind(where, "a file update names a raw node", "Pack it with --block-update or --ubi-update.");
      }
      if (node.kind !== "ubi") await refusePlainNandWrite(device, path, node, where);
      if (node.kind === "ubi") {
        throw wrongKind(
          where,
          "a difference cannot be applied to a UBI volume",
          "Pack the whole volume with --ubi-update.",
        );
      }
      return { work: "raw difference", node };
    }
  }
}

/**
 * The targets of a package on a device, in order. Nothing is written.
 *
 * @throws OtaError SIGMASTAR_PATH, SIGMASTAR_NO_DESTINATION, DEVICE_WRONG_KIND, SIGMASTAR_NAND_PLAIN_WRITE,
 *   DEVICE_NOT_FOUND when a raw record has no destination that exists
 */
export async function planTargets(device: Device, pkg: VerifiedPackage, options: PlanOptions): Promise<Target[]> {
  const targets: Target[] = [];
  for (const record of pkg.records) {
    const base = record.index * MAX_DESTINATIONS;
    if (record.head.opt === OPT.SCRIPT_EXEC) {
      const path = record.head.destination === "" ? (record.head.sourceName ?? "") : record.head.destination;
      targets.push({ record, destination: 0, position: base, path, work: "script" });
      continue;
    }
    if (record.destinations.length === 0) devicePath("", `record ${record.index}`);
    const mine: Target[] = [];
    for (const [destination, { path: text, mask }] of record.destinations.entries()) {
      const path = devicePath(text, `record ${record.index}`);
      const position = base + destination;
      const known = { record, destination, position, path };
      if (mask === 0 && options.ignoreMasks !== true) {
        mine.push({ ...known, work: "skip", reason: "its mask is 0" });
      } else if ((await options.access?.(path, record.index, destination, record.head.log ?? "")) === -1) {
        mine.push({ ...known, work: "skip", reason: "the access callback refused it" });
      } else {
        const found = await resolve(device, record, path);
        mine.push({ ...known, ...(found ?? { work: "missing", reason: "this device does not have it" }) });
      }
    }
    // One of several destinations may belong to another board; a record that reaches nothing is an error (section 7.3).
    const wanted = mine.filter((t) => t.work !== "skip");
    const first = wanted[0];
    if (first !== undefined && wanted.every((t) => t.work === "missing")) {
      throw new OtaError("DEVICE_NOT_FOUND", {
        what: wanted.length === 1 ? "the destination does not exist" : "none of the destinations exists",
        where: wanted.map((t) => targetName(record, t.path)).join(", "),
        hint: "The package is for another partition layout.",
      });
    }
    targets.push(...mine);
  }
  return targets;
}
