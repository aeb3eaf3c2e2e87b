/** `otaforge inspect PACKAGE`. */
import { newCommand, type Subcommand } from "../command.ts";
import { inspectDelta, isDelta } from "../inspect-delta.ts";
import { detectFamily, verbOf } from "../families.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";

export const inspectCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("inspect", io))
      .description(
        "Shows a package's header, parts, digests and what each part will do on the device; of an otaforge delta what it needs.",
      )
      .argument("<package>", "package file or otaforge delta")
      .action(async (name: string, values: SharedValues) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const report = isDelta(input)
            ? await inspectDelta(input, options)
            : await verbOf(await detectFamily(input), "inspect")(input, options);
          options.progress.done();
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};
