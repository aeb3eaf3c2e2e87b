/**
 * `otapack`: the vendor packer's command line (specification of SigmaStar packages, section 3), with its defects refused
 * instead of copied (section 5). The option table is that of the generation in use.
 */
import { OtaError } from "../../core/errors.ts";
import { encodeText, printable } from "../../core/text.ts";
// Named one by one: a packer that is called once a record should not load the installer and the screen each time.
import { nodeDigests } from "../../device/digests.ts";
import { folderRecords } from "../../sigmastar/folders.ts";
import { layoutListing } from "../../sigmastar/layout-listing.ts";
import { FORMATS, GENERATIONS, type Generation } from "../../sigmastar/layout.ts";
import { parseMasks, parseNumber } from "../../sigmastar/numbers.ts";
import type { PackFiles } from "../../sigmastar/pack-files.ts";
import { appendRecords, appendSummary, createPackage, type RecordSpec } from "../../sigmastar/pack.ts";
import { MAX_SCRIPT_BYTES, mapPackage } from "../../sigmastar/read.ts";
import { SINGLE_OPERATIONS, singleRecord, type RecordPorts, type SingleOperation } from "../../sigmastar/records.ts";
import { nodePackFiles, openPackageFile, replaceFile } from "../../sigmastar/pack-files.node.ts";
import { getopt, type GetoptOption, type GetoptResult } from "../getopt.ts";
import type { Io } from "../io.ts";
import { lazyPatchMaker } from "../patch-maker.ts";
import { paintProgress, parseProgressStyle } from "../progress.ts";

const value = (long: string, short?: string): GetoptOption => ({
  long,
  takesValue: true,
  ...(short === undefined ? {} : { short }),
});
const flag = (long: string): GetoptOption => ({ long, takesValue: false });

const ALL_GENERATIONS: readonly GetoptOption[] = [
  value("create", "c"),
  value("begin-script", "b"),
  value("end-script", "e"),
  value("append", "a"),
  value("src-file", "s"),
  value("dst-file", "d"),
  value("dst-file-size", "t"),
  value("file-mode", "m"),
  value("diff-old", "o"),
  value("diff-new", "n"),
  flag("block-update"),
  flag("ubi-update"),
  flag("file-update"),
  flag("file-add"),
  flag("file-delete"),
  flag("file-update-diff"),
  flag("dir-update"),
  flag("dir-update-diff"),
  flag("debug"),
  flag("help"),
  { ...value("generation"), extra: true },
  { ...value("build-id"), extra: true },
  { ...value("progress"), extra: true },
  { ...flag("vendor-compatible"), extra: true },
];
const V16_ONLY: readonly GetoptOption[] = [
  value("add-log", "l"),
  value("default-mask"),
  value("out-layout"),
  { short: "r", takesValue: true },
];

function optionTable(generation: Generation): readonly GetoptOption[] {
  const scripts = FORMATS[generation].scriptRecords ? [flag("script-add")] : [];
  return [...ALL_GENERATIONS, ...scripts, ...(generation === "v1.6" ? V16_ONLY : [])];
}

