/** Packing K230 images: the options of `kdimg pack` and `otaforge pack k230`. */
import { relative, resolve } from "node:path";
import type { Command } from "commander";
import { formatBytes } from "../core/progress.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../device/index.ts";
import { packFiles } from "../k230/genimage/pack-files.node.ts";
import type { Io } from "./io.ts";
import { commonOptions, printReport, type SharedValues } from "./options.ts";

interface Values extends SharedValues {
  inputpath: string;
  outputpath: string;
  ota?: boolean;
}

export function buildK230Pack(command: Command, io: Io, done: (exitCode: number) => void): void {
  command
    .description(
      "Makes the images of a genimage configuration: kdimg files and raw card images. Errors leave no file behind.",
    )
    .argument("<config>", "genimage configuration")
    .option("--inputpath, --rootpath <dir>", "folder the images of partitions are in", ".")
    .option("--outputpath <dir>", "folder to write into, made when missing", ".")
    .option("--ota", "make a release's OTA image instead: NAME_ota.kdimg, its .gz and .md5")
    .option("--json", "print JSON on standard output and nothing else there")
    .option("--progress <style>", "auto, plain, json or none (on standard error)")
    .action(async (config: string, values: Values & { rootpath?: string }) => {
      const { progress } = commonOptions(values, io);
      const traced = (path: string): string => {
        io.trace?.used(relative(io.cwd, path));
        return path;
      };
      const files = await packFiles({
        config: resolve(io.cwd, config),
        inputPath: resolve(io.cwd, values.inputpath ?? values.rootpath),
        outputPath: resolve(io.cwd, values.outputpath),
        ota: values.ota === true,
        digests: nodeDigests,
        codecs: nodeCodecs,
        progress,
        openReader: (path) => openFileReader(traced(path)),
        onConfig: traced,
      });
      for (const { path } of files) if (!path.endsWith(".md5")) io.trace?.made(path);
      progress.done();
      const text = files.map(({ path, size }) => `${path} (${formatBytes(size)})`).join("\n");
      done(printReport({ text, json: { files }, exitCode: 0 }, values, io));
    });
}
