/**
 * Health of a K230: which slot runs and which is chosen, trial of a new system, confirmation, rollback — with nothing but
 * `ota_meta`, so that the stock loader obeys.
 *
 * A rollback gives the other slot a valid block with a higher version: one write of one sector. A cut before, in or after it
 * leaves a choice between two complete slots. What the stock loader cannot give: it counts nothing itself, so a system that
 * hangs before {@link checkTrial} runs for the first time is not rolled back.
 */
import { OtaError } from "../core/errors.ts";
import type { BlockTarget } from "../core/ports.ts";
import { readCardLayout } from "./card.ts";
import type { CardLayout, K230Card } from "./card.ts";
import { pendingSlot } from "./install-plan.ts";
import { stateRecord } from "./install-state.ts";
import type { K230State, TrialState } from "./install-state.ts";
import { findEntry } from "./toc.ts";
import { loadFirmware } from "./load-firmware.ts";
import type { LoadOptions } from "./load-firmware.ts";
import { encodeMetaBlock, MAX_VERSION, otherSlot } from "./ota-meta.ts";
import type { MetaBlock, Slot } from "./ota-meta.ts";
import { writeMetaSector } from "./slot-writer.ts";
import { SECTOR_SIZE } from "./layouts.ts";

export interface HealthStatus {
  /** Versions of the blocks; undefined when a block is not valid. */
  readonly versionA?: number;
  readonly versionB?: number;
  /** The slot the loader would choose at the next start. */
  readonly active: Slot;
  /** The slot that runs. */
  readonly running: Slot;
  /** A slot that is installed and not started yet. */
  readonly pending?: Slot;
  readonly trial?: {
    readonly slot: Slot;
    readonly version: number;
    readonly starts: number;
    readonly verdict: TrialState["verdict"];
  };
  /** An update was interrupted: sending its image again goes on. */
  readonly interrupted?: { readonly slot: Slot; readonly done: readonly string[] };
}

export interface TrialLimits {
  /** Starts of the new slot without confirmation after which it is rolled back. Default 3. */
  readonly starts?: number;
  /** Seconds since the start after which an unconfirmed system is rolled back. */
  readonly seconds?: number;
  /** Seconds since the start, of a clock that never jumps; needed for `seconds`. */
  readonly uptimeSeconds?: number;
}

export interface RollbackOptions {
  /** With it the other slot is first loaded as the loader would; a slot that would not load is no way back. */
  readonly load?: LoadOptions;
}

export type TrialAction = "none" | "waiting" | "confirmed" | "rolled-back";

const DEFAULT_STARTS = 3;

interface View {
  readonly layout: CardLayout;
  readonly state: K230State;
  readonly running: Slot;
  readonly pending?: Slot;
}

/** A commit whose note was cut off is still a commit: the block says so. */
function settle(state: K230State, { meta }: CardLayout): K230State {
  const { writing } = state;
  if (writing === undefined || !meta[writing.slot].valid || meta[writing.slot].version !== writing.version)
    return state;
  const { image, slot, version } = writing;
  const { writing: _done, ...rest } = state;
  return { ...rest, installed: { image, slot, version }, trial: { slot, version, starts: 0, verdict: "pending" } };
}

async function look(card: K230Card): Promise<View> {
  const layout = await readCardLayout(card);
  const state = settle(await stateRecord(card.state).load(), layout);
  const waits = pendingSlot(card, state);
  const running = card.running ?? (waits !== undefined && waits === layout.choice ? otherSlot(waits) : layout.choice);
  const pending = layout.choice === running ? undefined : layout.choice;
  return { layout, state, running, ...(pending === undefined ? {} : { pending }) };
}

function version(block: MetaBlock): number | undefined {
  return block.valid ? block.version : undefined;
}

/** What runs, what will start next, and how a trial stands. Writes nothing. @throws OtaError K230_*, DEVICE_* */
export async function healthStatus(card: K230Card): Promise<HealthStatus> {
  const { layout, state, running, pending } = await look(card);
  const [a, b] = [version(layout.meta.a), version(layout.meta.b)];
  const { trial, writing } = state;
  return {
    ...(a === undefined ? {} : { versionA: a }),
    ...(b === undefined ? {} : { versionB: b }),
    active: layout.choice,
    running,
    ...(pending === undefined ? {} : { pending }),
    ...(trial === undefined
      ? {}
      : { trial: { slot: trial.slot, version: trial.version, starts: trial.starts, verdict: trial.verdict } }),
    ...(writing === undefined ? {} : { interrupted: { slot: writing.slot, done: writing.done } }),
  };
}

/**
 * The running system is healthy: its trial ends, and starts are not counted any more. Doing it again changes nothing.
 * @throws OtaError K230_NOT_ON_TRIAL when another slot than the running one waits
 */
