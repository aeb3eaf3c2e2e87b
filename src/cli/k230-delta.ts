/** `kdimg delta BASE NEW IMAGE`: a delta image of two releases. */
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { Option, type Command } from "commander";
import { formatBytes } from "../core/progress.ts";
import { nodeDigests } from "../device/digests.ts";
import { openFileReader } from "../device/file-reader.ts";
import { makeDeltaImage, type DeltaPartReport } from "../k230/index.ts";
import { repackNames } from "../library/delta-formats.ts";
import type { Io } from "./io.ts";
import { commonOptions, printReport, wholeNumber, type SharedValues } from "./options.ts";
import { writeBeside } from "./write-beside.ts";

interface Values extends SharedValues {
  effort: "fast" | "default" | "max";
  jobs?: number;
  repack?: string;
}

function partText({ name, kind, size, fullSize, why }: DeltaPartReport): string {
  const share = ((100 * size) / fullSize).toFixed(1);
  return kind === "delta"
    ? `  ${name}: patch of ${formatBytes(size)}, ${share} % of ${formatBytes(fullSize)}`
    : `  ${name}: in full, ${formatBytes(size)}, because ${why ?? ""}`;
}

async function namedRepackers(names: string) {
  const { REPACKER_CHOICES, repackersNamed } = await import("../delta/repackers.node.ts");
  return repackersNamed(names === "all" ? REPACKER_CHOICES : repackNames(names));
}

export function buildK230Delta(command: Command, io: Io, done: (exitCode: number) => void): Command {
  return command
    .description(
      "Makes a delta image: what turns the system of BASE into that of NEW. The vendor's driver and flashers refuse such an " +
        "image; test_ota and otaforge install take it. A part whose patch is no smaller is carried in full.",
    )
    .argument("<base>", "image of the system that runs: an OTA image, or the card image it was flashed with")
    .argument("<new>", "full OTA image of the new system")
    .argument("<image>", "delta image to write; an existing one is replaced")
    .addOption(
      new Option("--effort <effort>", "time against size").choices(["fast", "default", "max"]).default("default"),
    )
    .option("--repack <names>", "re-packers the devices have: inside (default), all, or names as for otaforge diff")
    .option("-j, --jobs <n>", "worker threads (default: one a processor, at most 8)", wholeNumber)
    .option("--json", "print JSON on standard output and nothing else there")
    .option("--progress <style>", "auto, plain, json or none (on standard error)")
    .action(async (baseName: string, newName: string, imageName: string, values: Values) => {
      const { progress, cancel } = commonOptions(values, io);
      for (const name of [baseName, newName]) io.trace?.used(name);
      const base = await openFileReader(resolve(io.cwd, baseName));
      const fresh = await openFileReader(resolve(io.cwd, newName));
      const { createDeltaEngine } = await import("../delta/engine.node.ts");
      const engine = createDeltaEngine(values.jobs === undefined ? {} : { jobs: values.jobs });
      try {
        const { effort, repack = "inside" } = values;
        const packing = repack === "inside" ? {} : await namedRepackers(repack);
        const image = await makeDeltaImage(base, fresh, {
          digests: nodeDigests,
          maker: engine,
          ...packing,
          effort,
          cancel,
          progress,
        });
        await writeBeside(resolve(io.cwd, imageName), async (temporary) => {
          const file = await open(temporary, "wx");
          try {
            for await (const bytes of image.content()) await file.writeFile(bytes);
            await file.sync();
          } finally {
            await file.close();
          }
        });
        io.trace?.made(imageName);
        progress.done();
        const { isDelta, parts, size } = image;
        const lines = [
          `${imageName}: ${formatBytes(size)}, new image ${formatBytes(fresh.size)}`,
          ...parts.map(partText),
          ...(isDelta ? [] : ["no patch was worth it: this is a full image"]),
        ];
        const json = { image: imageName, delta: isDelta, size, fullSize: fresh.size, parts };
        done(printReport({ text: lines.join("\n"), json, exitCode: 0 }, values, io));
      } finally {
        await engine.close();
        await base.close();
        await fresh.close();
      }
    });
}
