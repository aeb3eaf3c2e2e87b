/** Who lives on this machine, for locks. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { lockDevice } from "./lock.ts";
import type { Lock, Lockable, Processes } from "./lock.ts";
import { systemCode } from "./system-errors.ts";

/** Field 22 of /proc/PID/stat: when the process began, in ticks since boot. The name before it may hold anything. */
async function startTicks(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return systemCode(e) === "EPERM";
  }
}

/** Our own never changes; a rehearsal asks for it thousands of times. */
let ownStart: string | undefined;

/** {@link Processes} of the running system. Without /proc only the number tells processes apart. */
export const nodeProcesses: Processes = {
  pid: process.pid,
  host: hostname(),
  async started(pid) {
    if (pid === process.pid && ownStart !== undefined) return ownStart;
    const start = (await startTicks(pid)) ?? (lives(pid) ? "lives" : undefined);
    if (pid === process.pid) ownStart = start;
    return start;
  },
};

/** {@link lockDevice} with the processes of this machine. @throws OtaError DEVICE_LOCKED, DEVICE_IO */
export async function acquireLock(device: Lockable, command: string): Promise<Lock> {
  return lockDevice(device, command, nodeProcesses);
}
