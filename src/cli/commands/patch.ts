/** `otaforge patch OLD NEW PATCH`: the argument order of bspatch; the format is told by the patch's first bytes. */
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import { openBlockingReader } from "../../device/blocking-reader.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { DELTA_FORMATS, formatOf, refuseForeign, repackNames, Turns } from "../../library/delta-formats.ts";
import { fanOut } from "../progress.ts";
import { keepMemorySmall } from "../small-memory.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { madeBy, patchReport, writePatched } from "../patched-file.ts";
import { placeFor, readWhole } from "../write-beside.ts";

interface Values extends SharedValues {
  bonus?: string;
  repack?: string;
}

export const patchCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("patch", io))
      .description(
        "Applies PATCH to OLD and writes NEW, which appears only when it is complete and every check has passed.",
      )
      .argument("<old>")
      .argument("<new>")
      .argument("<patch>")
      .option("-b, --bonus <file>", "imgdiff2: data appended to the source of chunk 1")
      .option("--repack <names>", "otaforge: re-packers that may be used, names as for diff (default: all)")
      .action(async (oldName: string, newName: string, patchName: string, values: Values) => {
        const { progress, cancel } = commonOptions(values, io);
        const watched = fanOut(progress, keepMemorySmall());
        const startMs = performance.now();
        const old = await openBlockingReader(resolve(io.cwd, oldName));
        const patch = await openBlockingReader(resolve(io.cwd, patchName));
        try {
          await placeFor(resolve(io.cwd, newName));
          const head = await patch.read(0, Math.min(16, patch.size));
          const format = formatOf(head);
          if (format === undefined) {
            throw new OtaError("PACKAGE_UNKNOWN", {
              what: "no patch of a known format",
              where: patchName,
              expected: DELTA_FORMATS.map(({ name }) => name).join(", "),
              hint: "The order is OLD NEW PATCH: NEW is what is made.",
            });
          }
          // --repack only permits: patches that need no re-packer are within it.
          refuseForeign(format, { bonus: values.bonus });
          const bonus = values.bonus === undefined ? undefined : await readWhole(resolve(io.cwd, values.bonus));
          const turns = new Turns();
          const content = format.apply(turns.reader(old), turns.reader(patch), {
            signal: cancel,
            progress: (event) => watched.progress(event),
            ...(values.repack === undefined ? {} : { repack: repackNames(values.repack) }),
            ...(bonus === undefined ? {} : { bonus }),
          });
          const made = await writePatched(madeBy(patchName, content), resolve(io.cwd, newName));
          progress.done();
          const sizes = { oldSize: old.size, patchSize: patch.size };
          const report = patchReport({ format: format.name, ...sizes, ...made, name: newName, startMs });
          done(printReport(report, values, io));
        } finally {
          old.close();
          patch.close();
        }
      });
  },
};
