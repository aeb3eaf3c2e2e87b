/** An Android package as a rehearsal's subject: every thread checks the package and runs its script by itself. */
import { installUpdateZip } from "../android/index.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice, type SimulatedSpec } from "../device/index.ts";
import type { RehearsalSubject } from "../rehearse/index.ts";

/** What a thread is given. */
export interface AndroidRehearsal {
  readonly spec: SimulatedSpec;
  readonly package: Uint8Array;
  readonly profile: "safe" | "vendor";
  /** Node of /cache, where the description has one. */
  readonly cacheNode: string | undefined;
}

/** The subject. A two-step package's restarts are part of one run: the cuts between its stages are cuts like any other. */
export async function rehearsalSubject(data: unknown): Promise<RehearsalSubject> {
  const job = data as AndroidRehearsal;
  const reader = memoryReader(job.package);
  return {
    makeDevice: () => createSimulatedDevice(job.spec),
    install: (device) =>
      installUpdateZip(device, reader, {
        profile: job.profile,
        keys: [],
        nodeOf: (at) => (at === "/cache" ? job.cacheNode : undefined),
      }),
  };
}
