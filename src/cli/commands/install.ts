/** `otaforge install PACKAGE --device DEVICE.json`: checks who vouches for the package, then lets its family install it. */
import { Option } from "commander";
import { resolve } from "node:path";
import { openDevice } from "../../device/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily } from "../families.ts";
import { installOrFull } from "../full-instead.ts";
import { installPackage, type InstallWishes } from "../install-package.ts";
import type { Io } from "../io.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";

interface Values extends SharedValues, InstallWishes {
  device?: string;
  full?: string;
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
    // Before the device is opened: bytes that are no package must not make a state folder.
    const family = await detectFamily(input);
    const device = await openDevice(values.device === undefined ? undefined : resolve(io.cwd, values.device), {
      runScripts: values.runScripts === true,
      ...(values.running === undefined ? {} : { running: values.running }),
    });
    try {
      const report = await installPackage(input, { family, device, io }, values, options);
      options.progress.done();
      return printReport(report, values, io);
    } finally {
      await device.close();
    }
  } finally {
    await input.close();
  }
}
