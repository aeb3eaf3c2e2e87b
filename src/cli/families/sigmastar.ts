/** SigmaStar at the front door. */
import type { Family } from "../family.ts";
import { buildSigmastarPack } from "../sigmastar-pack.ts";
import { sigmastarDeviceVerbs } from "../sigmastar-device.ts";
import { sigmastarPackageVerbs } from "../sigmastar-package.ts";

export const sigmastarFamily: Family = {
  name: "sigmastar",
  what: "SigmaStar package (SStarOta.bin, SStarOta.bin.gz)",
  pack: buildSigmastarPack,
  ...sigmastarPackageVerbs,
  ...sigmastarDeviceVerbs,
};
