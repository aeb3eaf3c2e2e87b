/** Recovery: command file, control block, verification, installation, wiping, logs. */
export { chooseArguments, parseArguments } from "./arguments.ts";
export type { RecoveryRequest } from "./arguments.ts";
export { BCB, readControlBlock, writeControlBlock } from "./bcb.ts";
export type { ControlBlock } from "./bcb.ts";
export { parseBlockMap } from "./block-map.ts";
export { runRecovery, STATUS } from "./run.ts";
export type { RecoveryOptions, RecoveryOutcome, Status } from "./run.ts";
export { BACKGROUNDS } from "./ui.ts";
export type { Background, RecoveryUi } from "./ui.ts";
