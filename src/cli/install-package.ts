/** One package onto one device: who vouches for it is checked first, then its family installs it. */
import type { OpenedDevice } from "../device/index.ts";
import { verbOf } from "./families.ts";
import type { CommonOptions, Family, InstallOptions, PackageInput, Report } from "./family.ts";
import type { Io } from "./io.ts";
import { checkFamily, raiseFloor, vouch, type VouchOptions } from "./vouch.ts";

/** What a user may ask for beside the package. */
export interface InstallWishes extends VouchOptions {
  readonly temporary?: string;
  readonly runScripts?: boolean;
  readonly acceptVolatile?: boolean;
  readonly allowPartial?: boolean;
  readonly running?: "a" | "b";
  readonly era?: "4.4" | "7.1";
  readonly runUpdateBinary?: boolean;
}

/**
 * Installs `input`, a package of `family`, on an opened device. Whatever of the package is not covered by a configured key is refused before the first
 * write. @throws OtaError
 */
export async function installPackage(
  input: PackageInput,
  { family, device, io }: { readonly family: Family; readonly device: OpenedDevice; readonly io: Io },
  wishes: InstallWishes,
  options: CommonOptions,
): Promise<Report> {
  const install = verbOf(family, "install");
  checkFamily(device, family);
  const { keys = [], minimumVersion } = device.description;
  const vouched = await vouch(input, family, { device, io }, wishes);
  const { temporary, running, era } = wishes;
  const asked: InstallOptions = {
    ...options,
    runScripts: wishes.runScripts === true,
    acceptVolatile: wishes.acceptVolatile === true,
    allowPartial: wishes.allowPartial === true,
    ...(era === undefined ? {} : { era }),
    ...(wishes.runUpdateBinary === true ? { runUpdateBinary: true } : {}),
    keyFiles: keys,
    items: vouched.claim?.items ?? [],
    signature: vouched.signature,
    ...(temporary === undefined ? {} : { temporary }),
    ...(running === undefined ? {} : { running }),
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
  };
  const report = await install(vouched.input, device, asked);
  if (report.exitCode === 0) await raiseFloor(device, vouched);
  return report;
}
