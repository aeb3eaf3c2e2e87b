/** SigmaStar at the front door. */
import { nodeDigests } from "../../device/index.ts";
import { detectGeneration } from "../../sigmastar/index.ts";
import type { Family } from "../family.ts";

export const sigmastarFamily: Family = {
  name: "sigmastar",
  what: "SigmaStar package (SStarOta.bin, SStarOta.bin.gz)",
  detect: async (input) => detectGeneration(input.plainHead, nodeDigests) !== undefined,
};
