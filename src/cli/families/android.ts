/** Android at the front door. */
import { buildAndroidPack } from "../android-pack.ts";
import { installAndroid, rehearseAndroid } from "../android-install.ts";
import { androidPackageVerbs } from "../android-package.ts";
import { signAndroid } from "../android-sign.ts";
import { withPayloads } from "../android-payload-verify.ts";
import { verifyAndroid } from "../android-verify.ts";
import type { Family } from "../family.ts";

export const androidFamily: Family = {
  name: "android",
  what: "Android package (update.zip, payload.bin)",
  // A zip's first local header, or the payload magic `CrAU`.
  detect: async ({ head: [a, b, c, d] }) =>
    (a === 0x50 && b === 0x4b && c === 3 && d === 4) || (a === 0x43 && b === 0x72 && c === 0x41 && d === 0x55),
  pack: buildAndroidPack,
  ...androidPackageVerbs,
  sign: signAndroid,
  verify: withPayloads(verifyAndroid),
  install: installAndroid,
  rehearse: rehearseAndroid,
};
