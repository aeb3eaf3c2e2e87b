/**
 * Writes a payload to the slot that is not running (formats/android.md section 8.1). The running slot is never written; the
 * other one is marked unbootable first and active last, once every partition was read back. A cut is made good by running it again:
 * operations that were noted as done are not repeated.
 */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { BlockTarget, Cancel, Device, ProgressSink } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { openJournal } from "../../device/journal.ts";
import { withScratchCore } from "../applypatch/scratch-core.ts";
import { applyOperation, placeOutput } from "../payload/index.ts";
import type { Payload } from "../payload/index.ts";
import { hashNode, planPayload } from "./plan.ts";
import type { NodeOfSlot, PlannedPartition } from "./plan.ts";
import { otherSlot, readSlots, runningSlot, writeSlots } from "./slots.ts";
import type { Slot } from "./slots.ts";

/** Bytes written between two notes of progress: what a cut costs at most. */
const CHECKPOINT_BYTES = 16 * 1024 * 1024;
/** Operations between two notes. */
const CHECKPOINT_OPERATIONS = 64;

/** How far a payload is. */
interface Progress {
  /** SHA-256 of header and manifest. */
  readonly payload: string;
  readonly slot: Slot;
  readonly partition: number;
  /** Operations of that partition that are done and on the medium. */
  readonly operations: number;
}

export interface PayloadInstallOptions {
  readonly nodeOf: NodeOfSlot;
  /** SHA-256 of header and manifest, which names the payload. */
  readonly metadataHash: Uint8Array;
  readonly allowDowngrade: boolean;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

export interface PayloadInstallReport {
  readonly slot: Slot;
  /** Partitions and whether this run wrote them. */
  readonly partitions: readonly { readonly name: string; readonly node: string; readonly size: number }[];
  /** Nothing was left to do. */
  readonly already: boolean;
  /** An interrupted run was continued. */
  readonly resumed: boolean;
}

class PayloadRun {
  readonly #device: Device;
  readonly #payload: Payload;
  readonly #options: PayloadInstallOptions;
  readonly #id: string;
  readonly #slot: Slot;
  readonly #journal;
  readonly #totalBytes: number;
  #doneBytes = 0;

  constructor(device: Device, payload: Payload, options: PayloadInstallOptions, slot: Slot) {
    this.#device = device;
    this.#payload = payload;
    this.#options = options;
    this.#id = toHex(options.metadataHash);
    this.#slot = slot;
    this.#journal = openJournal<Progress>(device.state, "android-payload");
    this.#totalBytes = payload.manifest.partitions.reduce((sum, p) => sum + (p.newInfo?.size ?? 0), 0);
  }

  /** Where an interrupted run of the same payload stopped. */
  async begin(): Promise<Pick<Progress, "partition" | "operations"> | undefined> {
    const before = await this.#journal.load();
    const same = before?.payload === this.#id && before.slot === this.#slot;
    return same ? before : undefined;
  }

  async #note(partition: number, operations: number): Promise<void> {
    await this.#journal.save({ payload: this.#id, slot: this.#slot, partition, operations });
  }

  async #operations(index: number, planned: PlannedPartition, first: number): Promise<void> {
    const { nodes, codecs, digests } = this.#device;
    const { progress, cancel } = this.#options;
    const { blockSize } = this.#payload.manifest;
    const source = planned.source === undefined || planned.update.oldInfo === undefined ? undefined : planned.source;
    const old = source === undefined ? undefined : await nodes.open(source, "read");
    let target: BlockTarget | undefined;
    try {
      target = await nodes.open(planned.target, "write");
      let unsaved = 0;
      for (const [i, op] of planned.update.operations.entries()) {
        const data = this.#payload.dataOf(op);
        if (i >= first) {
          checkCancel(cancel);
          // What is behind the last whole block of an odd-sized image is padding that need not fit the partition.
          const output = withScratchCore((core) =>
            applyOperation(op, {
              blockSize,
              codecs,
              digests,
              core,
              where: `${planned.name} operation ${i}`,
              ...(data === undefined ? {} : { data }),
              ...(old === undefined ? {} : { source: old }),
              ...(cancel === undefined ? {} : { cancel }),
            }),
          );
          for await (const { offset, bytes } of placeOutput(output, op.dstExtents, blockSize)) {
            const room = Math.max(0, Math.min(bytes.length, target.size - offset));
            if (room > 0) await target.write(offset, bytes.subarray(0, room));
            unsaved += bytes.length;
            this.#doneBytes += bytes.length;
            progress?.progress({
              phase: "update",
              item: planned.name,
              index: index + 1,
              count: this.#payload.manifest.partitions.length,
              doneBytes: Math.min(this.#doneBytes, this.#totalBytes),
              totalBytes: this.#totalBytes,
            });
          }
        }
        const last = i + 1 === planned.update.operations.length;
        if (i >= first && (last || unsaved >= CHECKPOINT_BYTES || (i + 1) % CHECKPOINT_OPERATIONS === 0)) {
          await target.flush();
          await this.#note(index, i + 1);
          unsaved = 0;
        }
      }
      await target.flush();
    } finally {
      await target?.close();
      await old?.close();
    }
  }

