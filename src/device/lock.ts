/**
 * One installer at a time. The lock is a file in the state store that says who holds it; a lock whose holder is gone (another
 * boot, a dead process) is taken over. Pure: who "we" are and who lives comes in as {@link Processes}.
 */
import { OtaError, decodeText, encodeText } from "../core/index.ts";
import type { Device, FileStore } from "../core/index.ts";

/** Who holds a lock. */
export interface LockOwner {
  /** What is being done, for people: the command. */
  readonly command: string;
  readonly pid: number;
  /** A text that differs when the process number was given to another process. */
  readonly started: string;
  readonly host: string;
  readonly boot: string;
  /** Wall clock of the device, ms since 1970. */
  readonly sinceMs: number;
}

/** Processes of this machine. */
export interface Processes {
  readonly pid: number;
  readonly host: string;
  /** A text that tells processes with the same number apart; undefined when no such process lives. */
  started(pid: number): Promise<string | undefined>;
}

export interface Lock {
  readonly owner: LockOwner;
  /** Gives the lock back; twice does nothing more. */
  release(): Promise<void>;
}

/** What a lock needs of a device. */
export type Lockable = Pick<Device, "state" | "clock" | "bootId">;

const LOCK = "/lock";
/** Locks held by this very process, which the liveness of its own number cannot tell from leftovers. */
const held = new WeakMap<FileStore, LockOwner>();

function parseOwner(text: string): LockOwner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof LockOwner, unknown>> | null;
    if (typeof value !== "object" || value === null) return undefined;
    const { command, pid, started, host, boot, sinceMs } = value;
    const whole =
      typeof command === "string" &&
      typeof pid === "number" &&
      typeof started === "string" &&
      typeof host === "string" &&
      typeof boot === "string" &&
      typeof sinceMs === "number";
    return whole ? { command, pid, started, host, boot, sinceMs } : undefined;
  } catch {
    return undefined;
  }
}

/** The lock file's text; undefined when there is none. */
async function readLock(state: FileStore, path: string): Promise<string | undefined> {
  try {
    const file = await state.open(path, "read");
    try {
      return decodeText(await file.read(0, Math.min(file.size, 65536)));
    } finally {
      await file.close();
    }
  } catch (e) {
    if (e instanceof OtaError && e.code === "DEVICE_NOT_FOUND") return undefined;
    throw e;
  }
}

async function isHeld(owner: LockOwner, me: LockOwner, processes: Processes): Promise<boolean> {
  // A lock of another boot has no holder. Of another machine (a state folder on a network) nothing is known: it holds.
  if (owner.host === me.host && owner.boot !== me.boot) return false;
  if (owner.host !== me.host) return true;
  if (owner.pid === me.pid && owner.started === me.started) return false;
  return (await processes.started(owner.pid)) === owner.started;
}

function locked(owner: LockOwner): OtaError {
  return new OtaError("DEVICE_LOCKED", {
    what: "another installer is at work on this device",
    where: `process ${owner.pid} on ${owner.host}: ${owner.command}, since ${new Date(owner.sinceMs).toISOString()}`,
    hint: "Wait for it to end.",
  });
}

async function writeText(state: FileStore, path: string, how: "create" | "create-new", text: string): Promise<void> {
  const file = await state.open(path, how);
  try {
    await file.write(0, encodeText(text));
  } finally {
    await file.close();
  }
}

/** Puts `text` into the lock file if there is none: whole and atomically where the file system has second names. */
async function create(state: FileStore, text: string, unique: string): Promise<boolean> {
  const draft = `${LOCK}.${unique}`;
  await writeText(state, draft, "create", text);
  try {
    await state.makeHardLink(draft, LOCK).catch(async (e: unknown) => {
      // FAT has no second names.
      if (!(e instanceof OtaError) || !["DEVICE_READ_ONLY", "DEVICE_WRONG_KIND"].includes(e.code)) throw e;
      await writeText(state, LOCK, "create-new", text);
    });
    return true;
  } catch (e) {
    if (e instanceof OtaError && e.code === "DEVICE_EXISTS") return false;
    throw e;
  } finally {
    await state.remove(draft);
  }
}

/** Moves a lock without a holder out of the way. A fresh one that came in between is put back. */
async function takeAway(state: FileStore, text: string, unique: string): Promise<void> {
  const aside = `${LOCK}.stale-${unique}`;
  try {
    await state.rename(LOCK, aside);
  } catch (e) {
    if (e instanceof OtaError && e.code === "DEVICE_NOT_FOUND") return;
    throw e;
  }
  if ((await readLock(state, aside)) !== text) await state.makeHardLink(aside, LOCK).catch(() => undefined);
  await state.remove(aside);
}

/**
 * Takes the device's lock for `command`. A crash leaves it behind; the next installer sees that its holder is gone.
 * @throws OtaError DEVICE_LOCKED (says who holds it), DEVICE_IO
 */
export async function lockDevice(device: Lockable, command: string, processes: Processes): Promise<Lock> {
  const { state } = device;
  const owner: LockOwner = {
    command,
    pid: processes.pid,
    started: (await processes.started(processes.pid)) ?? "",
    host: processes.host,
    boot: (await device.bootId()) ?? "",
    sinceMs: device.clock.nowMs(),
  };
  const here = held.get(state);
  if (here !== undefined) throw locked(here);
  const text = JSON.stringify(owner);
  const unique = `${owner.pid}-${owner.started}`;
  for (let attempt = 0; !(await create(state, text, unique)); attempt++) {
    const found = await readLock(state, LOCK);
    const other = found === undefined ? undefined : parseOwner(found);
    if (other !== undefined && ((await isHeld(other, owner, processes)) || attempt >= 10)) throw locked(other);
    if (found !== undefined) await takeAway(state, found, unique);
  }
  held.set(state, owner);
  return {
    owner,
    async release() {
      if (held.get(state) !== owner) return;
      held.delete(state);
      if ((await readLock(state, LOCK)) === text) await state.remove(LOCK);
    },
  };
}
