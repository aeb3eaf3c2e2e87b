/** `otaforge verify PACKAGE [--key KEY…]`. */
import { Option } from "commander";
import { resolve } from "node:path";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";

interface Values extends SharedValues {
  key?: string[];
  era: "4.4" | "7.1";
}

export const verifyCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("verify", io))
      .description(
        "Checks every digest of a package, and its signature when keys are given. Exit 0 accepted, 3 damaged, 4 not trusted.",
      )
      .argument("<package>", "package file")
      .option("-k, --key <file...>", "public key or certificate (PEM), res/keys text, otacerts.zip")
      .addOption(new Option("--era <era>", "Android verifier to follow").choices(["4.4", "7.1"]).default("7.1"))
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const keyFiles = (values.key ?? []).map((file) => resolve(io.cwd, file));
          const report = await verbOf(family, "verify")(input, { ...options, keyFiles, era: values.era });
          options.progress.done();
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};
