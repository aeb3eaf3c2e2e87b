/** The files recovery keeps in /cache/recovery: command, intent, locale, logs. */
import type { Device } from "../../core/ports.ts";
import { fromLatin1, toLatin1 } from "../latin1.ts";
import { failureText } from "../updater/device-files.ts";

export const RECOVERY_FOLDER = "/cache/recovery";
export const COMMAND_FILE = `${RECOVERY_FOLDER}/command`;
/** Owner of the log: Android's `system`. */
const SYSTEM_UID = 1000;
/** Older last_log files kept. */
const KEPT_LOGS = 10;
/** Largest file that survives a wipe of /cache, bytes. */
const MAX_SAVED = 512 * 1024;

/** A small file as a byte string; undefined when it is not there. */
export async function readText(device: Device, path: string): Promise<string | undefined> {
  try {
    const info = await device.files.stat(path);
    if (info?.kind !== "file" || info.size > 1 << 20) return undefined;
    const file = await device.files.open(path, "read");
    try {
      return fromLatin1(await file.read(0, file.size));
    } finally {
      await file.close();
    }
  } catch (e) {
    failureText(e);
    return undefined;
  }
}

/** Writes or continues a small file; on the medium when this returns. Failures are recovery's least problem. */
export async function writeText(
  device: Device,
  path: string,
  text: string,
  options: { readonly mode: number; readonly append?: boolean; readonly owner?: number },
): Promise<void> {
  try {
    await device.files.makeFolder(RECOVERY_FOLDER, 0o770);
    const append = options.append === true && (await device.files.stat(path)) !== undefined;
    const file = await device.files.open(path, append ? "update" : "create", options.mode);
    try {
      const bytes = toLatin1(text);
      if (bytes.length > 0) await file.write(append ? file.size : 0, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    const owner = options.owner === undefined ? {} : { uid: options.owner, gid: options.owner };
    await device.files.setAttributes(path, { mode: options.mode, ...owner });
    await device.files.syncFolder(RECOVERY_FOLDER);
  } catch (e) {
    failureText(e);
  }
}

export async function removeFile(device: Device, path: string): Promise<void> {
  try {
    if ((await device.files.stat(path)) === undefined) return;
    await device.files.remove(path);
    await device.files.syncFolder(RECOVERY_FOLDER);
  } catch (e) {
    failureText(e);
  }
}

/** The log of this run and the summary of its installation. */
export class RecoveryLog {
  readonly #device: Device;
  #text = "";
  #copied = 0;
  #rotated = false;
  /** Text of last_install. */
  install = "";

  constructor(device: Device) {
    this.#device = device;
  }

  add(text: string): void {
    this.#text += text;
  }

  async #rotate(): Promise<void> {
    if (this.#rotated) return;
    this.#rotated = true;
    const { files } = this.#device;
    const name = (n: number): string => (n === 0 ? `${RECOVERY_FOLDER}/last_log` : `${RECOVERY_FOLDER}/last_log.${n}`);
    try {
      for (let n = KEPT_LOGS - 1; n >= 0; n--) {
        if ((await files.stat(name(n))) !== undefined) await files.rename(name(n), name(n + 1));
      }
    } catch (e) {
      failureText(e);
    }
  }

  /** Writes the logs to the cache. */
  async copy(): Promise<void> {
    await this.#rotate();
    const device = this.#device;
    const fresh = this.#text.slice(this.#copied);
    this.#copied = this.#text.length;
    await writeText(device, `${RECOVERY_FOLDER}/log`, fresh, { mode: 0o600, append: true, owner: SYSTEM_UID });
    await writeText(device, `${RECOVERY_FOLDER}/last_log`, this.#text, { mode: 0o640 });
    await writeText(device, `${RECOVERY_FOLDER}/last_install`, this.install, { mode: 0o644 });
  }

  /** The cache was wiped: the whole log is new to it. */
  startOver(): void {
    this.#copied = 0;
  }
}

/** Files `last*` of the recovery folder, kept over a wipe. */
export async function saveLastFiles(device: Device): Promise<Map<string, Uint8Array>> {
  const saved = new Map<string, Uint8Array>();
  try {
    if ((await device.files.stat(RECOVERY_FOLDER)) === undefined) return saved;
    for (const name of await device.files.list(RECOVERY_FOLDER)) {
      const path = `${RECOVERY_FOLDER}/${name}`;
      const info = await device.files.stat(path);
      if (!name.startsWith("last") || info?.kind !== "file" || info.size > MAX_SAVED) continue;
      const file = await device.files.open(path, "read");
      try {
        saved.set(path, (await file.read(0, file.size)).slice());
      } finally {
        await file.close();
      }
    }
  } catch (e) {
    failureText(e);
  }
  return saved;
}

export async function restoreFiles(device: Device, saved: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [path, bytes] of saved) await writeText(device, path, fromLatin1(bytes), { mode: 0o640 });
}
