/** `otaforge verify --rebuild`: makes a package again from its build record, in a folder of its own, and compares every byte. */
import { copyFile, link, mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from "node:path";
import { hexOffset } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { StreamTaker, streamRange } from "../core/streams.ts";
import { printable } from "../core/text.ts";
import { nodeCodecs, openFileReader } from "../device/index.ts";
import { digestFile, NOT_RECORDED, recordPathOf, stepFolder } from "./build-record.ts";
import type { BuildRecord, BuildStep, RecordedFile } from "./build-record-types.ts";
import { readRecord } from "./build-record-file.ts";
import type { PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { runGuarded, type CommandMain } from "./run.ts";
import { withoutSignature } from "./trust.ts";
import { PACKAGE_VERSION } from "./version.ts";

/** Makers by the name a record gives them; a record can name nothing else. */
const MAKERS: Readonly<Record<string, () => Promise<CommandMain>>> = {
  otapack: async () => (await import("./commands/otapack.ts")).otapackMain,
  "image-ota": async () => (await import("./commands/image-ota.ts")).imageOtaMain,
  kdimg: async () => (await import("./commands/kdimg.ts")).kdimgMain,
  ota_from_target_files: async () => (await import("./commands/ota-from-target-files.ts")).otaFromTargetFilesMain,
  "otaforge pack": async () => (await import("./commands/pack.ts")).packMain,
};

function refused(
  what: string,
  where: string,
  more: { expected?: string; found?: string; hint?: string } = {},
): OtaError {
  return new OtaError("TRUST_REBUILD", { what, where: printable(where), ...more });
}

/** How far up relative paths of a step reach: so deep the step's folder is laid in the scratch folder. */
function depthOf(paths: readonly string[]): number {
  const ups = paths.map(
    (p) =>
      normalize(p)
        .split(sep)
        .filter((part) => part === "..").length,
  );
  return Math.max(0, ...ups);
}

/** The step's folder inside the scratch folder, named as the real one as far up as the step's paths reach. */
function laidFolder(scratch: string, real: string, paths: readonly string[]): string {
  const names: string[] = [];
  let at = real;
  for (let i = depthOf(paths); i > 0; i--) {
    names.unshift(basename(at));
    at = dirname(at);
  }
  return join(scratch, "work", ...names);
}

/** Permissions are not checked: only some packages carry them, and then the comparison tells. */
async function checkInput(file: RecordedFile, full: string): Promise<void> {
  const found = await digestFile(full).catch(() => undefined);
  if (found === undefined) throw refused("an input of the build is missing", file.path);
  if (found.sha256 !== file.sha256) {
    throw refused("an input is not the one the package was made of", file.path, {
      expected: file.sha256,
      found: found.sha256,
    });
  }
}

async function lay(full: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  try {
    await link(await realpath(full), to);
  } catch {
    // Another file system, or one without links; also a file that an earlier step has laid already.
    await copyFile(full, to);
  }
}

/** Lays a step's inputs into the scratch folder, each checked. @returns where the command runs */
async function layStep(step: BuildStep, real: string, scratch: string): Promise<string> {
  const paths = step.inputs.map((f) => f.path).concat(step.folders, step.secrets, step.output);
  const at = laidFolder(
    scratch,
    real,
    paths.filter((p) => !isAbsolute(p)),
  );
  await mkdir(at, { recursive: true });
  const inside = (path: string): string => {
    const to = resolve(at, path);
    if (!to.startsWith(scratch + sep)) throw refused("a path of the record leads outside", path);
    return to;
  };
  for (const folder of step.folders) if (!isAbsolute(folder)) await mkdir(inside(folder), { recursive: true });
  for (const file of step.inputs) {
    const full = resolve(real, file.path);
    await checkInput(file, full);
    if (!isAbsolute(file.path)) await lay(full, inside(file.path));
  }
  for (const key of step.secrets) {
    if (isAbsolute(key)) continue;
    await lay(resolve(real, key), inside(key)).catch(() => {
      throw refused("the key that signed the package is not here", key, {
        hint: "Only who has it can make the signature again; otaforge compare compares contents.",
      });
    });
  }
  await mkdir(dirname(inside(step.output)), { recursive: true });
  return at;
}

async function runStep(step: BuildStep, cwd: string, io: Io): Promise<void> {
  const [first, ...others] = step.command as [string, ...string[]];
  const isPack = first === "otaforge" && others[0] === "pack";
  const [name, argv] = isPack ? ["otaforge pack", others.slice(1)] : [first, others];
  const load = Object.hasOwn(MAKERS, name) ? MAKERS[name] : undefined;
  if (load === undefined) throw refused("the record names no maker of packages", name);
  if (argv.some((t) => t.includes(NOT_RECORDED))) {
    throw refused("the package was signed by a command, which is not recorded", name, {
      hint: "Build it unsigned (--no_signing) with a record, and compare the entries with: otaforge compare.",
    });
  }
  let said = "";
  const quiet: Io = {
    ...io,
    cwd,
    env: { ...io.env, ...step.environment },
    out: () => undefined,
    err: (text) => void (said += text),
  };
  const code = await runGuarded(name, await load(), argv, quiet);
  if (code !== 0) throw refused("the build fails", name, { found: said.trim().slice(-500) || `exit code ${code}` });
}

export interface RebuildResult {
  readonly record: string;
  readonly identical: boolean;
  /** The record was made by another version of the tool. */
  readonly otherTool?: string;
  readonly size: number;
  readonly firstDifference?: { readonly offset: number; readonly package: string; readonly rebuilt: string };
}

const PIECE = 256 * 1024;
const byteText = (bytes: Uint8Array, at: number): string =>
  at < bytes.length ? hexOffset(bytes[at] as number) : "the end";

/** Bytes until the streams differ; `undefined` in `difference` when they never do. */
async function compareStreams(
  a: ByteStream,
  b: ByteStream,
): Promise<{ readonly size: number; readonly difference?: RebuildResult["firstDifference"] }> {
  const [left, right] = [new StreamTaker(a), new StreamTaker(b)];
  try {
    for (let size = 0; ;) {
      const [x, y] = [await left.take(PIECE), await right.take(PIECE)];
      const common = Math.min(x.length, y.length);
      let i = 0;
      while (i < common && x[i] === y[i]) i++;
      if (i < common || x.length !== y.length) {
        return { size, difference: { offset: size + i, package: byteText(x, i), rebuilt: byteText(y, i) } };
      }
      size += x.length;
      if (x.length < PIECE) return { size };
    }
  } finally {
    await left.close();
    await right.close();
  }
}

async function compare(
  input: PackageInput,
  rebuiltPath: string,
): Promise<Pick<RebuildResult, "size" | "firstDifference">> {
  const rebuilt = await openFileReader(rebuiltPath);
  try {
    const head = await rebuilt.read(0, Math.min(2, rebuilt.size));
    const isPlain = head[0] !== 0x1f || head[1] !== 0x8b;
    const bare = await withoutSignature(input);
    // A package that was compressed after it was made is compared behind the compression.
    const own = input.gzipped && isPlain ? nodeCodecs.gunzip(bare, Number.MAX_SAFE_INTEGER) : bare;
    const { size, difference } = await compareStreams(own, streamRange(rebuilt));
    return { size, ...(difference === undefined ? {} : { firstDifference: difference }) };
  } finally {
    await rebuilt.close();
  }
}

async function rebuild(record: BuildRecord, recordPath: string, scratch: string, io: Io): Promise<string> {
  let output = "";
  for (const step of record.steps) {
    const real = stepFolder(recordPath, step);
    const cwd = await layStep(step, real, scratch);
    await runStep(step, cwd, io);
    output = resolve(cwd, step.output);
  }
  if (!output.startsWith(scratch + sep)) throw refused("a path of the record leads outside", record.package.file);
  return output;
}

/**
 * Makes the package again and compares. Inputs are checked against the record first; nothing beside the scratch folder is
 * written. @throws OtaError TRUST_REBUILD, TRUST_BUILD_RECORD, DEVICE_NOT_FOUND
 */
export async function rebuildPackage(input: PackageInput, io: Io, named: string | undefined): Promise<RebuildResult> {
  if (input.reader === undefined) throw new OtaError("USAGE", "a package to rebuild must be a file");
  const recordPath = named === undefined ? await recordPathOf(resolve(io.cwd, input.name)) : resolve(io.cwd, named);
  const record = await readRecord(recordPath);
  const scratch = await mkdtemp(join(dirname(recordPath), ".otaforge-rebuild-"));
  try {
    const output = await rebuild(record, recordPath, scratch, io);
    const { size, firstDifference } = await compare(input, output);
    return {
      record: recordPath,
      identical: firstDifference === undefined,
      size,
      ...(record.tool.version === PACKAGE_VERSION ? {} : { otherTool: record.tool.version }),
      ...(firstDifference === undefined ? {} : { firstDifference }),
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
