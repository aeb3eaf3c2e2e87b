/** Whether a payload can be written to a device's other slot: everything that can be known before the first write. */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { isOtaError, OtaError } from "../../core/errors.ts";
import type { Cancel, Device, ProgressSink } from "../../core/ports.ts";
import { checkCancel, streamRange } from "../../core/streams.ts";
import type { PartitionUpdate, Payload } from "../payload/index.ts";
import { OPERATION_TYPES } from "../payload/operation-types.ts";
import { otherSlot } from "./slots.ts";
import type { Slot } from "./slots.ts";

/** Node of a partition in a slot; undefined when the device has none. */
export type NodeOfSlot = (partition: string, slot: Slot) => string | undefined;

/** A partition and where it goes. */
export interface PlannedPartition {
  readonly name: string;
  readonly update: PartitionUpdate;
  /** Node of the running slot, of deltas. */
  readonly source: string | undefined;
  readonly target: string;
  /** Bytes of the new content, and its SHA-256. */
  readonly size: number;
  readonly sha256: Uint8Array;
}

export interface PlanOptions {
  readonly nodeOf: NodeOfSlot;
  readonly running: Slot;
  /** A payload older than the running system is taken. */
  readonly allowDowngrade: boolean;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

/** SHA-256 of the first `size` bytes of a node. @throws OtaError DEVICE_* */
export async function hashNode(
  device: Device,
  node: string,
  size: number,
  { progress, cancel, item }: { readonly progress?: ProgressSink; readonly cancel?: Cancel; readonly item: string },
): Promise<Uint8Array> {
  const target = await device.nodes.open(node, "read");
  try {
    if (target.size < size) {
      throw new OtaError("DEVICE_TOO_SMALL", {
        what: "the partition is smaller than its content",
        where: node,
        expected: `${size} bytes or more`,
        found: target.size,
      });
    }
    const digest = device.digests.create("sha256");
    let doneBytes = 0;
    for await (const chunk of streamRange(target, 0, size)) {
      checkCancel(cancel);
      digest.update(chunk);
      doneBytes += chunk.length;
      progress?.progress({ phase: "read back", item, doneBytes, totalBytes: size });
    }
    return digest.digest();
  } finally {
    await target.close();
  }
}

/** What this program does not do with a partition; undefined when it does all of it. */
function missing(partition: PartitionUpdate, device: Device): string | undefined {
  const unknown = partition.operations
    .map((op) => OPERATION_TYPES[op.type ?? 0])
    .find((type) => type === undefined || !type.applicable);
  if (unknown !== undefined) return `operation ${unknown.name} is not applied`;
  if (partition.hashTreeExtent !== undefined || partition.fecExtent !== undefined) {
    return "the device has to compute its hash tree or error correction, which is not done here";
  }
  if (device.kind === "board" && partition.runPostinstall === true && partition.postinstallOptional !== true) {
    return "a program of the new partition must run before the slots change, which is not done here";
  }
  return undefined;
}

async function checkTimestamp(device: Device, payload: Payload, allowDowngrade: boolean): Promise<void> {
  const { maxTimestamp } = payload.manifest;
  const text = await device.properties.get("ro.build.date.utc");
  if (allowDowngrade || maxTimestamp === undefined || text === undefined || !/^\d{1,15}$/.test(text)) return;
  if (Number(maxTimestamp) >= Number(text)) return;
  throw new OtaError("TRUST_DOWNGRADE", {
    what: "the payload is older than the running system",
    expected: `max_timestamp of at least ${text}`,
    found: String(maxTimestamp),
    hint: "A package signed with ota-downgrade=yes may go back. Nothing was written.",
  });
}

/** One partition that cannot be written must be known before another one is. @throws OtaError DEVICE_READ_ONLY, DEVICE_BUSY */
async function checkWritable(device: Device, node: string): Promise<void> {
  try {
    await (await device.nodes.open(node, "write")).close();
  } catch (e) {
    if (!isOtaError(e) || e.details.hint !== undefined) throw e;
    const hint = `Nothing was written. ${node} must be writable and not in use.`;
    throw new OtaError(e.code, { ...e.details, hint }, e);
  }
}

/**
 * Finds the nodes and checks sizes, kinds of operations, time and, for deltas, the digest of every old partition; whether the new
 * ones can be written comes last.
 * @throws OtaError ANDROID_PREFLIGHT, ANDROID_PAYLOAD_BASE, ANDROID_PAYLOAD_OPERATION, TRUST_DOWNGRADE, DEVICE_*
 */
export async function planPayload(device: Device, payload: Payload, options: PlanOptions): Promise<PlannedPartition[]> {
  const { nodeOf, running, progress, cancel } = options;
  const watch = { ...(progress === undefined ? {} : { progress }), ...(cancel === undefined ? {} : { cancel }) };
  await checkTimestamp(device, payload, options.allowDowngrade);
  const planned: PlannedPartition[] = [];
  for (const update of payload.manifest.partitions) {
    const name = update.name ?? "";
    const unable = missing(update, device);
    if (unable !== undefined) {
      throw new OtaError("ANDROID_PAYLOAD_OPERATION", { what: unable, where: name, hint: "Nothing was written." });
    }
    const size = update.newInfo?.size ?? 0;
    const target = nodeOf(name, otherSlot(running));
    const info = target === undefined ? undefined : await device.nodes.info(target);
    if (target === undefined || info === undefined) {
      throw new OtaError("ANDROID_PREFLIGHT", {
        what: "the device has no partition for a part of the payload",
        where: `${name}_${otherSlot(running)}`,
        hint: "Describe it under nodes in the device description. Nothing was written.",
      });
    }
    if (info.kind !== "block" && info.kind !== "file") {
      throw new OtaError("DEVICE_WRONG_KIND", {
        what: "payloads go to block devices",
        where: target,
        found: info.kind,
      });
    }
    if (info.size < size) {
      throw new OtaError("DEVICE_TOO_SMALL", {
        what: "the new content does not fit its partition",
        where: target,
        expected: `${size} bytes or more`,
        found: info.size,
        hint: "Nothing was written.",
      });
    }
    planned.push({
      name,
      update,
      target,
      size,
      sha256: update.newInfo?.sha256 ?? new Uint8Array(0),
      source: nodeOf(name, running),
    });
  }
  for (const { name, update, source } of planned) {
    if (update.oldInfo === undefined) continue;
    const expected = update.oldInfo.sha256 ?? new Uint8Array(0);
    const base = (found: string): OtaError =>
      new OtaError("ANDROID_PAYLOAD_BASE", {
        what: "the running slot is not the system the payload was made for",
        where: source ?? `${name}_${running}`,
        expected: toHex(expected),
        found,
        hint: "Install the version before it first, or a full payload. Nothing was written.",
      });
    if (source === undefined) throw base("no such partition");
    const [size = 0, room = 0] = [update.oldInfo.size, (await device.nodes.info(source))?.size];
    if (room < size) throw base(`a partition of ${room} bytes, ${size} are needed`);
    const found = await hashNode(device, source, size, { ...watch, item: name });
    if (!equalBytes(found, expected)) throw base(toHex(found));
  }
  for (const { target } of planned) await checkWritable(device, target);
  return planned;
}
