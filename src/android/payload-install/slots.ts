/**
 * Which slot a device starts, as far as this program decides it: a state record. A board's loader is told by the board's own means; the
 * record is what they are told from, and what a rehearsal and an image look at.
 */
import type { Device } from "../../core/ports.ts";
import { openJournal } from "../../device/journal.ts";

export type Slot = "a" | "b";

/** State record of the slots. */
export interface SlotRecord {
  /** Slot the next start uses. */
  readonly active: Slot;
  /** SHA-256 of header and manifest of the payload that made it; absent before the first one. */
  readonly payload?: string;
  /** A slot that is being written and must not be started. */
  readonly unbootable?: Slot;
}

const RECORD = "android-slots";

export const otherSlot = (slot: Slot): Slot => (slot === "a" ? "b" : "a");

/** What is noted; undefined before the first payload. @throws OtaError DEVICE_STATE_DAMAGED, DEVICE_IO */
export async function readSlots(device: Pick<Device, "state">): Promise<SlotRecord | undefined> {
  const value = await openJournal<Partial<SlotRecord>>(device.state, RECORD).load();
  return value?.active === "a" || value?.active === "b" ? (value as SlotRecord) : undefined;
}

/** On the medium when this returns. */
export async function writeSlots(device: Pick<Device, "state">, record: SlotRecord): Promise<void> {
  await openJournal<SlotRecord>(device.state, RECORD).save(record);
}

/**
 * The running slot: what the caller says, the device's description, what was noted, the board's property.
 * Undefined when nothing tells.
 */
export async function runningSlot(device: Device): Promise<Slot | undefined> {
  if (device.running !== undefined) return device.running;
  const noted = await readSlots(device);
  const suffix = await device.properties.get("ro.boot.slot_suffix");
  const told = suffix === "_a" || suffix === "a" ? "a" : suffix === "_b" || suffix === "b" ? "b" : undefined;
  // A board knows what it started; on an image every command is a new start of the active slot.
  return device.kind === "board" ? (told ?? noted?.active) : (noted?.active ?? told);
}
