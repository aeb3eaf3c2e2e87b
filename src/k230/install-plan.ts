/** Everything that can be decided about an update before its first write. */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import { findTargets, readCardLayout } from "./card.ts";
import { findBases } from "./delta-image.ts";
import type { DeltaBases } from "./delta-image.ts";
import type { CardLayout, K230Card, Target } from "./card.ts";
import { checkInstallable } from "./installable.ts";
import type { Installable } from "./installable.ts";
import type { K230State } from "./install-state.ts";
import type { Kdimg } from "./kdimg.ts";
import { MAX_VERSION, otherSlot } from "./ota-meta.ts";
import type { Slot } from "./ota-meta.ts";

export interface PlanOptions {
  /** Take an image without rtapp. */
  readonly allowPartial?: boolean;
  /** Overwrite the slot of an update that has not been started yet. */
  readonly replacePending?: boolean;
}

export interface InstallPlan extends Installable {
  readonly layout: CardLayout;
  readonly running: Slot;
  readonly slot: Slot;
  readonly version: number;
  readonly targets: readonly Target[];
  /** Where the patches of delta parts find their base, by part. */
  readonly bases: DeltaBases;
  /** Names of parts an interrupted run has written and verified. */
  readonly done: readonly string[];
  /** An interrupted run has even committed: nothing is left to write. */
  readonly committed: boolean;
}

const NO_TEXT = new Set(["", "none"]);

/** @throws OtaError K230_WRONG_BOARD when both sides say something and it differs */
export function checkHardware(card: Pick<K230Card, "board" | "chip">, { header }: Pick<Kdimg, "header">): void {
  const pairs = [
    ["board", card.board, header.boardInfo],
    ["chip", card.chip, header.chipInfo],
  ] as const;
  for (const [what, own, text] of pairs) {
    if (own === undefined || NO_TEXT.has(text) || own === text) continue;
    throw new OtaError("K230_WRONG_BOARD", {
      what: `the image is made for another ${what}`,
      expected: printable(own),
      found: printable(text),
    });
  }
}

/** Installed in the life of this process, by card: the boot id of devices that have none. */
const installedHere = new WeakMap<object, Slot>();

export function noteInstalled(card: K230Card, slot: Slot): void {
  installedHere.set(card.owner ?? card.target, slot);
}

/** The slot of an update that was installed in this boot and so cannot run yet. */
export function pendingSlot(card: K230Card, state: K230State): Slot | undefined {
  const here = installedHere.get(card.owner ?? card.target);
  if (card.bootId === undefined) return here;
  return state.installed?.bootId === card.bootId ? state.installed.slot : undefined;
}

function rebootRequired(slot: Slot): OtaError {
  return new OtaError("K230_REBOOT_REQUIRED", {
    what: `slot ${slot} holds an update that has not been started yet`,
    hint: "Restart the device first, or take the update back with `otaforge health rollback`.",
  });
}

/** The slot that runs. @throws OtaError K230_REBOOT_REQUIRED when the other one waits for its first start */
function runningSlot(card: K230Card, layout: CardLayout, state: K230State, options: PlanOptions): Slot {
  const pending = pendingSlot(card, state);
  if (pending !== undefined && pending === layout.choice) {
    if (options.replacePending !== true) throw rebootRequired(pending);
    return card.running ?? otherSlot(pending);
  }
  const running = card.running ?? layout.choice;
  const waits =
    running !== layout.choice &&
    state.installed?.slot === layout.choice &&
    // With a boot id a later boot is known: then the loader fell back, and its choice is what is broken.
    (card.bootId === undefined || state.installed.bootId === card.bootId);
  if (waits && options.replacePending !== true) throw rebootRequired(layout.choice);
  return running;
}

/**
 * Checks an image against a card.
 * @param imageId hex SHA-256 of header and part table
 * @throws OtaError KDIMG_*, K230_*
 */
export async function planInstall(
  card: K230Card,
  image: Kdimg & { readonly imageId: string },
  state: K230State,
  options: PlanOptions,
): Promise<InstallPlan> {
  const installable = checkInstallable(image, options);
  checkHardware(card, image);
  const layout = await readCardLayout(card);
  const { meta } = layout;
  const { writing } = state;
  const same = writing?.image === image.imageId ? writing : undefined;
  if (
    same !== undefined &&
    layout.choice === same.slot &&
    meta[same.slot].version === same.version &&
    meta[same.slot].valid
  ) {
    const targets = findTargets(layout, same.slot, installable.parts, card.target);
    const { slot, version, done } = same;
    const running = otherSlot(slot);
    return { ...installable, layout, running, slot, version, targets, bases: new Map(), done, committed: true };
  }
  const running = runningSlot(card, layout, state, options);
  if (state.trial?.verdict === "pending" && state.trial.slot === running && state.trial.starts > 0) {
    throw new OtaError("K230_TRIAL_RUNNING", {
      what: `slot ${running} runs on trial; an update would overwrite the only system to go back to`,
      hint: "First `otaforge health confirm` or `otaforge health rollback`.",
    });
  }
  const slot = otherSlot(running);
  const targets = findTargets(layout, slot, installable.parts, card.target);
  const version = nextVersion(layout, running);
  const bases = await findBases(card, layout.toc, running, installable.parts);
  const resumed = same?.slot === slot && !meta[slot].valid ? same : undefined;
  return {
    ...installable,
    layout,
    running,
    slot,
    version,
    targets,
    bases,
    done: resumed?.done ?? [],
    committed: false,
  };
}

/** One more than both blocks; where only the slot to be overwritten stands at the end of the counter, one more than the running one. */
export function nextVersion({ meta }: Pick<CardLayout, "meta">, running: Slot): number {
  const highest = Math.max(meta.a.version, meta.b.version);
  const version = highest < MAX_VERSION ? highest + 1 : meta[running].version + 1;
  if (version <= MAX_VERSION) return version;
  throw new OtaError("K230_VERSION_EXHAUSTED", {
    what: "the version counter of ota_meta has reached its end; one more would wrap to 0 and never be chosen",
    found: highest,
    hint: "Write the card anew, or lower both blocks offline.",
  });
}
