/**
 * One run of the updater: the update-binary contract of formats/android.md section 4.5.
 *
 * Exit codes: 0 success, 1 wrong argument count, 2 wrong version, 3 package cannot be opened, 4 no updater-script, 5 it cannot be
 * read, 6 it does not parse, 7 it aborted; and 90 when the script asked for a restart, which on a device ends the process.
 */
import { SCRIPT_NAME } from "../entry-names.ts";
import { toHex } from "../../core/bytes.ts";
import { isOtaError } from "../../core/errors.ts";
import type { Cancel, Device, RandomReader } from "../../core/ports.ts";
import { openZip } from "../../core/zip/index.ts";
import type { ZipArchive } from "../../core/zip/index.ts";
import { discardedCalls } from "../edify/ast.ts";
import type { EdifyEra, EdifyNode } from "../edify/ast.ts";
import { edifyBuiltins } from "../edify/builtins.ts";
import { EdifyAbort, evaluateEdify } from "../edify/evaluate.ts";
import type { EdifyFunctions } from "../edify/evaluate.ts";
import { parseEdify, parseErrorLines } from "../edify/parser.ts";
import { fromLatin1 } from "../latin1.ts";
import { openBlockMemory } from "./block-memory.ts";
import { failureText } from "./device-files.ts";
import { parseFileContexts } from "./file-contexts.ts";
import type { FileContexts } from "./file-contexts.ts";
import { blockFunctions } from "./functions/blocks.ts";
import { fileFunctions } from "./functions/files.ts";
import { messageFunctions, tokens } from "./functions/messages.ts";
import { metadataFunctions } from "./functions/metadata.ts";
import { mountFunctions } from "./functions/mounts.ts";
import { patchFunctions } from "./functions/patches.ts";
import { ProcessExit, RebootRequest, UpdaterSession } from "./host.ts";
import type { UpdaterHost } from "./host.ts";
import { changesDevice, preflight } from "./preflight.ts";
import { scopeOf } from "./script-scope.ts";

/** Largest script, bytes. */
const MAX_SCRIPT = 64 * 1024 * 1024;
export const REBOOT_EXIT = 90;

export interface UpdaterOptions {
  readonly device: Device;
  readonly package: RandomReader;
  readonly era: EdifyEra;
  readonly profile: "safe" | "vendor";
  readonly retry?: boolean;
  /** Path of the package on the device, which is then never deleted to make room. */
  readonly packagePath?: string;
  readonly pipe: (line: string) => void;
  readonly log: (text: string) => void;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly cancel?: Cancel;
}

export interface UpdaterOutcome {
  readonly exitCode: number;
  /** Value of the script, when it came to its end. */
  readonly result?: string;
  /** Message it aborted with. */
  readonly message?: string;
  /** Property text of a restart it asked for. */
  readonly reboot?: string;
  /** Why the device cannot take the package: it stopped before its first change. */
  readonly preflight?: readonly string[];
}

/** All functions of a release's updater. */
export function updaterFunctions(session: UpdaterSession): EdifyFunctions {
  const { host } = session;
  const builtins = edifyBuiltins({
    era: host.era,
    stdout: (text) => host.log(text),
    sleep: async (seconds) => host.sleep?.(seconds * 1000),
  });
  const tables = [
    messageFunctions(session),
    fileFunctions(session),
    metadataFunctions(session),
    mountFunctions(session),
    patchFunctions(session),
    blockFunctions(session),
  ];
  return new Map([...builtins, ...tables.flatMap((table) => Object.entries(table))]);
}

async function readContexts(device: Device, note: (text: string) => void): Promise<FileContexts | undefined> {
  for (const path of ["/file_contexts", "/file_contexts.bin"]) {
    try {
      if ((await device.files.stat(path))?.kind !== "file") continue;
      const file = await device.files.open(path, "read");
      try {
        return parseFileContexts(fromLatin1(await file.read(0, Math.min(file.size, 4 << 20))), (t) => note(`${t}\n`));
      } finally {
        await file.close();
      }
    } catch (e) {
      note(`${path}: ${failureText(e)}\n`);
    }
  }
  return undefined;
}

/** A digest that tells one package from another: of its directory, which has the CRC of every entry. */
async function packageId(device: Device, reader: RandomReader, zip: ZipArchive): Promise<string> {
  const digest = device.digests.create("sha256");
  digest.update(await reader.read(zip.directoryOffset, zip.endOffset - zip.directoryOffset));
  return toHex(digest.digest());
}

/** Tells recovery how a script ended that did not come to its end. */
function tellAbort(session: UpdaterSession, abort: EdifyAbort): void {
  const { host } = session;
  if (session.sawReadError && host.era === "7.1") host.pipe("retry_update");
  if (abort.text === undefined) {
    host.log("script aborted (no error message)\n");
    host.pipe("ui_print script aborted (no error message)");
    return;
  }
  host.log(`script aborted: ${abort.text}\n`);
  let error: number | undefined;
  for (const line of tokens(abort.text)) {
    const match = /^E[ \t]*\+?(\d{1,9})/.exec(line);
    if (match !== null) error = Number(match[1]);
    host.pipe(`ui_print ${line}`);
  }
  host.pipe("ui_print");
  if (host.era !== "7.1" || error === undefined) return;
  host.pipe(`log error: ${error}`);
  const cause = session.causeCode ?? abort.causeCode;
  if (cause !== undefined) host.pipe(`log cause: ${cause}`);
}

