/** `otaforge rehearse PACKAGE --device DEVICE.json`. */
import { InvalidArgumentError } from "commander";
import { resolve } from "node:path";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import { commonOptions, printReport, wholeNumber, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { findClaim } from "../trust.ts";

interface Values extends SharedValues {
  device: string;
  cuts: "all" | number;
  seed?: number;
  report?: string;
  only?: string;
}

function readCuts(text: string): "all" | number {
  if (text === "all") return "all";
  const n = wholeNumber(text);
  if (n === 0) throw new InvalidArgumentError("Expected all or a number above 0.");
  return n;
}

export const rehearseCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("rehearse", io))
      .description(
        "Installs a package on a simulated copy of your device with the power cut before, inside and after every write, " +
          "restarts, and judges each outcome. Exit 0 only when no cut leaves a broken device.",
      )
      .argument("<package>", "package file")
      .requiredOption("-d, --device <file>", "device description (DEVICE.json)")
      .option("--cuts <n>", "all, or how many cuts to sample", readCuts, "all")
      .option("--seed <n>", "seed of everything random; printed, so that a run can be repeated", wholeNumber)
      .option("--only <cut>", "one cut and nothing else, as a report names its first broken one")
      .option("--report <file>", "also write the report as one HTML page")
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const claim = await findClaim(input, io);
          const report = await verbOf(family, "rehearse")(claim === undefined ? input : claim.secure(input), {
            ...options,
            deviceFile: resolve(io.cwd, values.device),
            cuts: values.cuts,
            seed: values.seed ?? 1,
            items: claim?.items ?? [],
            ...(values.only === undefined ? {} : { only: values.only }),
            ...(values.report === undefined ? {} : { reportFile: resolve(io.cwd, values.report) }),
          });
          options.progress.done();
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};
