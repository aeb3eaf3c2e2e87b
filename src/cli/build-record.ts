/**
 * Build records: what a package was made of (inputs and their digests, options, tool) beside it as `PACKAGE.build.json`, and the
 * same as a CycloneDX listing, `PACKAGE.cdx.json`. Both depend on nothing but inputs, options and tool: no times, no host names.
 *
 * Makers tell through `io.trace` what they read and made; commands are wrapped by {@link recordable}.
 */
import { createHash } from "node:crypto";
import { open, realpath, rm, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { BuildRecord, BuildStep, RecordedFile } from "./build-record-types.ts";
import type { Io } from "./io.ts";
import type { CommandMain } from "./run.ts";
import { PACKAGE_VERSION } from "./version.ts";
import { replaceFile } from "./write-beside.ts";

export const RECORD_SUFFIX = ".build.json";
export const LISTING_SUFFIX = ".cdx.json";

/** Variables that change what is made; secrets such as passwords are not among them. */
const ENVIRONMENT = ["SOURCE_DATE_EPOCH", "OTAFORGE_SIGMASTAR_GENERATION", "OTAFORGE_SIGMASTAR_BUILD_ID"] as const;

/** Options whose value may hold a secret (a PIN in a signing command). */
const SECRET = /^--(sign_command|sign-command|extra_signapk_args)(=|$)/;
export const NOT_RECORDED = "(not recorded)";

/** Bytes read at once: one buffer for the whole of a file, however large. */
const READ_BYTES = 1024 * 1024;

/** Size and SHA-256 of a file. */
export async function digestFile(path: string): Promise<{ size: number; sha256: string }> {
  const hash = createHash("sha256");
  const file = await open(path);
  try {
    const buffer = new Uint8Array(READ_BYTES);
    for (let size = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, null);
      if (bytesRead === 0) return { size, sha256: hash.digest("hex") };
      hash.update(buffer.subarray(0, bytesRead));
      size += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function withoutSecrets(argv: readonly string[]): string[] {
  return argv.map((token, i) => {
    if (SECRET.test(token) && token.includes("=")) return `${token.slice(0, token.indexOf("="))}=${NOT_RECORDED}`;
    return i > 0 && /^--[a-z_-]+$/.test(argv[i - 1] as string) && SECRET.test(argv[i - 1] as string)
      ? NOT_RECORDED
      : token;
  });
}

interface Traced {
  /** Files that were read, folders and links that were looked at, as the maker named them. */
  readonly used: Set<string>;
  readonly secrets: Set<string>;
  readonly made: Set<string>;
}

/** Where absolute arguments name the output, the record says it relative to the working folder, so that a rebuild goes elsewhere. */
function relativeOutputs(argv: readonly string[], cwd: string, made: ReadonlySet<string>): Map<string, string> {
  const outputs = new Map<string, string>();
  for (const token of argv) {
    const value = token.startsWith("--") && token.includes("=") ? token.slice(token.indexOf("=") + 1) : token;
    if (!isAbsolute(value)) continue;
    const whole = resolve(value);
    if ([...made].some((m) => m === whole || m.startsWith(whole + sep)))
      outputs.set(value, relative(cwd, whole) || ".");
  }
  return outputs;
}

/** A path as the record names it. */
function nameOf(path: string, cwd: string, outputs: ReadonlyMap<string, string>): string {
  if (!isAbsolute(path)) return path;
  const inside = [...outputs.keys()].some((o) => path === o || path.startsWith(resolve(o) + sep));
  return inside ? relative(cwd, path) || "." : path;
}

async function describeStep(
  command: string,
  argv: readonly string[],
  io: Io,
  { traced, made }: { traced: Traced; made: string },
): Promise<BuildStep> {
  const cwd = await realpath(io.cwd);
  const outputs = relativeOutputs(argv, cwd, traced.made);
  const inputs: RecordedFile[] = [];
  const folders: string[] = [];
  const names = [...new Set([...traced.used].map((p) => nameOf(p, cwd, outputs)))].sort();
  for (const path of names) {
    const full = resolve(cwd, path);
    const info = await stat(full).catch(() => undefined);
    if (info === undefined || traced.made.has(full)) continue;
    if (info.isDirectory()) folders.push(path);
    else if (info.isFile()) {
      inputs.push({ path, ...(await digestFile(full)), mode: (info.mode & 0o7777).toString(8) });
    }
  }
  const environment: Record<string, string> = {};
  for (const name of ENVIRONMENT) {
    const value = io.env[name];
    if (value !== undefined) environment[name] = value;
  }
  const shown = [...outputs].reduce(
    (all, [whole, short]) =>
      all.map((t) => (t === whole ? short : t.endsWith(`=${whole}`) ? t.slice(0, -whole.length) + short : t)),
    withoutSecrets(argv),
  );
  return {
    command: [command, ...shown],
    folder: relative(await realpath(dirname(made)), cwd) || ".",
    output: relative(cwd, join(await realpath(dirname(made)), basename(made))),
    environment,
    inputs,
    folders,
    secrets: await existing([...traced.secrets].sort(), cwd),
  };
}

async function existing(paths: readonly string[], cwd: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) if (await isFile(resolve(cwd, path))) found.push(path);
  return found;
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

/** CycloneDX 1.6: the package, the tool that made it, and a component a file it was made of. */
function listingOf(record: BuildRecord): Record<string, unknown> {
  const { tool } = record;
  const file = (name: string, { size, sha256 }: { size: number; sha256: string }) => ({
    type: "file",
    "bom-ref": `sha256:${sha256}:${name}`,
    name,
    hashes: [{ alg: "SHA-256", content: sha256 }],
    properties: [{ name: "otaforge:size", value: String(size) }],
  });
  const inputs = new Map(record.steps.flatMap((s) => s.inputs.map((i) => [`${i.path}\0${i.sha256}`, i] as const)));
  const components = [...inputs.values()].map((i) => file(i.path, i));
  const whole = { ...file(record.package.file, record.package), type: "firmware" };
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      tools: { components: [{ type: "application", name: tool.name, version: tool.version }] },
      component: whole,
    },
    components,
    dependencies: [
      { ref: whole["bom-ref"], dependsOn: components.map((c) => c["bom-ref"]) },
      ...components.map((c) => ({ ref: c["bom-ref"] })),
    ],
  };
}

/** The steps that made what a package is appended to; none when the call makes it anew. */
async function earlierSteps(path: string, appends: boolean): Promise<readonly BuildStep[]> {
  if (!appends) return [];
  const { readRecord } = await import("./build-record-file.ts");
  return (await readRecord(path)).steps;
}

async function writeRecord(made: string, step: BuildStep, appends: boolean): Promise<void> {
  const path = `${made}${RECORD_SUFFIX}`;
  const record: BuildRecord = {
    otaforgeBuild: 1,
    tool: { name: "otaforge", version: PACKAGE_VERSION, node: process.versions.node, zlib: process.versions.zlib },
    package: { file: basename(made), ...(await digestFile(made)) },
    steps: [...(await earlierSteps(path, appends)), step],
  };
  await replaceFile(path, `${JSON.stringify(record, null, 2)}\n`);
  await replaceFile(`${made}${LISTING_SUFFIX}`, `${JSON.stringify(listingOf(record), null, 2)}\n`);
}

/** Whether a call appends to a package that is there: `-a` of the vendor's packer. */
function isAppending(name: string, argv: readonly string[]): boolean {
  const isPacker = name === "otapack" || (argv[0] === "pack" && argv[1] === "sigmastar");
  return isPacker && argv.some((t) => /^(-a|--ap(p(e(n(d)?)?)?)?(=|$))/.test(t));
}

/** When a record is written: always unless `--no-build-record`, or only with `--build-record` or OTAFORGE_BUILD_RECORD=1. */
export type RecordHabit = "always" | "asked";

function wantsRecord(argv: readonly string[], io: Io, habit: RecordHabit): { wanted: boolean; rest: string[] } {
  const end = argv.indexOf("--");
  const isOurs = (t: string, i: number): boolean =>
    (end < 0 || i < end) && (t === "--build-record" || t === "--no-build-record");
  const said = argv.filter(isOurs).at(-1);
  const environment = io.env["OTAFORGE_BUILD_RECORD"];
  const wanted = said === undefined ? habit === "always" || (environment ?? "0") !== "0" : said === "--build-record";
  return { wanted, rest: argv.filter((t, i) => !isOurs(t, i)) };
}

/**
 * A maker's command that also writes build records. Without one being wanted, what an earlier build left beside the package is
 * removed: it would describe another package.
 */
export function recordable(name: string, main: CommandMain, habit: RecordHabit): CommandMain {
  return async (argv, io) => {
    const { wanted, rest } = wantsRecord(argv, io, habit);
    const used = new Set<string>();
    const secrets = new Set<string>();
    const made = new Set<string>();
    const trace = {
      records: wanted,
      used: (path: string): void => void used.add(path),
      secret: (path: string): void => void secrets.add(path),
      made: (path: string): void => void made.add(resolve(io.cwd, path)),
    };
    const code = await main(rest, { ...io, trace });
    if (code !== 0) return code;
    for (const path of made) {
      if (!(await isFile(path))) made.delete(path);
    }
    for (const path of made) {
      if (wanted) {
        const step = await describeStep(name, rest, io, { traced: { used, secrets, made }, made: path });
        await writeRecord(path, step, isAppending(name, rest));
      } else {
        for (const suffix of [RECORD_SUFFIX, LISTING_SUFFIX]) await rm(`${path}${suffix}`, { force: true });
      }
    }
    return code;
  };
}

/** The record of a package: beside it, or, of one that was compressed afterwards, beside the plain one. */
export async function recordPathOf(packagePath: string): Promise<string> {
  const own = `${packagePath}${RECORD_SUFFIX}`;
  if ((await isFile(own)) || !packagePath.endsWith(".gz")) return own;
  return `${packagePath.slice(0, -".gz".length)}${RECORD_SUFFIX}`;
}

/** Where a step's folder is. */
export function stepFolder(recordPath: string, step: BuildStep): string {
  return join(dirname(recordPath), step.folder);
}