/** The device cannot take the package: found out before the first change. */
class PreflightFailed extends EdifyAbort {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** Functions whose empty result says that they failed. Scripts of 4.4 do not look at it and go on with half a system. */
const FAIL_EMPTY: ReadonlySet<string> = new Set([
  ...["mount", "format", "package_extract_dir", "package_extract_file", "write_raw_image", "apply_patch"],
  ...["block_image_update", "wipe_block_device", "write_value"],
]);

/** Which argument says what such a function works on, where it is not the first. */
const OBJECT_AT: Readonly<Record<string, number>> = { mount: 2, format: 2, write_raw_image: 1, write_value: 1 };

/**
 * What the safe profile does around functions: before the first one that changes anything it looks at the whole script, and a failure
 * that the script would not look at stops it.
 */
function guarded(session: UpdaterSession, functions: EdifyFunctions, root: EdifyNode): EdifyFunctions {
  if (!session.safe) return functions;
  let done: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    const problems = await preflight(session, root);
    if (problems.length > 0) throw new PreflightFailed(problems);
  };
  const statements = new Set([...discardedCalls(root)].map(({ args }) => args as readonly EdifyNode[]));
  return new Map(
    [...functions].map(([name, run]) => [
      name,
      async (call) => {
        if (changesDevice(name, call.args.length)) await (done ??= look());
        const value = await run(call);
        if (value === "" && FAIL_EMPTY.has(name) && statements.has(call.args)) {
          const object = call.args[OBJECT_AT[name] ?? 0];
          throw new EdifyAbort(`${name} of ${object === undefined ? "nothing" : call.sourceText(object)} failed`);
        }
        return value;
      },
    ]),
  );
}

/** Runs the script of an opened package. */
export async function runScript(host: UpdaterHost, reader: RandomReader): Promise<UpdaterOutcome> {
  const entry = host.zip.get(SCRIPT_NAME);
  if (entry === undefined) {
    host.log(`failed to find ${SCRIPT_NAME} in package\n`);
    return { exitCode: 4 };
  }
  let bytes: Uint8Array;
  try {
    bytes = await host.zip.read(entry, MAX_SCRIPT);
  } catch (e) {
    host.log(`failed to read script from package: ${failureText(e)}\n`);
    return { exitCode: 5 };
  }
  const session = new UpdaterSession(host);
  const functions = updaterFunctions(session);
  const script = parseEdify(bytes, {
    era: host.era,
    knows: (name) => functions.has(name),
    vendorCompatible: host.profile === "vendor",
  });
  if (script.root === undefined) {
    for (const line of parseErrorLines(script.errors)) host.log(`${line}\n`);
    return { exitCode: 6 };
  }
  session.scope = scopeOf(script.root);
  if (host.contexts === undefined) host.pipe("ui_print Warning: No file_contexts");
  if (session.safe) session.memory = await openBlockMemory(host.device, await packageId(host.device, reader, host.zip));
  try {
    const result = await evaluateEdify(script, guarded(session, functions, script.root), host.era);
    await session.settle();
    await session.memory?.finish();
    if (session.sawReadError && host.era === "7.1") host.pipe("retry_update");
    host.pipe(`ui_print script succeeded: result was [${result}]`);
    return { exitCode: 0, result };
  } catch (e) {
    if (e instanceof RebootRequest) return { exitCode: REBOOT_EXIT, reboot: e.property };
    if (e instanceof ProcessExit) return { exitCode: e.code };
    if (!(e instanceof EdifyAbort)) throw e;
    // What was changed before is brought to the medium as far as it takes it; the script has failed already.
    await session.settle().catch((again: unknown) => {
      if (!(again instanceof EdifyAbort)) throw again;
    });
    tellAbort(session, e);
    return {
      exitCode: 7,
      ...(e.text === undefined ? {} : { message: e.text }),
      ...(e instanceof PreflightFailed ? { preflight: e.problems } : {}),
    };
  }
}

/** Opens a package and runs its script. Signatures are the caller's business: recovery checks them first. */
export async function runUpdater(options: UpdaterOptions): Promise<UpdaterOutcome> {
  const { device } = options;
  let zip: ZipArchive;
  try {
    zip = await openZip(options.package, { codecs: device.codecs, crc32: (b, c) => device.digests.crc32(b, c) });
  } catch (e) {
    if (!isOtaError(e)) throw e;
    options.log(`failed to open package: ${e.message}\n`);
    return { exitCode: 3 };
  }
  const host: UpdaterHost = {
    device,
    zip,
    era: options.era,
    profile: options.profile,
    retry: options.retry ?? false,
    contexts: await readContexts(device, options.log),
    keep: new Set(options.packagePath === undefined ? [] : [options.packagePath]),
    pipe: options.pipe,
    log: options.log,
    ...(options.sleep === undefined ? {} : { sleep: options.sleep }),
    cancel: options.cancel,
  };
  return runScript(host, options.package);
}
