/** `image-ota`: the dialogue of the vendor tree's `make image-ota`, from a partition configuration to `SStarOta.bin.gz`. */
import { readFileSync, statSync } from "node:fs";
import { chmod, readFile, rm } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { Command } from "commander";
import { formatBytes } from "../../core/progress.ts";
import { OtaError } from "../../core/errors.ts";
import { decodeText } from "../../core/text.ts";
import { readPartitionConfig, runImageOta, type FlowOptions, type Generation } from "../../sigmastar/index.ts";
import { nodePackFiles, replaceFile } from "../../sigmastar/pack-files.node.ts";
import { newCommand } from "../command.ts";
import { gzipFile } from "../gzip-file.ts";
import type { Io } from "../io.ts";
import { lineReader } from "../line-reader.ts";
import { defaultGeneration, otapackMain, parseGeneration, pathIn } from "./otapack.ts";

interface Values {
  config: string;
  images: string;
  generation?: string;
  buildId?: string;
  select?: string;
  yes?: boolean;
  beginScript?: string;
  endScript?: string;
  define: Record<string, string>;
  vendorCompatible?: boolean;
}

function collectDefine(text: string, all: Record<string, string>): Record<string, string> {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new OtaError("USAGE", { what: "--define needs NAME=VALUE", found: text });
  return { ...all, [text.slice(0, equals)]: text.slice(equals + 1) };
}

function build(io: Io, run: (values: Values) => Promise<void>): Command {
  return newCommand("image-ota", io)
    .description(
      "Asks which images of a partition configuration go into an OTA package and makes SStarOta.bin.gz (and, for v1.6, " +
        "SStarOtaLayout.txt) in the image folder.",
    )
    .requiredOption("--config <file>", "partition configuration (*.partition.config)")
    .requiredOption("--images <dir>", "folder of the image files; the package is made there")
    .option("--generation <g>", "v0.2, v0.3, v0.4 or v1.6 (default v1.6; OTAFORGE_SIGMASTAR_GENERATION)")
    .option("--build-id <text>", "v1.6: build id in the header (OTAFORGE_SIGMASTAR_BUILD_ID)")
    .option("--select <images>", "pack these images, separated by commas, and ask nothing")
    .option("--yes", "pack every image and ask nothing")
    .option("--begin-script <file>", "script run before the records")
    .option("--end-script <file>", "script run after the records")
    .option("--define <name=value>", "set a variable of the configuration from outside", collectDefine, {})
    .option("--vendor-compatible", "let through what the vendor's program lets through")
    .action(run);
}

function configOf(io: Io, values: Values) {
  const path = pathIn(io, values.config);
  const inside = (name: string): string => (isAbsolute(name) ? name : join(dirname(path), name));
  return {
    path,
    ports: {
      defines: { IMAGEDIR: values.images, ...values.define },
      fileSize(name: string): number | undefined {
        io.trace?.used(name);
        return statSync(pathIn(io, name), { throwIfNoEntry: false })?.size;
      },
      readInclude(name: string): string | undefined {
        try {
          io.trace?.used(isAbsolute(name) ? name : join(dirname(values.config), name));
          return decodeText(new Uint8Array(readFileSync(inside(name))));
        } catch {
          return undefined;
        }
      },
    },
  };
}

async function readConfig(io: Io, values: Values) {
  const { path, ports } = configOf(io, values);
  let bytes: Uint8Array;
  try {
    io.trace?.used(values.config);
    bytes = new Uint8Array(await readFile(path));
  } catch (e) {
    throw new OtaError(
      "SIGMASTAR_CONFIG",
      { what: "the partition configuration cannot be read", where: values.config },
      e,
    );
  }
  return readPartitionConfig(decodeText(bytes), values.config, ports);
}

async function runFlow(values: Values, io: Io): Promise<void> {
  const generation: Generation =
    values.generation === undefined ? defaultGeneration(io) : parseGeneration(values.generation, "--generation");
  const config = await readConfig(io, values);
  const folder = values.images.length > 1 ? values.images.replace(/\/+$/, "") : values.images;
  const select = values.yes === true ? ("all" as const) : values.select?.split(",").filter((n) => n !== "");
  const lines = lineReader(io.stdin);
  const options: FlowOptions = {
    generation,
    imageFolder: folder,
    ...(select === undefined ? {} : { select }),
    ...(values.beginScript === undefined ? {} : { beginScript: values.beginScript }),
    ...(values.endScript === undefined ? {} : { endScript: values.endScript }),
  };
  const shared = [
    "--generation",
    generation,
    ...(values.buildId === undefined ? [] : ["--build-id", values.buildId]),
    ...(values.vendorCompatible === true ? ["--vendor-compatible"] : []),
  ];
  const ask = async (prompt: string): Promise<string> => {
    io.out(prompt);
    const answer = await lines.next();
    // A line from a pipe is not echoed; ended here, so that each prompt stands on its own line in a log.
    if (!lines.fromTerminal) io.out("\n");
    return answer ?? "";
  };
  if (io.trace?.records === true && select === undefined) {
    throw new OtaError("USAGE", {
      what: "a build record needs every choice on the command line",
      hint: "Add --select IMAGES or --yes.",
    });
  }
  const plain = `${folder}/SStarOta.bin`;
  let made = false;
  try {
    const result = await runImageOta(config, options, {
      ask,
      async pack(call) {
        if (io.signal.aborted) throw new OtaError("CANCELLED", "stopped by the user");
        made ||= call[0] === "-c";
        await otapackMain([...call, ...shared], io);
      },
      async fileSize(path) {
        return (await nodePackFiles.info(pathIn(io, path)))?.size;
      },
      async writeScript(path, content) {
        await replaceFile(pathIn(io, path), content);
        await chmod(pathIn(io, path), 0o644);
      },
    });
    if (result.packagePath === undefined) {
      io.err("image-ota: OTA_IMAGE_LIST is empty, nothing was made\n");
      return;
    }
  } catch (e) {
    // A half-made package must not be taken for a whole one by the next step of a build.
    if (made) await rm(pathIn(io, plain), { force: true });
    throw e;
  } finally {
    if (select !== undefined) lines.close();
  }
  const packed = `${plain}.gz`;
  if (select === undefined && (await nodePackFiles.info(pathIn(io, packed))) !== undefined) {
    const answer = await ask(`${packed} already exists; do you wish to overwrite (y or n)? `);
    if (!/^\s*[yY]/.test(answer)) {
      throw new OtaError("USAGE", {
        what: "the existing package was kept",
        where: packed,
        hint: `The new one is ${plain}.`,
      });
    }
  }
  lines.close();
  const size = await gzipFile(pathIn(io, plain), pathIn(io, packed), io.signal);
  await rm(pathIn(io, plain));
  io.trace?.made(packed);
  io.out(`${packed}: ${formatBytes(size)}\n`);
}

/** The command `image-ota`. */
export async function imageOtaMain(argv: readonly string[], io: Io): Promise<number> {
  await build(io, (values) => runFlow(values, io)).parseAsync([...argv], { from: "user" });
  return 0;
}
