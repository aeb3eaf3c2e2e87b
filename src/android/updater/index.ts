/** The updater: update scripts run over the ports of a device. */
export { parseFileContexts } from "./file-contexts.ts";
export type { FileContexts } from "./file-contexts.ts";
export { SCRIPT_NAME } from "../entry-names.ts";
export { guessEra } from "./guess-era.ts";
export { REBOOT_EXIT, runUpdater } from "./run.ts";
export type { UpdaterOptions, UpdaterOutcome } from "./run.ts";