const HELP = `Usage:
  otapack -c PACKAGE [-b SCRIPT] [-e SCRIPT]            make a package without records
  otapack -a PACKAGE OPERATION OPTIONS                  append records to a package
  otapack --out-layout FILE -r PACKAGE                  list destinations (v1.6)

  -c, --create FILE         package to make; an existing file is replaced
  -b, --begin-script FILE   with -c: script run before the records
  -e, --end-script FILE     with -c: script run after the records
  -a, --append FILE         package to append to
  -s, --src-file FILE       payload
  -d, --dst-file TEXT       destination; v1.6: up to 16, separated by spaces
  -t, --dst-file-size N     size of the destination (decimal or 0x hex)
  -m, --file-mode N         file mode (decimal or 0x hex: 0644 is written 420)
  -o, --diff-old PATH       old file or folder
  -n, --diff-new PATH       new file or folder
  -l, --add-log TEXT        v1.6: text kept with the record
  --default-mask TEXT       v1.6: a mask for each destination, separated by spaces
  --out-layout FILE         v1.6: write the layout listing of -r PACKAGE
  --debug                   print the fields of the appended records
  --help                    print this text

Operations:
  --block-update --ubi-update --file-update --file-add --file-delete
  --file-update-diff        a patch of two files (-o, -n)
  --script-add              v0.3, v0.4, v1.6
  --dir-update --dir-update-diff   two folders (-o, -n)

Not in the vendor's program:
  --generation G            v0.2, v0.3, v0.4 or v1.6 (default; also OTAFORGE_SIGMASTAR_GENERATION)
  --build-id TEXT           v1.6: build id in the header (also OTAFORGE_SIGMASTAR_BUILD_ID)
  --progress STYLE          auto, plain, json or none (default none unless on a terminal)
  --vendor-compatible       let through what the vendor's program lets through
  --build-record            write PACKAGE.build.json and PACKAGE.cdx.json (also OTAFORGE_BUILD_RECORD=1)

Exit codes: 0 done, 2 wrong usage, 3 damaged package, 6 input/output, 7 interrupted (package unchanged)
`;

/** A generation by its name, with or without the `v`. @throws OtaError USAGE */
export function parseGeneration(text: string, where: string): Generation {
  const found = GENERATIONS.find((g) => g === text || g === `v${text}`);
  if (found === undefined) {
    const expected = GENERATIONS.join(", ");
    throw new OtaError("USAGE", { what: "unknown generation", where, expected, found: printable(text) });
  }
  return found;
}

/** The generation of the environment, or the default. */
export function defaultGeneration(io: Io): Generation {
  const text = io.env["OTAFORGE_SIGMASTAR_GENERATION"];
  return text === undefined || text === "" ? "v1.6" : parseGeneration(text, "OTAFORGE_SIGMASTAR_GENERATION");
}

/** A path of the command line: relative ones lie in the command's folder. The text is not normalised otherwise. */
export function pathIn(io: Io, path: string): string {
  return path.startsWith("/") || io.cwd === process.cwd() ? path : `${io.cwd}/${path}`;
}

/** Source files, with relative paths in the command's folder. */
export function packFilesIn(io: Io): PackFiles {
  const traced = (path: string): string => {
    io.trace?.used(path);
    return pathIn(io, path);
  };
  return {
    info: (path) => nodePackFiles.info(traced(path)),
    list: (path) => nodePackFiles.list(traced(path)),
    open: (path) => nodePackFiles.open(traced(path)),
  };
}

/** The last value of each option, and the order of the operations. */
class Options {
  readonly #last = new Map<string, string | undefined>();
  readonly flags: readonly string[];

  constructor(result: GetoptResult) {
    const flags: string[] = [];
    for (const { name, value: text } of result.options) {
      this.#last.set(name, text);
      if (text === undefined) flags.push(name);
    }
    this.flags = flags;
  }

  has(name: string): boolean {
    return this.#last.has(name);
  }

  text(name: string): string | undefined {
    return this.#last.get(name);
  }

  /** The last flag among `names`. */
  lastOf(names: readonly string[]): string | undefined {
    return this.flags.filter((f) => names.includes(f)).at(-1);
  }
}

async function packageGeneration(path: string): Promise<Generation> {
  const file = await openPackageFile(path, "read");
  try {
    return (await mapPackage(file, nodeDigests)).generation;
  } finally {
    await file.close();
  }
}

