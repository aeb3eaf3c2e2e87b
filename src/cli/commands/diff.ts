/** `otaforge diff OLD NEW PATCH`: the argument order of bsdiff. */
import { Option } from "commander";
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import type { Effort } from "../../delta/bsdiff40/plan.ts";
import { openFileReader } from "../../device/file-reader.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { diffReport, writeDiffed } from "../diffed-file.ts";
import { DELTA_FORMATS, refuseForeign, repackNames } from "../../library/delta-formats.ts";
import { commonOptions, printReport, wholeNumber, withSharedOptions, type SharedValues } from "../options.ts";
import { placeFor, readWhole } from "../write-beside.ts";

interface Values extends SharedValues {
  format: string;
  effort: Effort;
  zip?: boolean;
  bonus?: string;
  repack?: string;
  jobs?: number;
}

export const diffCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("diff", io))
      .description("Makes a patch that turns OLD into NEW. An existing PATCH is replaced.")
      .argument("<old>")
      .argument("<new>")
      .argument("<patch>")
      .addOption(
        new Option("--format <format>", "what the device can apply")
          .choices(DELTA_FORMATS.map((format) => format.name))
          .default("bsdiff40"),
      )
      .addOption(
        new Option("--effort <effort>", "time against size").choices(["fast", "default", "max"]).default("default"),
      )
      .option("-z, --zip", "imgdiff2: both files are zip archives")
      .option("-b, --bonus <file>", "imgdiff2: data the device appends to the source of chunk 1")
      .option(
        "--repack <names>",
        "otaforge: re-packers the device has, of deflate,zlib,gzip (default: these) and the programs xz,lz4,zstd,gnu-gzip; " +
          "none opens no container",
      )
      .option("-j, --jobs <n>", "worker threads (default: one a processor, at most 8)", wholeNumber)
      .action(async (oldName: string, newName: string, patchName: string, values: Values) => {
        const { progress, cancel } = commonOptions(values, io);
        const format = DELTA_FORMATS.find(({ name }) => name === values.format);
        if (format === undefined) throw new OtaError("USAGE", "unknown format");
        refuseForeign(format, values);
        if (values.jobs === 0) throw new OtaError("USAGE", { what: "at least one worker is needed", where: "--jobs" });
        const startMs = performance.now();
        const old = await openFileReader(resolve(io.cwd, oldName));
        const fresh = await openFileReader(resolve(io.cwd, newName));
        const { createDeltaEngine } = await import("../../delta/engine.node.ts");
        const engine = createDeltaEngine(values.jobs === undefined ? {} : { jobs: values.jobs });
        try {
          await placeFor(resolve(io.cwd, patchName));
          const bonus = values.bonus === undefined ? undefined : await readWhole(resolve(io.cwd, values.bonus));
          const { parts, details } = await format.make(engine, old, fresh, {
            effort: values.effort,
            zip: values.zip === true,
            signal: cancel,
            progress: (event) => progress.progress(event),
            ...(bonus === undefined ? {} : { bonus }),
            ...(values.repack === undefined ? {} : { repack: repackNames(values.repack) }),
          });
          const patchSize = await writeDiffed(parts, resolve(io.cwd, patchName));
          progress.done();
          const run = { format: format.name, effort: values.effort, engine, details, name: patchName, startMs };
          const report = diffReport({ ...run, oldSize: old.size, newSize: fresh.size }, patchSize);
          done(printReport(report, values, io));
        } finally {
          await engine.close();
          await old.close();
          await fresh.close();
        }
      });
  },
};