  /** Whether a partition of the target slot has its new content. */
  async #proven({ name, target, size, sha256 }: PlannedPartition): Promise<boolean> {
    const { progress, cancel } = this.#options;
    const watch = { ...(progress === undefined ? {} : { progress }), ...(cancel === undefined ? {} : { cancel }) };
    return equalBytes(await hashNode(this.#device, target, size, { ...watch, item: name }), sha256);
  }

  async write(planned: readonly PlannedPartition[], from: Pick<Progress, "partition" | "operations">): Promise<void> {
    for (const [index, one] of planned.entries()) {
      if (index < from.partition) this.#doneBytes += one.size;
      else await this.#operations(index, one, index === from.partition ? from.operations : 0);
      if (await this.#proven(one)) continue;
      // A slot that somebody else wrote to between two runs: what was noted of it means nothing.
      if (from.partition > 0 || from.operations > 0) {
        await this.#operations(index, one, 0);
        if (await this.#proven(one)) continue;
      }
      // Nothing of what was noted can be trusted: the next run begins at the beginning.
      await this.#journal.clear();
      throw new OtaError("DEVICE_IO", {
        what: "the partition read back is not what was written",
        where: one.target,
        expected: `SHA-256 ${toHex(one.sha256)}`,
        hint: "The slot stays unbootable and the running system as it was. Run the same command again; if it fails again, the medium is bad.",
      });
    }
  }

  async finish(): Promise<void> {
    await writeSlots(this.#device, { active: this.#slot, payload: this.#id });
    await this.#journal.clear();
  }
}

const partitionsOf = (planned: readonly PlannedPartition[]): PayloadInstallReport["partitions"] =>
  planned.map(({ name, target, size }) => ({ name, node: target, size }));

/** Whether a slot holds exactly what the payload makes. */
async function holdsPayload(device: Device, payload: Payload, slot: Slot, nodeOf: NodeOfSlot): Promise<boolean> {
  for (const { name = "", newInfo } of payload.manifest.partitions) {
    const node = nodeOf(name, slot);
    const size = newInfo?.size ?? 0;
    const info = node === undefined ? undefined : await device.nodes.info(node);
    if (node === undefined || info === undefined || info.size < size) return false;
    const found = await hashNode(device, node, size, { item: name });
    if (!equalBytes(found, newInfo?.sha256 ?? new Uint8Array(0))) return false;
  }
  return true;
}

/**
 * Installs a payload whose bytes and signatures were checked. Resolves once the new slot is the one that starts next.
 * @throws OtaError ANDROID_PREFLIGHT, ANDROID_PAYLOAD_*, TRUST_DOWNGRADE, DEVICE_*, CANCELLED
 */
export async function installPayload(
  device: Device,
  payload: Payload,
  options: PayloadInstallOptions,
): Promise<PayloadInstallReport> {
  const running = await runningSlot(device);
  if (running === undefined) {
    throw new OtaError("ANDROID_PREFLIGHT", {
      what: "it is not known which slot is running",
      expected: "running in the device description, --running a|b, or the property ro.boot.slot_suffix",
      hint: "Nothing was written.",
    });
  }
  const { nodeOf, progress, cancel, allowDowngrade } = options;
  const slots = await readSlots(device);
  if (slots?.payload === toHex(options.metadataHash) && slots.unbootable === undefined) {
    // A cut right after the end: what is active already is this very payload.
    if (await holdsPayload(device, payload, slots.active, nodeOf)) {
      // The cut may have come between the record's two copies: the older one would bring the other slot back.
      await writeSlots(device, slots);
      await openJournal(device.state, "android-payload").clear();
      const partitions = payload.manifest.partitions.map((p) => ({
        name: p.name ?? "",
        node: nodeOf(p.name ?? "", slots.active) ?? "",
        size: p.newInfo?.size ?? 0,
      }));
      return { slot: slots.active, partitions, already: true, resumed: false };
    }
  }
  const slot = otherSlot(running);
  // A board knows what it started; elsewhere it is what somebody says, against what was noted.
  if (slots?.unbootable === running && device.kind !== "board") {
    throw new OtaError("ANDROID_PREFLIGHT", {
      what: "the slot that is said to run was left half-written by an interrupted payload",
      where: `slot ${running}`,
      expected: `slot ${slot} as the running one`,
      hint: `Run the same command with --running ${slot}; it finishes slot ${running}. Nothing was written.`,
    });
  }
  const planned = await planPayload(device, payload, {
    nodeOf,
    running,
    allowDowngrade,
    ...(progress === undefined ? {} : { progress }),
    ...(cancel === undefined ? {} : { cancel }),
  });
  const run = new PayloadRun(device, payload, options, slot);
  const before = await run.begin();
  await writeSlots(device, { active: running, unbootable: slot });
  await run.write(planned, before ?? { partition: 0, operations: 0 });
  await run.finish();
  return { slot, partitions: partitionsOf(planned), already: false, resumed: before !== undefined };
}