/** Reads the arguments with the table of the generation they are for, which may stand in the package they name. */
async function readArguments(argv: readonly string[], io: Io): Promise<{ options: Options; generation: Generation }> {
  const wanted = defaultGeneration(io);
  const order = [wanted, ...[...GENERATIONS].reverse().filter((g) => g !== wanted)];
  let first: Options | undefined;
  let failure: unknown;
  for (const table of order) {
    try {
      first = new Options(getopt(argv, optionTable(table)));
      break;
    } catch (e) {
      failure ??= e;
    }
  }
  if (first === undefined) throw failure as Error;
  const explicit = first.text("generation");
  const append = first.text("append");
  const appends = append !== undefined && !first.has("create") && !first.has("help");
  const generation =
    explicit !== undefined
      ? parseGeneration(explicit, "--generation")
      : appends
        ? await packageGeneration(pathIn(io, append))
        : first.has("out-layout")
          ? "v1.6"
          : wanted;
  return { options: new Options(getopt(argv, optionTable(generation))), generation };
}

/** A whole script. @throws OtaError SIGMASTAR_SOURCE_MISSING, SIGMASTAR_SCRIPT_TOO_LARGE */
export async function readScript(files: PackFiles, path: string, what: string): Promise<Uint8Array> {
  let source;
  try {
    source = await files.open(path);
  } catch (e) {
    if (e instanceof OtaError) throw new OtaError(e.code, { ...e.details, what: `${what}: ${e.details.what}` }, e);
    throw e;
  }
  try {
    if (source.size > MAX_SCRIPT_BYTES) {
      throw new OtaError("SIGMASTAR_SCRIPT_TOO_LARGE", {
        what: `${what} is too large`,
        where: printable(path),
        expected: `at most ${MAX_SCRIPT_BYTES} bytes`,
        found: source.size,
      });
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

async function create(options: Options, generation: Generation, io: Io): Promise<number> {
  const files = packFilesIn(io);
  const begin = options.text("begin-script");
  const end = options.text("end-script");
  const buildId = options.text("build-id") ?? io.env["OTAFORGE_SIGMASTAR_BUILD_ID"];
  const bytes = createPackage(nodeDigests, {
    generation,
    ...(begin === undefined || begin === "" ? {} : { beginScript: await readScript(files, begin, "begin script") }),
    ...(end === undefined || end === "" ? {} : { endScript: await readScript(files, end, "end script") }),
    ...(buildId === undefined || buildId === "" ? {} : { buildId }),
  });
  const path = options.text("create") as string;
  await replaceFile(pathIn(io, path), bytes, 0o777);
  io.trace?.made(path);
  return 0;
}

const FOLDER_OPERATIONS = ["dir-update", "dir-update-diff"];

/** What `otaforge pack sigmastar` does otherwise than the vendor's program. */
export interface PackHabits {
  /** Whether folder operations take names beginning with a dot. */
  readonly dotFiles: boolean;
}

function records(
  ports: RecordPorts,
  options: Options,
  { generation, dotFiles }: PackHabits & { readonly generation: Generation },
): AsyncGenerator<RecordSpec, void, void> {
  const most = FORMATS[generation].maxSize;
  const optional = <K extends string>(key: K, text: string | undefined): { [k in K]?: string } =>
    text === undefined ? {} : ({ [key]: text } as { [k in K]: string });
  const masks = options.text("default-mask");
  const common = {
    ...optional("destination", options.text("dst-file")),
    ...optional("log", options.text("add-log")),
    ...(masks === undefined ? {} : { masks: parseMasks(masks) }),
  };
  const folder = options.lastOf(FOLDER_OPERATIONS);
  if (folder !== undefined) {
    const [oldFolder, newFolder] = [options.text("diff-old"), options.text("diff-new")];
    if (oldFolder === undefined || newFolder === undefined) {
      throw new OtaError("SIGMASTAR_SOURCE_MISSING", {
        what: `--${folder} needs two folders`,
        expected: "-o DIR -n DIR",
      });
    }
    return folderRecords(ports, {
      ...common,
      oldFolder,
      newFolder,
      diff: folder === "dir-update-diff",
      dotFiles,
    });
  }
  const operation = options.lastOf(Object.keys(SINGLE_OPERATIONS)) as SingleOperation | undefined;
  if (operation === undefined) {
    throw new OtaError("SIGMASTAR_OPERATION", {
      what: "no operation was given",
      expected: "--block-update, --file-add, --dir-update …",
      hint: "otapack --help lists them.",
    });
  }
  return singleRecord(ports, {
    ...common,
    operation,
    ...optional("source", options.text("src-file")),
    ...optional("diffOld", options.text("diff-old")),
    ...optional("diffNew", options.text("diff-new")),
    destinationSize: parseNumber(options.text("dst-file-size") ?? "", "-t", most),
    mode: parseNumber(options.text("file-mode") ?? "", "-m", 0xffffffff),
  });
}

async function append(
  options: Options,
  habits: PackHabits & { readonly generation: Generation },
  io: Io,
): Promise<number> {
  const { generation } = habits;
  const style = options.text("progress");
  const progress = paintProgress(io, style === undefined && !io.errIsTerminal ? "none" : parseProgressStyle(style));
  const profile = options.has("vendor-compatible") ? "vendor" : "safe";
  const patches = lazyPatchMaker(io.signal);
  const path = pathIn(io, options.text("append") as string);
  const file = await openPackageFile(path);
  try {
    const ports: RecordPorts = { files: packFilesIn(io), patches, progress, cancel: io.signal, profile, generation };
    const specs = records(ports, options, habits);
    const result = await appendRecords(file, specs, {
      digests: nodeDigests,
      generation,
      profile,
      progress,
      cancel: io.signal,
    });
    progress.done();
    io.trace?.made(options.text("append") as string);
    const masks = generation === "v1.6" ? parseMasks(options.text("default-mask") ?? "") : [];
    let text = masks.map((mask) => `Def Mask: 0x${mask.toString(16)}\n`).join("");
    if (options.has("debug")) {
      for (const [i, head] of result.heads.entries()) {
        text += `Record ${result.firstIndex + i}\n`;
        for (const row of result.format.record.dump(head)) text += `  ${row.name}: ${row.value}\n`;
      }
    }
    io.out(`${text}${appendSummary(result).join("\n")}\n`);
    return 0;
  } finally {
    progress.done();
    await file.close();
    await patches.close();
  }
}

async function listLayout(options: Options, io: Io): Promise<number> {
  const [out, source] = [options.text("out-layout"), options.text("r")];
  if (out === undefined || source === undefined) {
    throw new OtaError("USAGE", {
      what: "a layout listing needs both names",
      expected: "--out-layout FILE -r PACKAGE",
    });
  }
  const file = await openPackageFile(pathIn(io, source), "read");
  try {
    const listing = layoutListing(await mapPackage(file, nodeDigests));
    await replaceFile(pathIn(io, out), encodeText(listing));
    return 0;
  } finally {
    await file.close();
  }
}

/** The command `otapack`. */
export function otapackMain(argv: readonly string[], io: Io): Promise<number> {
  return packWith({ dotFiles: false }, argv, io);
}

/** The vendor's command line, with habits of our own. */
export async function packWith(habits: PackHabits, argv: readonly string[], io: Io): Promise<number> {
  let parsed: { options: Options; generation: Generation };
  try {
    parsed = await readArguments(argv, io);
  } catch (e) {
    if (e instanceof OtaError && e.code === "USAGE") io.out(HELP);
    throw e;
  }
  const { options, generation } = parsed;
  if (options.has("help")) {
    io.out(HELP);
    return 0;
  }
  const modes = ["create", "append", "out-layout"].filter((name) => options.has(name));
  if (modes.length !== 1) {
    if (modes.length === 0) io.out(HELP);
    throw new OtaError("USAGE", {
      what: modes.length === 0 ? "no mode was given" : `${modes.map((m) => `--${m}`).join(" and ")} in one call`,
      expected: "one of -c FILE, -a FILE, --out-layout FILE -r FILE",
    });
  }
  if (modes[0] === "create") return create(options, generation, io);
  if (modes[0] === "append") return append(options, { ...habits, generation }, io);
  return listLayout(options, io);
}
