/** `otaforge pack sigmastar`: a whole package in one call. The vendor's own command line is understood as well. */
import { rename, rm } from "node:fs/promises";
import type { Command } from "commander";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { formatBytes } from "../core/progress.ts";
import { printable } from "../core/text.ts";
import { nodeDigests, openFileReader } from "../device/index.ts";
import {
  FORMATS,
  appendRecords,
  createPackage,
  folderRecords,
  parseNumber,
  singleRecord,
  type Generation,
  type RecordPorts,
  type RecordSpec,
  type SingleOperation,
} from "../sigmastar/index.ts";
import { openPackageFile, replaceFile } from "../sigmastar/pack-files.node.ts";
import { placeFor } from "./write-beside.ts";
import { MANIFEST_TYPE, digestBlocks, encodeEnvelope, encodeManifest, type ManifestItem } from "../trust/index.ts";
import { defaultGeneration, packFilesIn, packWith, parseGeneration, pathIn, readScript } from "./commands/otapack.ts";
import type { CommonOptions } from "./family.ts";
import { gzipFile, gzipStream } from "./gzip-file.ts";
import type { Io } from "./io.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "./options.ts";
import { lazyPatchMaker } from "./patch-maker.ts";
import { MANIFEST_SUFFIX } from "./trust.ts";
import { streamKept } from "./small-memory.ts";

const RECORD_OPTIONS = {
  block: ["block-update", "write a raw image to nodes"],
  ubi: ["ubi-update", "replace a UBI volume"],
  update: ["file-update", "replace an existing file's content"],
  add: ["file-add", "make a file, with the mode of the source"],
  script: ["script-add", "run a script; NAME is what it is called in listings"],
} as const satisfies Record<string, readonly [SingleOperation, string]>;

type Part =
  | { readonly kind: "single"; readonly operation: SingleOperation; readonly to: string; readonly from: string }
  | { readonly kind: "delete"; readonly to: string }
  | {
      readonly kind: "patch" | "folder" | "folder-patch";
      readonly to: string;
      readonly old: string;
      readonly fresh: string;
    };

interface Values extends SharedValues {
  generation?: string;
  buildId?: string;
  beginScript?: string;
  endScript?: string;
  size: Map<string, string>;
  skip: Set<string>;
  dotFiles: boolean;
  packageVersion: string;
}

function assignment(text: string, option: string): { to: string; from: string } {
  const equals = text.indexOf("=");
  if (equals <= 0 || equals === text.length - 1) {
    throw new OtaError("USAGE", {
      what: "wrong form",
      where: option,
      expected: "DESTINATION=SOURCE",
      found: printable(text),
    });
  }
  return { to: text.slice(0, equals), from: text.slice(equals + 1) };
}

function twoSources(text: string, option: string): { to: string; old: string; fresh: string } {
  const { to, from } = assignment(text, option);
  const colon = from.indexOf(":");
  if (colon <= 0 || colon === from.length - 1) {
    throw new OtaError("USAGE", {
      what: "wrong form",
      where: option,
      expected: "DESTINATION=OLD:NEW",
      found: printable(text),
    });
  }
  return { to, old: from.slice(0, colon), fresh: from.slice(colon + 1) };
}

/** The records of one part. A generation with one destination a record gets one record for each. */
async function* partRecords(
  part: Part,
  values: Values,
  port: { readonly ports: RecordPorts; readonly generation: Generation },
): AsyncGenerator<RecordSpec, void, void> {
  const { ports, generation } = port;
  const nodes = part.to.split(",").filter((n) => n !== "");
  const targets = generation === "v1.6" ? [nodes] : nodes.map((n) => [n]);
  if (part.kind === "folder" || part.kind === "folder-patch") {
    yield* folderRecords(ports, {
      destination: part.to === "/" ? "" : part.to,
      oldFolder: part.old,
      newFolder: part.fresh,
      diff: part.kind === "folder-patch",
      dotFiles: values.dotFiles,
    });
    return;
  }
  for (const target of targets) {
    const sizes = target.map((n) => values.size.get(n)).filter((n) => n !== undefined);
    const smallest = sizes.map((n) => parseNumber(n, "--size", FORMATS[generation].maxSize)).sort((a, b) => a - b)[0];
    const common = {
      destination: target.join(" "),
      masks: target.map((n) => (values.skip.has(n) ? 0 : 1)),
      ...(smallest === undefined ? {} : { destinationSize: smallest }),
    };
    if (part.kind === "delete") yield* singleRecord(ports, { ...common, operation: "file-delete" });
    else if (part.kind === "single") {
      yield* singleRecord(ports, { ...common, operation: part.operation, source: part.from });
    } else {
      yield* singleRecord(ports, { ...common, operation: "file-update-diff", diffOld: part.old, diffNew: part.fresh });
    }
  }
}

