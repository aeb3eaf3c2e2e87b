/** An A/B payload as a rehearsal's subject: judged by what the loader would start. */
import { admitPayload, hashNode, installPayload, otherSlot, readSlots } from "../android/index.ts";
import type { Payload } from "../android/index.ts";
import { equalBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { Device } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice, type SimulatedSpec } from "../device/index.ts";
import type { RehearsalSubject } from "../rehearse/index.ts";
import { findSlotNode } from "./slot-nodes.ts";

/** What a thread is given. */
export interface PayloadRehearsal {
  readonly spec: SimulatedSpec;
  readonly package: Uint8Array;
  readonly bare: boolean;
  readonly profile: "safe" | "vendor";
  readonly nodes: readonly string[];
}

/** What the loader would start. */
interface Started {
  readonly system: "old" | "new" | "broken";
  readonly why: string;
}

/** The package is checked once; its installer runs as often as the rehearsal cuts. */
export async function rehearsalSubject(data: unknown): Promise<RehearsalSubject> {
  const job = data as PayloadRehearsal;
  const makeDevice = (): ReturnType<typeof createSimulatedDevice> => createSimulatedDevice(job.spec);
  const nodeOf = findSlotNode(job.nodes, false);
  const fresh = makeDevice();
  const { running } = job.spec;
  if (running === undefined) {
    throw new OtaError("ANDROID_PREFLIGHT", {
      what: "it is not known which slot is running",
      expected: "running in the device description",
    });
  }
  const { payload, metadata, metadataHash } = await admitPayload(fresh, memoryReader(job.package), job.bare, {
    keys: [],
    profile: job.profile,
  });
  const old = await contentOf(fresh, payload, (name) => nodeOf(name, running));
  const started = async (device: Device): Promise<Started> => {
    const active = (await readSlots(device))?.active ?? running;
    if (active === running) {
      const now = await contentOf(device, payload, (name) => nodeOf(name, running));
      const whole = now.every((digest, i) => equalBytes(digest, old[i] as Uint8Array));
      return whole
        ? { system: "old", why: "" }
        : { system: "broken", why: "the running slot was written to, and the loader would start it" };
    }
    for (const { name = "", newInfo } of payload.manifest.partitions) {
      const node = nodeOf(name, otherSlot(running));
      const found = node === undefined ? undefined : await hashNode(device, node, newInfo?.size ?? 0, { item: name });
      if (found === undefined || !equalBytes(found, newInfo?.sha256 ?? new Uint8Array(0))) {
        return { system: "broken", why: `the loader would start slot ${active}, and its ${name} is not complete` };
      }
    }
    return { system: "new", why: "" };
  };
  return {
    makeDevice,
    install: (device) => installPayload(device, payload, { nodeOf, metadataHash, allowDowngrade: metadata.downgrade }),
    async judge(device, { succeeded }) {
      const { system, why } = await started(device);
      if (system === "new") return { state: "new" };
      if (system === "old" && !succeeded) return { state: "old" };
      return {
        state: "broken",
        reason: system === "broken" ? why : "success is reported, and the loader would start the old system",
      };
    },
    async boots(device) {
      const { system, why } = await started(device);
      return system === "broken" ? why : undefined;
    },
  };
}

/** Digests of whole nodes, in the payload's order; a node that is not there counts as empty. */
async function contentOf(
  device: Device,
  payload: Payload,
  node: (partition: string) => string | undefined,
): Promise<Uint8Array[]> {
  const out: Uint8Array[] = [];
  for (const { name = "" } of payload.manifest.partitions) {
    const path = node(name);
    const size = path === undefined ? undefined : (await device.nodes.info(path))?.size;
    out.push(
      path === undefined || size === undefined ? new Uint8Array(0) : await hashNode(device, path, size, { item: name }),
    );
  }
  return out;
}
