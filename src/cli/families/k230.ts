/** K230 at the front door. */
import type { Device } from "../../core/ports.ts";
import { openCard } from "../../k230/index.ts";
import type { OpenedDevice } from "../../device/index.ts";
import type { Family, InstallOptions, PackageInput, Report } from "../family.ts";
import { cardOptions } from "../k230-card.ts";
import { installInput, installReport } from "../k230-install.ts";
import { buildK230Pack } from "../k230-pack.ts";
import { k230PackageVerbs } from "../k230-package.ts";

/** First four bytes of every kdimg (`img_hdr_magic`, specification section 1.1). */
const MAGIC = [0x93, 0x8f, 0xcb, 0x27];

async function install(input: PackageInput, device: Device, options: InstallOptions): Promise<Report> {
  const described = "description" in device ? cardOptions(device as OpenedDevice) : {};
  const card = await openCard(device, described);
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

export const k230Family: Family = {
  name: "k230",
  what: "K230 image (.kdimg)",
  detect: async (input) => MAGIC.every((byte, i) => input.plainHead[i] === byte),
  pack: buildK230Pack,
  ...k230PackageVerbs,
  install,
};
