/** `otaforge install` and `otaforge rehearse` for A/B payloads, bare or in a package. */
import { admitPayload, checkBattery, installPayload, raiseFloor, runningSlot } from "../android/index.ts";
import type { Payload, PayloadInstallReport } from "../android/index.ts";
import type { Device, RandomReader } from "../core/ports.ts";
import { readDescription } from "../device/index.ts";
import type { OpenedDevice } from "../device/index.ts";
import { loadAndroidKeys } from "./android-verify.ts";
import { readBattery } from "./battery.ts";
import type { InstallOptions, RehearseOptions, Report } from "./family.ts";
import type { PayloadRehearsal } from "./payload-rehearsal.ts";
import { checkSlotFiles, findSlotNode, slotNodes } from "./slot-nodes.ts";

function payloadInstallReport(report: PayloadInstallReport, signature: string): Report {
  const { slot, partitions, already, resumed } = report;
  const lines = [
    already
      ? `slot ${slot} holds this payload already and is the one that starts`
      : `installed in slot ${slot}${resumed ? ", continued after an interruption" : ""}; it starts at the next restart`,
    ...partitions.map((p) => `  ${p.name} in ${p.node}, ${p.size} bytes`),
    `signature: ${signature}`,
  ];
  return {
    text: lines.join("\n"),
    json: {
      family: "android",
      outcome: "installed",
      kind: "a-b",
      slot,
      already,
      resumed,
      partitions,
      trust: signature,
    },
    exitCode: 0,
  };
}

const namesOf = ({ manifest }: Payload): string[] => manifest.partitions.flatMap(({ name }) => name ?? []);

/** Installs a payload. The caller holds the lock. */
export async function installAndroidPayload(
  reader: RandomReader,
  bare: boolean,
  device: Device,
  options: InstallOptions,
): Promise<Report> {
  const { profile, progress, cancel, minimumVersion } = options;
  const keys = await loadAndroidKeys(options.keyFiles, "7.1");
  const admitted = await admitPayload(device, reader, bare, {
    keys,
    profile,
    progress,
    cancel,
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
  });
  if (profile === "safe") checkBattery(await readBattery(device));
  const description = "description" in device ? (device as OpenedDevice).description : {};
  const nodeOf = findSlotNode(slotNodes(description), device.kind === "board");
  checkSlotFiles(description, nodeOf, namesOf(admitted.payload));
  const report = await installPayload(device, admitted.payload, {
    nodeOf,
    metadataHash: admitted.metadataHash,
    allowDowngrade: admitted.metadata.downgrade || profile === "vendor",
    progress,
    cancel,
  });
  if (keys.length > 0 && profile === "safe") await raiseFloor(device, admitted.metadata);
  if (admitted.payload.manifest.partitions.some((p) => p.runPostinstall === true)) {
    progress.note("warning", "the payload names programs to run after the installation: they were not run");
  }
  return payloadInstallReport(report, admitted.signature);
}

/** Rehearses a payload: the running slot must start after every cut, until the new one is complete. */
export async function rehearseAndroidPayload(
  bytes: Uint8Array,
  bare: boolean,
  options: RehearseOptions,
): Promise<Report> {
  const { rehearseJob, simulatedCopyOf } = await import("./rehearsal.ts");
  const description = await readDescription(options.deviceFile);
  const spec = await simulatedCopyOf(options.deviceFile);
  const { openDevice } = await import("../device/index.ts");
  const device = await openDevice(options.deviceFile);
  const running = await runningSlot(device).finally(() => device.close());
  const data: PayloadRehearsal = {
    spec: running === undefined ? spec : { ...spec, running },
    package: bytes,
    bare,
    profile: options.profile,
    nodes: slotNodes(description),
  };
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return rehearseJob({ module: new URL(`./payload-rehearsal.${extension}`, import.meta.url).href, data }, options);
}
