/** K230 at the front door. */
import type { Device } from "../../core/ports.ts";
import { openCard, type K230Card } from "../../k230/index.ts";
import { acquireLock } from "../../device/processes.ts";
import type { OpenedDevice } from "../../device/index.ts";
import type { Family, InstallOptions, PackageInput, RehearseOptions, Report } from "../family.ts";
import { cardOptions, machineRepackers } from "../k230-card.ts";
import { installInput, installReport } from "../k230-install.ts";
import type { K230RehearsalData } from "../k230-rehearsal.ts";
import { buildK230Pack } from "../k230-pack.ts";
import { imageStream, k230PackageVerbs } from "../k230-package.ts";

/** First four bytes of every kdimg (`img_hdr_magic`, specification section 1.1). */
const MAGIC = [0x93, 0x8f, 0xcb, 0x27];

async function install(input: PackageInput, device: Device, options: InstallOptions): Promise<Report> {
  const described = "description" in device ? cardOptions(device as OpenedDevice) : {};
  const lock = await acquireLock(device, "otaforge install");
  try {
    return await installOn(await openCard(device, { ...described, repackers: machineRepackers }), input, options);
  } finally {
    await lock.release();
  }
}

async function installOn(card: K230Card, input: PackageInput, options: InstallOptions): Promise<Report> {
  try {
    const running = options.running ?? card.running;
    const report = await installInput({ ...card, ...(running === undefined ? {} : { running }) }, input, {
      profile: options.profile,
      progress: options.progress,
      cancel: options.cancel,
      allowPartial: options.allowPartial,
    });
    return installReport(report, options.signature);
  } finally {
    await card.target.close();
  }
}

async function rehearse(input: PackageInput, options: RehearseOptions): Promise<Report> {
  const { packageBytes, rehearseJob, simulatedCopyOf } = await import("../rehearsal.ts");
  const { readDescription } = await import("../../device/index.ts");
  const described = cardOptions({ description: await readDescription(options.deviceFile) });
  const plain = input.gzipped ? { ...input, stream: () => imageStream(input) } : input;
  const data: K230RehearsalData = {
    spec: await simulatedCopyOf(options.deviceFile),
    image: await packageBytes(plain),
    card: described,
    profile: options.profile,
    allowPartial: false,
  };
  return rehearseJob(
    {
      module: new URL(`../k230-rehearsal.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url).href,
      data,
    },
    options,
  );
}

export const k230Family: Family = {
  name: "k230",
  what: "K230 image (.kdimg)",
  detect: async (input) => MAGIC.every((byte, i) => input.plainHead[i] === byte),
  pack: buildK230Pack,
  ...k230PackageVerbs,
  install,
  rehearse,
};
