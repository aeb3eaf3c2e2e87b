/** `otaforge install PACKAGE --device DEVICE.json`: checks who vouches for the package, then lets its family install it. */
import { Option } from "commander";
import { resolve } from "node:path";
import { openDevice } from "../../device/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import { installOrFull } from "../full-instead.ts";
import type { Io } from "../io.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { checkFamily, raiseFloor, vouch } from "../vouch.ts";

interface Values extends SharedValues {
  device?: string;
  manifest?: string;
  keyList?: string[];
  temporary?: string;
  runScripts?: boolean;
  acceptVolatile?: boolean;
  allowPartial?: boolean;
  full?: string;
  running?: "a" | "b";
  era?: "4.4" | "7.1";
  runUpdateBinary?: boolean;
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
      .option("--key-list <file...>", "signed key lists to follow first (default: PACKAGE.keys)")
      .option("-t, --temporary <dir>", "folder on the device for patched content of differential records")
      .option("--accept-volatile", "let patched content lie on a tmpfs when it fits")
      .option("--run-scripts", "run the package's scripts on this machine although the device is an image")
      .option("--allow-partial", "install an image that does not hold a whole system")
      .option("--full <package>", "full package to install when PACKAGE is a delta whose base is not on this device")
      .addOption(new Option("--running <slot>", "slot that is running now").choices(["a", "b"]))
      .addOption(
        new Option("--era <era>", "Android: whose updater runs the script (default: told from it)").choices([
          "4.4",
          "7.1",
        ]),
      )
      .option("--run-update-binary", "Android: run the package's own program instead of our interpreter (a board only)")
      .action(async (name: string, values: Values) => {
        const options = commonOptions(values, io);
        const { manifest: _ofTheDelta, ...others } = values;
        const install = (file: string) => installOne(file, file === name ? values : others, options, io);
        done(await installOrFull(name, values.full, install, options.progress));
      });
  },
};

async function installOne(
  name: string,
  values: Values,
  options: ReturnType<typeof commonOptions>,
  io: Io,
): Promise<number> {
  const input = await openPackage(name, io);
  try {
    const family = await detectFamily(input);
    const install = verbOf(family, "install");
    const device = await openDevice(values.device === undefined ? undefined : resolve(io.cwd, values.device), {
      runScripts: values.runScripts === true,
      ...(values.running === undefined ? {} : { running: values.running }),
    });
    try {
      checkFamily(device, family);
      const vouched = await vouch(input, family, { device, io }, values);
      const report = await install(vouched.input, device, {
        ...options,
        runScripts: values.runScripts === true,
        acceptVolatile: values.acceptVolatile === true,
        allowPartial: values.allowPartial === true,
        ...(values.era === undefined ? {} : { era: values.era }),
        ...(values.runUpdateBinary === true ? { runUpdateBinary: true } : {}),
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
      return printReport(report, values, io);
    } finally {
      await device.close();
    }
  } finally {
    await input.close();
  }
}