export async function confirmHealth(card: K230Card): Promise<HealthStatus> {
  const { state, running } = await look(card);
  const { trial } = state;
  if (trial !== undefined && trial.slot === running && trial.verdict === "pending") {
    await stateRecord(card.state).save({ ...state, trial: { ...trial, verdict: "confirmed" } });
  } else if (trial?.verdict === "pending") {
    throw new OtaError("K230_NOT_ON_TRIAL", {
      what: `slot ${running} runs, but slot ${trial.slot} is the one on trial`,
      hint: "Restart the device into it, or take it back with `otaforge health rollback`.",
    });
  }
  return healthStatus(card);
}

/**
 * To be called at every start of the system, and by a timer when a time limit is given: counts the start (once a boot), and
 * rolls an unconfirmed system back when its limit is reached. After a confirmation it does nothing.
 *
 * Without boot ids every call counts as a start.
 * @throws OtaError K230_NO_SLOT_TO_ROLL_BACK, K230_*, DEVICE_*
 */
export async function checkTrial(
  card: K230Card,
  limits: TrialLimits = {},
  options: RollbackOptions = {},
): Promise<{ readonly action: TrialAction; readonly status: HealthStatus }> {
  const { layout, state, running } = await look(card);
  const { trial } = state;
  const done = async (action: TrialAction): Promise<{ action: TrialAction; status: HealthStatus }> => ({
    action,
    status: await healthStatus(card),
  });
  if (trial === undefined) return done("none");
  if (trial.verdict === "confirmed") return done("confirmed");
  if (trial.verdict === "rolled-back") return done("none");
  if (trial.slot !== running) {
    // The loader fell back by itself, or the new slot has not been started yet.
    if (layout.choice !== trial.slot || pendingSlot(card, state) !== undefined) return done("none");
    // Without a boot id nobody knows whether the new slot has been tried yet.
    if (card.running === undefined || card.bootId === undefined) return done("none");
    await makeNewer(card, layout, running, state);
    return done("rolled-back");
  }
  const sameBoot = card.bootId !== undefined && trial.bootId === card.bootId;
  const starts = trial.starts + (sameBoot ? 0 : 1);
  const bootId = card.bootId === undefined ? {} : { bootId: card.bootId };
  const { seconds, uptimeSeconds } = limits;
  const late = seconds !== undefined && uptimeSeconds !== undefined && uptimeSeconds >= seconds;
  if (starts > (limits.starts ?? DEFAULT_STARTS) || late) {
    await rollback(card, options);
    return done("rolled-back");
  }
  if (!sameBoot) await stateRecord(card.state).save({ ...state, trial: { ...trial, starts, ...bootId } });
  return done("waiting");
}

/**
 * Makes the other slot the one that starts next. Needs no download. It takes back an update that has not been started yet as
 * well; then the running slot is made the newer one again.
 * @throws OtaError K230_NO_SLOT_TO_ROLL_BACK, DEVICE_*
 */
export async function rollback(card: K230Card, options: RollbackOptions = {}): Promise<HealthStatus> {
  const { layout, state, running, pending } = await look(card);
  const to = pending === undefined ? otherSlot(running) : running;
  if (state.writing?.slot === to) {
    throw new OtaError("K230_NO_SLOT_TO_ROLL_BACK", {
      what: `slot ${to} holds an interrupted update`,
      hint: "Send the image again to complete it.",
    });
  }
  await checkLoads(card.target, layout, to, options);
  await makeNewer(card, layout, to, state);
  return healthStatus(card);
}

async function checkLoads(
  target: BlockTarget,
  layout: CardLayout,
  slot: Slot,
  { load }: RollbackOptions,
): Promise<void> {
  for (const name of [`rtt_${slot}`, `rtapp_${slot}`]) {
    const entry = findEntry(layout.toc, name);
    if (entry === undefined || entry.load === 0 || load === undefined) continue;
    const result = await loadFirmware(target, entry, load);
    if (result.ok) continue;
    throw new OtaError("K230_NO_SLOT_TO_ROLL_BACK", {
      what: `the loader could not load ${name}`,
      found: result.reason,
    });
  }
}

/**
 * One write of one sector: the block of `slot` with a version above the other one's. At the end of the counter the other
 * slot's block is wiped instead, so that `slot`'s own decides, or A when none is valid.
 */
async function makeNewer(card: K230Card, layout: CardLayout, slot: Slot, state: K230State): Promise<void> {
  const { meta, metaAt, choice } = layout;
  if (choice !== slot) {
    const highest = Math.max(meta.a.version, meta.b.version);
    const other = otherSlot(slot);
    if (highest < MAX_VERSION) {
      await writeMetaSector(card.target, metaAt[slot], encodeMetaBlock(highest + 1));
    } else if (meta[slot].valid || slot === "a") {
      await writeMetaSector(card.target, metaAt[other], new Uint8Array(SECTOR_SIZE));
    } else {
      throw new OtaError("K230_VERSION_EXHAUSTED", {
        what: "the version counter of ota_meta has reached its end",
        found: highest,
      });
    }
  }
  const { installed: _installed, ...rest } = state;
  const trial = state.trial === undefined ? {} : { trial: { ...state.trial, verdict: "rolled-back" as const } };
  await stateRecord(card.state).save({ ...rest, ...trial });
}
