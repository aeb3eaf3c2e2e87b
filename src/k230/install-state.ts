/**
 * What an updater remembers between runs, beside the medium: how far an update has come, what it installed, and the trial of
 * the new system. Only `ota_meta` decides what boots; losing this record costs a resume and a trial, never a slot.
 */
import { openJournal } from "../device/journal.ts";
import type { FileStore } from "../core/ports.ts";
import type { Slot } from "./ota-meta.ts";

export interface WritingState {
  /** Hex SHA-256 of header and part table: tells images apart. */
  readonly image: string;
  readonly slot: Slot;
  readonly version: number;
  /** Names of parts that are written and verified. */
  readonly done: readonly string[];
}

export interface InstalledState {
  readonly image: string;
  readonly slot: Slot;
  readonly version: number;
  /** Boot id it was installed in; absent where every command is a new boot. */
  readonly bootId?: string;
}

export interface TrialState {
  /** The slot on trial. */
  readonly slot: Slot;
  readonly version: number;
  /** Starts of the slot counted so far. */
  readonly starts: number;
  /** Boot id of the last counted start. */
  readonly bootId?: string;
  readonly verdict: "pending" | "confirmed" | "rolled-back";
}

export interface K230State {
  readonly writing?: WritingState;
  readonly installed?: InstalledState;
  readonly trial?: TrialState;
}

/** The record, or nothing when the device keeps no state. */
export interface StateRecord {
  load(): Promise<K230State>;
  save(state: K230State): Promise<void>;
}

const RECORD = "k230";

export function stateRecord(state: FileStore | undefined): StateRecord {
  if (state === undefined) {
    let value: K230State = {};
    return { load: async () => value, save: async (next) => void (value = next) };
  }
  const journal = openJournal<K230State>(state, RECORD);
  return { load: async () => (await journal.load()) ?? {}, save: (next) => journal.save(next) };
}
