/** `otaforge install PACKAGE --device DEVICE.json`: checks who vouches for the package, then lets its family install it. */
import { Option } from "commander";
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import type { OpenedDevice } from "../../device/index.ts";
import { openDevice, openJournal } from "../../device/index.ts";
import { checkPolicy, compareVersions, parseVersion, type PublicKey } from "../../trust/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, signsItself, verbOf } from "../families.ts";
import type { Family, PackageInput } from "../family.ts";
import type { Io } from "../io.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { findClaim, loadPublicKeys, signedPhrase, type TrustClaim } from "../trust.ts";

interface Values extends SharedValues {
  device?: string;
  manifest?: string;
  temporary?: string;
  runScripts?: boolean;
  acceptVolatile?: boolean;
  allowPartial?: boolean;
  running?: "a" | "b";
}

/** State record with the highest version that was ever installed completely. */
const FLOOR_RECORD = "version-floor";

interface Floor {
  readonly version: string;
}

function asFloor(value: unknown): Floor | undefined {
  const version = (value as { version?: unknown } | undefined)?.version;
  return typeof version === "string" ? { version } : undefined;
}

/** What the front door knows of the package before the family sees it. */
interface Vouched {
  readonly input: PackageInput;
  readonly claim?: TrustClaim;
  /** Configured keys that signed; empty when no keys are configured. */
  readonly signers: readonly PublicKey[];
  readonly signature: string;
}

async function vouch(
  input: PackageInput,
  family: Family,
  device: OpenedDevice,
  io: Io,
  values: Values,
): Promise<Vouched> {
  if (signsItself(family)) return { input, signers: [], signature: "checked by the family" };
  const { keys: keyFiles = [], minimumVersion, hardware } = device.description;
  const claim = await findClaim(input, io, values.manifest);
  const keys = await loadPublicKeys(keyFiles);
  if (keys.length === 0) {
    return {
      input: claim === undefined ? input : claim.secure(input),
      ...(claim === undefined ? {} : { claim }),
      signers: [],
      signature: claim === undefined || claim.signedBy.length === 0 ? "unsigned" : "signature not checked (no keys)",
    };
  }
  if (claim === undefined) {
    throw new OtaError("TRUST_UNSIGNED", {
      what: "the device has keys configured and the package carries no signature",
      where: input.name,
      hint: "Sign it with: otaforge sign. Nothing was written.",
    });
  }
  const signers = await claim.check(keys);
  const floor = asFloor(await openJournal(device.state, FLOOR_RECORD).load());
  checkPolicy(claim, {
    family: family.name,
    ...(hardware === undefined ? {} : { hardware }),
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
    ...(floor === undefined ? {} : { floor: floor.version }),
  });
  return { input: claim.secure(input), claim, signers, signature: signedPhrase(signers) };
}

/** Raises the stored floor after a complete install of a trusted package. */
async function raiseFloor(device: OpenedDevice, { claim, signers }: Vouched): Promise<void> {
  if (claim === undefined || signers.length === 0) return;
  const journal = openJournal(device.state, FLOOR_RECORD);
  const floor = asFloor(await journal.load());
  if (floor === undefined || compareVersions(parseVersion(claim.version), parseVersion(floor.version)) > 0) {
    await journal.save({ version: claim.version });
  }
}

export const installCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("install", io))
      .description(
        "Installs a package of any family on this board, or on the files that stand for a board. " +
          "After an interruption, run the same command again.",
      )
      .argument("<package>", "package file, or - for standard input")
      .option("-d, --device <file>", "device description (default: this machine is the board)")
      .option("--manifest <file>", "signed manifest (default: PACKAGE.manifest, or the one inside the package)")
      .option("-t, --temporary <dir>", "folder on the device for patched content of differential records")
      .option("--accept-volatile", "let patched content lie on a tmpfs when it fits")
      .option("--run-scripts", "run the package's scripts on this machine although the device is an image")
      .option("--allow-partial", "install an image that does not hold a whole system")
      .addOption(new Option("--running <slot>", "slot that is running now").choices(["a", "b"]))
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const install = verbOf(family, "install");
          const device = await openDevice(values.device === undefined ? undefined : resolve(io.cwd, values.device), {
            runScripts: values.runScripts === true,
            ...(values.running === undefined ? {} : { running: values.running }),
          });
          try {
            checkFamily(device, family);
            const vouched = await vouch(input, family, device, io, values);
            const report = await install(vouched.input, device, {
              ...options,
              runScripts: values.runScripts === true,
              acceptVolatile: values.acceptVolatile === true,
              allowPartial: values.allowPartial === true,
              keyFiles: device.description.keys ?? [],
              items: vouched.claim?.items ?? [],
              signature: vouched.signature,
              ...(values.temporary === undefined ? {} : { temporary: values.temporary }),
              ...(values.running === undefined ? {} : { running: values.running }),
              ...(device.description.minimumVersion === undefined
                ? {}
                : { minimumVersion: device.description.minimumVersion }),
            });
            if (report.exitCode === 0) await raiseFloor(device, vouched);
            options.progress.done();
            done(printReport(report, values, io));
          } finally {
            await device.close();
          }
        } finally {
          await input.close();
        }
      });
  },
};

/** @throws OtaError TRUST_MISMATCH when the description is of another family's device */
function checkFamily(device: OpenedDevice, family: Family): void {
  const described = device.description.family;
  if (described !== undefined && described !== family.name) {
    throw new OtaError("PACKAGE_WRONG_FAMILY", {
      what: "the package is for a device of another family",
      where: "family in the device description",
      expected: described,
      found: family.name,
    });
  }
}
