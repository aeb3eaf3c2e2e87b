/**
 * Small A/B installers on one block device: a right one, and wrong ones that a rehearsal must catch. They are the rehearsal's own
 * proof that it can fail, and what its speed is measured with.
 *
 * Slot A at 0, slot B behind it, two copies of a record (sequence, slot, SHA-256, CRC) in sectors of their own at the end.
 */
import { OtaError, concatBytes, crc32, equalBytes, readU32, writeU32 } from "../core/index.ts";
import type { Codecs, Device, Digests, RandomReader } from "../core/index.ts";
import { simulateDevice } from "../device/simulated/index.ts";
import type { SimulatedDevice } from "../device/simulated/index.ts";
import type { RehearsalSubject } from "./subject.ts";

const NODE = "/dev/mmcblk0";
const SECTOR = 512;
const CHUNK = 65536;

/** `commit-first` and `no-flush` may start a slot that is not complete, `in-place` overwrites the running one. */
export type SampleOrder = "right" | "commit-first" | "no-flush" | "in-place";

interface SlotRecord {
  readonly sequence: number;
  readonly slot: number;
  readonly size: number;
  readonly sha256: Uint8Array;
}

function encode({ sequence, slot, size, sha256 }: SlotRecord): Uint8Array {
  const out = new Uint8Array(SECTOR);
  writeU32(out, 0, sequence);
  writeU32(out, 4, slot);
  writeU32(out, 8, size);
  out.set(sha256, 16);
  writeU32(out, 508, crc32(out.subarray(0, 508)));
  return out;
}

function decode(b: Uint8Array): SlotRecord | undefined {
  if (readU32(b, 508) !== crc32(b.subarray(0, 508))) return undefined;
  return { sequence: readU32(b, 0), slot: readU32(b, 4), size: readU32(b, 8), sha256: b.slice(16, 48) };
}

function sha256(digests: Digests, bytes: Uint8Array): Uint8Array {
  const digest = digests.create("sha256");
  digest.update(bytes);
  return digest.digest();
}

async function current(card: RandomReader, slotSize: number): Promise<SlotRecord | undefined> {
  const records = await card.read(2 * slotSize, 2 * SECTOR);
  const [a, b] = [decode(records.subarray(0, SECTOR)), decode(records.subarray(SECTOR))];
  if (a === undefined || b === undefined) return a ?? b;
  return a.sequence >= b.sequence ? a : b;
}

async function install(device: Device, image: Uint8Array, order: SampleOrder): Promise<string> {
  const card = await device.nodes.open(NODE, "write");
  const slotSize = (card.size - 2 * SECTOR) / 2;
  const wanted = sha256(device.digests, image);
  const now = await current(card, slotSize);
  if (now === undefined) throw new OtaError("DEVICE_STATE_DAMAGED", "no slot record is whole");
  if (equalBytes(now.sha256, wanted)) return "already installed";
  const slot = order === "in-place" ? now.slot : 1 - now.slot;
  const record = encode({ sequence: now.sequence + 1, slot, size: image.length, sha256: wanted });
  const commit = async (): Promise<void> => {
    await card.write(2 * slotSize + ((now.sequence + 1) % 2) * SECTOR, record);
    await card.flush();
  };
  if (order === "commit-first") await commit();
  for (let at = 0; at < image.length; at += CHUNK) {
    await card.write(slot * slotSize + at, image.subarray(at, at + CHUNK));
  }
  if (order !== "no-flush" && order !== "commit-first") await card.flush();
  const back = await card.read(slot * slotSize, image.length);
  if (!equalBytes(sha256(device.digests, back), wanted)) throw new OtaError("DEVICE_IO", "read back differs");
  if (order !== "commit-first") await commit();
  await card.close();
  return "installed";
}

/** Bytes that differ everywhere and are the same on every run. */
export function sampleImage(size: number, seed: number): Uint8Array {
  const out = new Uint8Array(size);
  let x = (seed * 2654435761) >>> 0;
  for (let i = 0; i < size; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    out[i] = x >>> 24;
  }
  return out;
}

/** An update of `size` bytes on a card with slot A running. */
export function sampleSubject(
  size: number,
  order: SampleOrder,
  ports: { readonly digests: Digests; readonly codecs: Codecs },
): RehearsalSubject {
  const [before, after] = [sampleImage(size, 1), sampleImage(size, 2)];
  const record = encode({ sequence: 1, slot: 0, size, sha256: sha256(ports.digests, before) });
  const content = concatBytes(before, new Uint8Array(size), new Uint8Array(SECTOR), record);
  const digests = { before: sha256(ports.digests, before), after: sha256(ports.digests, after) };
  /** The system that would start: `old`, `new`, or why none. */
  const starts = async (device: Device): Promise<"old" | "new" | { readonly reason: string }> => {
    const card = await device.nodes.open(NODE, "read");
    const record = await current(card, size);
    if (record === undefined) return { reason: "no slot record is whole" };
    const found = sha256(device.digests, await card.read(record.slot * size, record.size));
    if (!equalBytes(found, record.sha256)) return { reason: `slot ${record.slot} does not hold what its record says` };
    return equalBytes(found, digests.after) ? "new" : equalBytes(found, digests.before) ? "old" : { reason: "unknown" };
  };
  return {
    makeDevice: (): SimulatedDevice => simulateDevice({ nodes: { [NODE]: { kind: "block", content } } }, ports),
    install: (device) => install(device, after, order),
    async boots(device) {
      const found = await starts(device);
      return typeof found === "string" ? undefined : found.reason;
    },
    async judge(device, { succeeded }) {
      const found = await starts(device);
      if (typeof found !== "string") return { state: "broken", reason: found.reason };
      if (succeeded && found === "old")
        return { state: "broken", reason: "success is reported and the old system starts" };
      return { state: found };
    },
  };
}
