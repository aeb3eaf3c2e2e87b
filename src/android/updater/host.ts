/** What one run of the updater works with, and what it keeps while it runs. */
import type { Cancel, Device } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import type { BlockJournal } from "../block-update/progress.ts";
import type { EdifyEra } from "../edify/ast.ts";
import { EdifyAbort } from "../edify/evaluate.ts";
import { isMediumFailure, failureText, parentOf } from "./device-files.ts";
import type { FileContexts } from "./file-contexts.ts";
import type { ScriptScope } from "./script-scope.ts";

export interface UpdaterHost {
  readonly device: Device;
  readonly zip: ZipArchive;
  readonly era: EdifyEra;
  /** `safe`: resumable, nothing is reported done that is not; `vendor`: the original's results, harmful ones included. */
  readonly profile: "safe" | "vendor";
  /** The run follows a failed one (argument `retry` of 7.1). */
  readonly retry: boolean;
  readonly contexts: FileContexts | undefined;
  /** Files that must not be deleted to make room: the package. */
  readonly keep: ReadonlySet<string>;
  /** A line for recovery; a byte string without its newline. */
  readonly pipe: (line: string) => void;
  /** Text for the log, as the original prints it; newlines are the caller's. */
  readonly log: (text: string) => void;
  /** Waits. Absent: nobody waits for anything. */
  readonly sleep?: (ms: number) => Promise<void>;
  readonly cancel: Cancel | undefined;
}

/** Numbers of the 7.1 log line `cause: n`. */
export const CAUSES = Object.freeze({
  arguments: 100,
  stash: 101,
  open: 102,
  seek: 103,
  read: 104,
  write: 105,
  sync: 106,
  fec: 107,
  getProp: 108,
  rename: 109,
  symlink: 110,
  metadata: 111,
  tune2fs: 112,
  reboot: 113,
});

/** A restart the script asked for: it ends the run at once. */
export class RebootRequest extends Error {
  /** Text of the property, `reboot,recovery`. */
  readonly property: string;

  constructor(property: string) {
    super(`the script asked for a restart: ${property}`);
    this.name = "RebootRequest";
    this.property = property;
  }
}

/** The original's process ends here without a word on the pipe. */
export class ProcessExit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.name = "ProcessExit";
    this.code = code;
  }
}

/**
 * What an interrupted version 1 or 2 block update needs to go on: how far it is, and the answers its script got before it
 * began, because such a script asks for the untouched partition.
 */
export interface BlockMemory {
  journal(name: string, list: Uint8Array): BlockJournal;
  recall(question: string): Promise<string | undefined>;
  note(question: string, answer: string): void;
  /** The whole script is done. Run again it gets the same answers as long as the partitions hold what they hold now. */
  finish(): Promise<void>;
}

/** A running update. */
export class UpdaterSession {
  readonly host: UpdaterHost;
  readonly device: Device;
  /** First cause of a failure, for the log of 7.1. */
  causeCode: number | undefined;
  /** Reading failed with an input/output error: worth another try. */
  sawReadError = false;
  /** Names of files and partitions whose content the script itself looked at: it decides what they are good for. */
  readonly proven = new Set<string>();
  /** What the script works on. */
  scope: ScriptScope = { patchBases: new Set(), blockDevices: [], rangeChecks: [] };
  readonly #folders = new Set<string>();
  /** Keeps what is known of interrupted version 1 and 2 updates; absent: nowhere. */
  memory: BlockMemory | undefined;

  constructor(host: UpdaterHost) {
    this.host = host;
    this.device = host.device;
  }

  get safe(): boolean {
    return this.host.profile === "safe";
  }

  log(text: string): void {
    this.host.log(text);
  }

  /** @throws OtaError CANCELLED */
  checkCancel(): void {
    checkCancel(this.host.cancel);
  }

  /** Where a block update of version 1 or 2 notes how far it is. */
  blockJournal(name: string, list: Uint8Array): BlockJournal | undefined {
    return this.safe ? this.memory?.journal(name, list) : undefined;
  }

  /** An answer given before the first block was written, when that update was interrupted. */
  async rememberedHash(name: string, ranges: string): Promise<string | undefined> {
    return this.safe ? this.memory?.recall(`${name} ${ranges}`) : undefined;
  }

  async rememberHash(name: string, ranges: string, sha1: string): Promise<void> {
    if (this.safe) this.memory?.note(`${name} ${ranges}`, sha1);
  }

  /** A failure that the original takes no notice of. The safe profile stops when it is the medium's. @throws EdifyAbort */
  lost(e: unknown, what: string): void {
    const text = failureText(e);
    if (this.safe && isMediumFailure(e)) throw new EdifyAbort(`${what} failed: ${text}`);
  }

  /** Notes that names in the folder of `path` changed, or attributes of `path`. */
  touched(path: string): void {
    this.#folders.add(parentOf(path));
  }

  touchedFolder(path: string): void {
    this.#folders.add(path);
  }

  /** Brings names and attributes to the medium. File contents are synced where they are written. */
  async settle(): Promise<void> {
    const folders = [...this.#folders].sort((a, b) => b.length - a.length);
    this.#folders.clear();
    for (const folder of folders) {
      try {
        const info = await this.device.files.stat(folder);
        if (info?.kind === "folder") await this.device.files.syncFolder(folder);
      } catch (e) {
        // A folder that was unmounted or removed in between has nothing left to sync.
        this.lost(e, `sync of ${folder}`);
      }
    }
  }
}
