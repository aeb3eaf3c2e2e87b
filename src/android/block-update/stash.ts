/**
 * The stash of a block update on /cache, formats/android.md section 3.4: blocks that are needed later, each a file that is
 * written beside its place, flushed and renamed.
 */
import { toHex } from "../../core/bytes.ts";
import type { Device } from "../../core/ports.ts";
import { checkCacheSpace, roomOf } from "../applypatch/cache.ts";
import { toLatin1 } from "../latin1.ts";
import { failureText } from "../updater/device-files.ts";
import { BLOCK_SIZE } from "./blocks.ts";

const BASE = "/cache/recovery";
/** Ending of a stash that is being written. */
const PARTIAL = ".partial";

/** Whether a list may name a stash so: numbers in version 2, SHA-1 from version 3 on. */
export const isStashName = (id: string): boolean => /^[A-Za-z0-9]{1,64}$/.test(id);

export interface StashContext {
  readonly device: Device;
  readonly keep: ReadonlySet<string>;
  readonly log: (text: string) => void;
}

export class Stash {
  readonly folder: string;
  readonly name: string;
  readonly #context: StashContext;

  constructor(context: StashContext, blockDevice: string) {
    const digest = context.device.digests.create("sha1");
    digest.update(toLatin1(blockDevice));
    this.name = toHex(digest.digest());
    this.folder = `${BASE}/${this.name}`;
    this.#context = context;
  }

  #file(id: string): string | undefined {
    return isStashName(id) ? `${this.folder}/${id}` : undefined;
  }

  /**
   * Makes room for `bytes` in all. `spare`: bytes taken elsewhere on /cache that will be given back before they are needed. `created`: the folder is new; `existing`: an earlier run was interrupted; `failed`: there is
   * no room or no folder.
   */
  async open(bytes: number, spare = 0): Promise<"created" | "existing" | "failed"> {
    const { device, log, keep } = this.#context;
    const { files } = device;
    try {
      const info = await files.stat(this.folder);
      if (info === undefined) {
        log(`creating stash ${this.folder}/\n`);
        await files.makeFolder(this.folder, 0o700);
        await files.syncFolder(BASE);
        if (await checkCacheSpace(this.#context, Math.max(0, bytes - spare), keep)) return "created";
        log("not enough space for stash\n");
        await files.remove(this.folder);
        return "failed";
      }
      log(`using existing stash ${this.folder}/\n`);
      for (const name of await files.list(this.folder)) {
        if (name.endsWith(PARTIAL)) await files.remove(`${this.folder}/${name}`);
      }
      const needed = bytes - spare - (await this.used());
      if (needed > 0 && !(await checkCacheSpace(this.#context, needed, keep))) {
        log(`not enough space for stash (${needed} more needed)\n`);
        return "failed";
      }
      return "existing";
    } catch (e) {
      log(`stash "${this.folder}" failed: ${failureText(e)}\n`);
      return "failed";
    }
  }

  /** Bytes that an interrupted run left in the stash, half-written files too. @throws OtaError DEVICE_* */
  async used(): Promise<number> {
    const { files } = this.#context.device;
    if ((await files.stat(this.folder))?.kind !== "folder") return 0;
    let bytes = 0;
    for (const name of await files.list(this.folder)) {
      bytes += roomOf((await files.stat(`${this.folder}/${name}`))?.size ?? 0);
    }
    return bytes;
  }

  /** Takes away what an interrupted run of another list left. @throws OtaError DEVICE_* */
  async retain(wanted: (id: string) => boolean): Promise<void> {
    const { files } = this.#context.device;
    if ((await files.stat(this.folder))?.kind !== "folder") return;
    for (const name of await files.list(this.folder)) {
      if (!wanted(name)) await files.remove(`${this.folder}/${name}`);
    }
  }

  async has(id: string): Promise<boolean> {
    const path = this.#file(id);
    return path !== undefined && (await this.#context.device.files.stat(path))?.kind === "file";
  }

  /** Content of a stash; undefined, with the reason in the log, when it is not there or not whole. */
  async read(id: string, tellMissing: boolean): Promise<Uint8Array | undefined> {
    const { device, log } = this.#context;
    const path = this.#file(id);
    if (path === undefined) return undefined;
    try {
      const info = await device.files.stat(path);
      if (info === undefined) {
        if (tellMissing) log(`stat "${path}" failed: No such file or directory\n`);
        return undefined;
      }
      log(` loading ${path}\n`);
      if (info.size % BLOCK_SIZE !== 0) {
        log(`${path} size ${info.size} not multiple of block size ${BLOCK_SIZE}\n`);
        return undefined;
      }
      const file = await device.files.open(path, "read");
      try {
        return await file.read(0, file.size);
      } finally {
        await file.close();
      }
    } catch (e) {
      log(`open "${path}" failed: ${failureText(e)}\n`);
      return undefined;
    }
  }

  /** Writes a stash; it is on the medium when this gives true. */
  async write(id: string, bytes: Uint8Array): Promise<boolean> {
    const { device, log } = this.#context;
    const path = this.#file(id);
    if (path === undefined) return false;
    try {
      log(` writing ${bytes.length / BLOCK_SIZE} blocks to ${path}\n`);
      const partial = `${path}${PARTIAL}`;
      const file = await device.files.open(partial, "create", 0o600);
      try {
        await file.write(0, bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await device.files.rename(partial, path);
      await device.files.syncFolder(this.folder);
      return true;
    } catch (e) {
      log(`writing stash "${path}" failed: ${failureText(e)}\n`);
      return false;
    }
  }

  /** Whether there is room for `bytes` more. */
  async room(bytes: number): Promise<boolean> {
    return checkCacheSpace(this.#context, bytes, this.#context.keep);
  }

  async remove(id: string): Promise<boolean> {
    const { device, log } = this.#context;
    const path = this.#file(id);
    if (path === undefined) return false;
    try {
      if ((await device.files.stat(path)) === undefined) return true;
      log(`deleting ${path}\n`);
      await device.files.remove(path);
    } catch (e) {
      log(`unlink "${path}" failed: ${failureText(e)}\n`);
    }
    return true;
  }

  /** Takes the whole stash away. */
  async clear(): Promise<void> {
    const { device, log } = this.#context;
    log(`deleting stash ${this.name}\n`);
    try {
      if ((await device.files.stat(this.folder)) === undefined) return;
      for (const name of await device.files.list(this.folder)) {
        log(`deleting ${this.folder}//${name}\n`);
        await device.files.remove(`${this.folder}/${name}`);
      }
      await device.files.remove(this.folder);
      await device.files.syncFolder(BASE);
    } catch (e) {
      log(`rmdir "${this.folder}" failed: ${failureText(e)}\n`);
    }
  }
}
