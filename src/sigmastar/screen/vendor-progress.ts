/**
 * The progress structure of the vendor's client (specification section 7.4): steps, percentages, state and a message.
 *
 * How the vendor computes steps and percentages is not known. Here a step is a record; the main percentage counts the bytes
 * of all records, the sub percentage those of the phase at work.
 */
import type { ProgressEvent } from "../../core/ports.ts";
import { encodeText, decodeText, printable } from "../../core/text.ts";

/** The vendor's state numbers. */
export const PROGRESS_STATE = Object.freeze({
  start: 0,
  verify: 1,
  erase: 2,
  update: 3,
  verifyFailed: 4,
  eraseFailed: 5,
  updateFailed: 6,
  done: 7,
} as const);

export interface VendorProgress {
  readonly totalSteps: number;
  readonly currentStep: number;
  /** 0 to 100. */
  readonly mainPercent: number;
  /** A {@link PROGRESS_STATE}; others are shown as unknown failures. */
  readonly state: number;
  /** 0 to 100. */
  readonly subPercent: number;
  readonly message: string;
}

/** Before anything has happened. */
export const FIRST_PROGRESS: VendorProgress = Object.freeze({
  totalSteps: 0,
  currentStep: 0,
  mainPercent: 0,
  state: PROGRESS_STATE.start,
  subPercent: 0,
  message: "",
});

function percent(done: number, total: number): number {
  return total > 0 ? Math.min(100, Math.max(0, Math.floor((done / total) * 100))) : 100;
}

/** The state after an event of `installSigmastar`. Phases it does not know leave the state as it was. */
export function nextProgress(before: VendorProgress, event: ProgressEvent): VendorProgress {
  const message = event.item ?? "";
  const steps = { totalSteps: event.count ?? before.totalSteps, currentStep: event.index ?? before.currentStep };
  const subPercent = percent(event.doneBytes, event.totalBytes);
  switch (event.phase) {
    case "verify":
      return { ...before, ...steps, currentStep: 0, state: PROGRESS_STATE.verify, subPercent, message };
    case "erase":
      return { ...before, ...steps, state: PROGRESS_STATE.erase, subPercent, message };
    case "update":
    case "read back":
      return { ...before, ...steps, state: PROGRESS_STATE.update, subPercent, message };
    case "all records":
      return { ...before, ...steps, mainPercent: subPercent };
    case "done":
      return { ...before, ...steps, mainPercent: 100, subPercent: 100, state: PROGRESS_STATE.done, message: "" };
    default:
      return before;
  }
}

/** The state after a failure: what was at work decides which. */
export function failedProgress(before: VendorProgress, message: string): VendorProgress {
  const state =
    before.state === PROGRESS_STATE.verify
      ? PROGRESS_STATE.verifyFailed
      : before.state === PROGRESS_STATE.erase
        ? PROGRESS_STATE.eraseFailed
        : PROGRESS_STATE.updateFailed;
  return { ...before, state, message };
}

/** Whether a state is shown in red: failed or unknown. */
export function isFailed(state: number): boolean {
  return !(
    state === PROGRESS_STATE.start ||
    state === PROGRESS_STATE.verify ||
    state === PROGRESS_STATE.erase ||
    state === PROGRESS_STATE.update ||
    state === PROGRESS_STATE.done
  );
}

const TEXT_BYTES = 127;

/** At most 127 bytes, never half a character. */
function cut(text: string): string {
  const bytes = encodeText(printable(text));
  if (bytes.length <= TEXT_BYTES) return printable(text);
  let end = TEXT_BYTES;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return decodeText(bytes, 0, end);
}

/** `(<main>%)(<current>/<total>)`. */
export function mainText(p: VendorProgress): string {
  return cut(`(${p.mainPercent}%)(${p.currentStep}/${p.totalSteps})`);
}

/** The text of the sub bar, by state. */
export function subText(p: VendorProgress): string {
  switch (p.state) {
    case PROGRESS_STATE.start:
      return cut(`(${p.subPercent}%)Start`);
    case PROGRESS_STATE.verify:
      return cut(`(${p.subPercent}%)Verifying(${p.message})`);
    case PROGRESS_STATE.erase:
      return cut(`(${p.subPercent}%)Erasing(${p.message})`);
    case PROGRESS_STATE.update:
      return cut(`(${p.subPercent}%)Updating(${p.message})`);
    case PROGRESS_STATE.done:
      return "(100%)Success";
    case PROGRESS_STATE.verifyFailed:
      return cut(`Verify fail: ${p.message}`);
    case PROGRESS_STATE.eraseFailed:
      return cut(`Erase fail: ${p.message}`);
    case PROGRESS_STATE.updateFailed:
      return cut(`Upgrade fail: ${p.message}`);
    default:
      return "Unknown fail";
  }
}

/** The line the vendor's front end prints to stderr when there is no display. */
export function plainLine(p: VendorProgress): string {
  return `(${p.mainPercent}%)(${p.currentStep}/${p.totalSteps})(state sub ${p.subPercent})`;
}
