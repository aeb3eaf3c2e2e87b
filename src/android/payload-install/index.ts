/** Installing A/B payloads: the other slot is written, proven and only then made the one that starts. */
export { admitPayload } from "./admit.ts";
export type { AdmittedPayload, PayloadAdmission } from "./admit.ts";
export { installPayload } from "./install.ts";
export type { PayloadInstallOptions, PayloadInstallReport } from "./install.ts";
export { hashNode } from "./plan.ts";
export type { NodeOfSlot } from "./plan.ts";
export { otherSlot, readSlots, runningSlot } from "./slots.ts";
export type { Slot, SlotRecord } from "./slots.ts";
