/** `otaforge patch OLD NEW PATCH`: the argument order of bspatch; the format is told by the patch's first bytes. */
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { formatBytes } from "../../core/progress.ts";
import { OtaError } from "../../core/errors.ts";
import { toHex } from "../../core/bytes.ts";
import { nodeDigests } from "../../device/digests.ts";
import { openFileReader, writeAll } from "../../device/file-reader.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { DELTA_FORMATS, formatOf, repackNames } from "../../library/delta-formats.ts";
import { fanOut } from "../progress.ts";
import { keepMemorySmall } from "../small-memory.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { readWhole, writeBeside } from "../write-beside.ts";

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
        const old = await openFileReader(resolve(io.cwd, oldName));
        const patch = await openFileReader(resolve(io.cwd, patchName));
        try {
          const head = await patch.read(0, Math.min(16, patch.size));
          const format = formatOf(head);
          if (format === undefined) {
            throw new OtaError("PACKAGE_UNKNOWN", {
              what: "no patch of a known format",
              where: patchName,
              expected: DELTA_FORMATS.map(({ name }) => name).join(", "),
            });
          }
          const bonus = values.bonus === undefined ? undefined : await readWhole(resolve(io.cwd, values.bonus));
          const digest = nodeDigests.create("sha256");
          const content = format.apply(old, patch, {
            signal: cancel,
            progress: (event) => watched.progress(event),
            ...(values.repack === undefined ? {} : { repack: repackNames(values.repack) }),
            ...(bonus === undefined ? {} : { bonus }),
          });
          const target = resolve(io.cwd, newName);
          const newSize = await writeBeside(target, async (temporary) => {
            const file = await open(temporary, "wx");
            let at = 0;
            try {
              for await (const bytes of content) {
                digest.update(bytes);
                await writeAll(file, at, bytes, newName);
                at += bytes.length;
              }
            } finally {
              await file.close();
            }
            return at;
          });
          progress.done();
          const seconds = Math.round(performance.now() - startMs) / 1000;
          const sha256 = toHex(digest.digest());
          const json = { format: format.name, oldSize: old.size, patchSize: patch.size, newSize, sha256, seconds };
          const text = `${newName}: ${formatBytes(newSize)}, sha256 ${sha256}, ${format.name}, ${seconds.toFixed(1)} s`;
          done(printReport({ text, json, exitCode: 0 }, values, io));
        } finally {
          await old.close();
          await patch.close();
        }
      });
  },
};