async function contentDigest(reader: RandomReader): Promise<{ size: number; sha256: string }> {
  const digest = nodeDigests.create("sha256");
  for await (const chunk of streamKept(reader)) digest.update(chunk);
  return { size: reader.size, sha256: toHex(digest.digest()) };
}

interface Made {
  readonly records: number;
  readonly totalSize: number;
  readonly items: readonly ManifestItem[];
}

async function writePlain(
  plain: string,
  parts: readonly Part[],
  values: Values,
  port: { readonly io: Io; readonly generation: Generation; readonly options: CommonOptions; readonly zipped: boolean },
): Promise<Made> {
  const { io, generation, options, zipped } = port;
  const files = packFilesIn(io);
  const buildId = values.buildId ?? io.env["OTAFORGE_SIGMASTAR_BUILD_ID"];
  const { beginScript, endScript } = values;
  const bytes = createPackage(nodeDigests, {
    generation,
    ...(beginScript === undefined ? {} : { beginScript: await readScript(files, beginScript, "begin script") }),
    ...(endScript === undefined ? {} : { endScript: await readScript(files, endScript, "end script") }),
    ...(buildId === undefined || buildId === "" ? {} : { buildId }),
  });
  await replaceFile(plain, bytes);
  const items: ManifestItem[] = [];
  const patches = lazyPatchMaker(io.signal);
  const file = await openPackageFile(plain);
  try {
    let index = 0;
    const ports: RecordPorts = {
      files,
      patches,
      generation,
      ...options,
      ...(zipped ? { compress: gzipStream } : {}),
      async onPatch({ destination, old, fresh }) {
        items.push({ index, name: destination, base: await contentDigest(old), result: await contentDigest(fresh) });
      },
    };
    const specs = async function* (): AsyncGenerator<RecordSpec, void, void> {
      for (const part of parts) {
        for await (const spec of partRecords(part, values, { ports, generation })) {
          yield spec;
          index++;
        }
      }
    };
    const { header } = await appendRecords(file, specs(), { digests: nodeDigests, ...options });
    return { records: header.recordCount, totalSize: header.totalSize, items };
  } finally {
    await file.close();
    await patches.close();
  }
}

/** Base and result digests of patches, which a bare BSDIFF40 does not carry: beside the package, unsigned until it is signed. */
async function writeManifest(path: string, made: Made, version: string): Promise<void> {
  const reader = await openFileReader(path);
  try {
    const payload = encodeManifest({
      family: "sigmastar",
      hardware: [],
      version,
      coverage: "file",
      ...(await digestBlocks(streamKept(reader), reader.size, nodeDigests)),
      items: made.items,
      signers: [],
    });
    await replaceFile(
      `${path}${MANIFEST_SUFFIX}`,
      encodeEnvelope({ payloadType: MANIFEST_TYPE, payload, signatures: [] }),
    );
  } finally {
    await reader.close();
  }
}

async function packWhole(output: string, parts: readonly Part[], values: Values, io: Io): Promise<number> {
  const generation =
    values.generation === undefined ? defaultGeneration(io) : parseGeneration(values.generation, "--generation");
  const options = commonOptions(values, io);
  const { path: target } = await placeFor(pathIn(io, output));
  const zipped = output.endsWith(".gz");
  const plain = `${target}.${process.pid}.plain.tmp`;
  let made: Made;
  try {
    made = await writePlain(plain, parts, values, { io, generation, options, zipped });
    if (zipped) await gzipFile(plain, target, io.signal);
    else await rename(plain, target);
  } finally {
    options.progress.done();
    await rm(plain, { force: true });
  }
  // A manifest of an earlier package under this name would refuse the new one.
  await rm(`${target}${MANIFEST_SUFFIX}`, { force: true });
  if (made.items.length > 0) await writeManifest(target, made, values.packageVersion);
  io.trace?.made(output);
  const facts = `${generation}, ${made.records} records, ${formatBytes(made.totalSize)} of payload`;
  const manifest = made.items.length > 0 ? `${output}${MANIFEST_SUFFIX}` : undefined;
  return printReport(
    {
      text: `${output}: ${facts}${manifest === undefined ? "" : `\n${manifest}: base and result digests of ${made.items.length} patches`}`,
      json: {
        family: "sigmastar",
        package: output,
        generation,
        records: made.records,
        totalSize: made.totalSize,
        ...(manifest === undefined ? {} : { manifest }),
      },
      exitCode: 0,
    },
    values,
    io,
  );
}

