/** `otaforge compare A B`. */
import { OtaError } from "../../core/errors.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";

export const compareCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("compare", io))
      .description("Says how two packages of one family differ, part by part. Exit 0 same content, 5 different.")
      .argument("<a>", "first package")
      .argument("<b>", "second package")
      .action(async (nameA: string, nameB: string, values: SharedValues) => {
        const a = await openPackage(nameA, io);
        try {
          const b = await openPackage(nameB, io);
          const options = commonOptions(values, io);
          try {
            const family = await detectFamily(a);
            const other = await detectFamily(b);
            if (family !== other) {
              throw new OtaError("USAGE", {
                what: "packages of two families cannot be compared",
                expected: family.name,
                found: other.name,
              });
            }
            const report = await verbOf(family, "compare")(a, b, options);
            options.progress.done();
            done(printReport(report, values, io));
          } finally {
            await b.close();
          }
        } finally {
          await a.close();
        }
      });
  },
};
