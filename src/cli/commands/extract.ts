/** `otaforge extract PACKAGE [-C DIR] [NAME…]`. */
import { resolve } from "node:path";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";

interface Values extends SharedValues {
  directory: string;
  base?: string;
}

export const extractCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("extract", io))
      .description("Writes a package's parts into a folder, each checked against its digest.")
      .argument("<package>", "package file")
      .argument("[names...]", "parts to write (default: all)")
      .option("-C, --directory <dir>", "folder to write into, made when missing", ".")
      .option("--base <dir>", "folder with the old images (system.img …), for delta payloads of Android")
      .action(async (name: string, names: string[], values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const folder = resolve(io.cwd, values.directory);
          const report = await verbOf(family, "extract")(input, folder, names, {
            ...options,
            ...(values.base === undefined ? {} : { baseFolder: resolve(io.cwd, values.base) }),
          });
          options.progress.done();
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};