const VENDOR_MODE = /^(-[ca]|--(c|cr|cre|crea|creat|create|ap|app|appe|appen|append|out-layout)(=|$))/;

/** Adds the options and the action of `otaforge pack sigmastar`. */
export function buildSigmastarPack(command: Command, io: Io, done: (exitCode: number) => void): void {
  const parts: Part[] = [];
  withSharedOptions(command)
    .description(
      "Makes a SigmaStar package in one call; an OUTPUT ending in .gz is compressed. Records are made in the order of the " +
        "options. Also understands the options of otapack (-c, -a, --out-layout); folders include dot files in both forms.",
    )
    .argument("[output]", "package to make, SStarOta.bin or SStarOta.bin.gz")
    .argument("[vendor...]", "or: the command line of otapack")
    .allowUnknownOption()
    .option("--generation <g>", "v0.2, v0.3, v0.4 or v1.6 (default v1.6; OTAFORGE_SIGMASTAR_GENERATION)")
    .option("--build-id <text>", "v1.6: build id in the header (OTAFORGE_SIGMASTAR_BUILD_ID)")
    .option("--begin-script <file>", "script run before the records")
    .option("--end-script <file>", "script run after the records");
  for (const [name, [operation, what]] of Object.entries(RECORD_OPTIONS)) {
    command.option(`--${name} <destinations=source>`, what, (text: string) => {
      parts.push({ kind: "single", operation, ...assignment(text, `--${name}`) });
    });
  }
  command.option("--delete <destination>", "remove a file", (to: string) => {
    parts.push({ kind: "delete", to });
  });
  for (const [name, what] of [
    ["patch", "patch one file or raw image"],
    ["folder", "what changed between two folders, whole files"],
    ["folder-patch", "what changed between two folders, patches"],
  ] as const) {
    command.option(`--${name} <destination=old:new>`, what, (text: string) => {
      parts.push({ kind: name, ...twoSources(text, `--${name}`) });
    });
  }
  command
    .option(
      "--size <node=bytes>",
      "size of a node; an image that is larger is refused",
      (text: string, all: Map<string, string>) => {
        const { to, from } = assignment(text, "--size");
        return all.set(to, from);
      },
      new Map<string, string>(),
    )
    .option(
      "--skip <node>",
      "v1.6: mask 0, the node is not written unless asked for",
      (text: string, all: Set<string>) => all.add(text),
      new Set<string>(),
    )
    .option("--no-dot-files", "leave out names beginning with a dot, as the vendor's program does")
    .option("--package-version <version>", "version in the manifest of patches", "0")
    .action(async (_output: string | undefined, _vendor: string[], values: Values) => {
      const rest = command.args;
      if (rest.some((argument) => VENDOR_MODE.test(argument))) {
        done(await packWith({ dotFiles: values.dotFiles }, [...rest, ...sharedVendor(values)], io));
        return;
      }
      const [output, ...more] = rest;
      if (output === undefined || more.length > 0 || output.startsWith("-")) {
        throw new OtaError("USAGE", {
          what: output === undefined ? "the package to make is missing" : "unknown option or argument",
          found: printable([output ?? "", ...more].find((a) => a.startsWith("-")) ?? more[0] ?? "nothing"),
          hint: "otaforge pack sigmastar --help lists the options.",
        });
      }
      done(await packWhole(output, parts, values, io));
    });
}

function sharedVendor(values: Values): string[] {
  const pairs: [string, string | undefined][] = [
    ["--generation", values.generation],
    ["--build-id", values.buildId],
    ["--begin-script", values.beginScript],
    ["--end-script", values.endScript],
    ["--progress", values.progress],
  ];
  const texts = pairs.flatMap(([option, text]) => (text === undefined ? [] : [option, text]));
  return values.vendorCompatible === true ? [...texts, "--vendor-compatible"] : texts;
}
