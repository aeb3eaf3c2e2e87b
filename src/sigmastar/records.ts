/**
 * Records from the packer's options: what is stored for each operation (specification sections 3.2, 3.4 and 3.6), and what
 * of section 5 is refused.
 */
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Cancel, ProgressSink, RandomReader } from "../core/ports.ts";
import { checkCancel, memoryReader, streamRange } from "../core/streams.ts";
import { printable } from "../core/text.ts";
import { LARGEST_SHARE, patchProven } from "../delta/choice.ts";
import { writableFileSystem } from "./file-system-magic.ts";
import { OPT } from "./layout.ts";
import type { Generation } from "./layout.ts";
import type { PackFiles, SourceFile } from "./pack-files.ts";
import type { PackProfile, RecordSpec } from "./pack.ts";

/** Makes patches. Families take it as a port. */
export interface PatchMaker {
  /** A complete BSDIFF40 patch that turns `old` into `fresh`. */
  bsdiff40(old: RandomReader, fresh: RandomReader): Promise<Uint8Array>;
}

/** Content digests of both sides of a patch, for the manifest beside a package. */
export interface PatchNote {
  readonly destination: string;
  readonly old: RandomReader;
  readonly fresh: RandomReader;
}

export interface RecordPorts {
  readonly files: PackFiles;
  /** Needed by the diff operations only. */
  readonly patches?: PatchMaker;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
  readonly profile?: PackProfile;
  /** Generation of the package, for warnings that concern one only. */
  readonly generation?: Generation;
  /** How the package is compressed when it is made, if it is: a whole file may then be smaller than its patch, which does not shrink. */
  readonly compress?: (content: ByteStream) => ByteStream;
  /** Called before a diff record is given out, while both files are open. */
  readonly onPatch?: (note: PatchNote) => Promise<void>;
}

/** What goes into every record of one call. */
export interface RecordCommon {
  readonly destination?: string;
  readonly log?: string;
  readonly masks?: readonly number[];
}

/** Name stored for a path (section 3.4): the text after the last `/`; `/x` and a text without `/` stay as they are. */
export function sourceNameOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? path : path.slice(slash + 1);
}

/** The single operations by their option name. */
export const SINGLE_OPERATIONS = Object.freeze({
  "block-update": OPT.BLK_UPDATE,
  "ubi-update": OPT.UBI_UPDATE,
  "file-update": OPT.FILE_UPDATE,
  "file-add": OPT.FILE_ADD,
  "file-delete": OPT.FILE_DELETE,
  "file-update-diff": OPT.FILE_DIFF,
  "script-add": OPT.SCRIPT_EXEC,
} as const);

export type SingleOperation = keyof typeof SINGLE_OPERATIONS;

export interface SingleOptions extends RecordCommon {
  readonly operation: SingleOperation;
  readonly source?: string;
  readonly diffOld?: string;
  readonly diffNew?: string;
  readonly destinationSize?: number;
  readonly mode?: number;
}

function needed(path: string | undefined, option: string, what: string): string {
  if (path === undefined || path === "") {
    throw new OtaError("SIGMASTAR_SOURCE_MISSING", { what: `${what} is missing`, expected: `${option} FILE` });
  }
  return path;
}

function common(options: RecordCommon): Pick<RecordSpec, "log" | "masks"> {
  return {
    ...(options.log === undefined ? {} : { log: options.log }),
    ...(options.masks === undefined ? {} : { masks: options.masks }),
  };
}

/** The one record of a single operation. The source stays open until the generator is asked again or closed. */
export async function* singleRecord(
  ports: RecordPorts,
  options: SingleOptions,
): AsyncGenerator<RecordSpec, void, void> {
  const opt = SINGLE_OPERATIONS[options.operation];
  const destination = options.destination ?? "";
  if (destination === "") {
    throw new OtaError("SIGMASTAR_DESTINATION_MISSING", {
      what: "the destination is missing",
      where: `--${options.operation}`,
      expected: "-d PATH",
    });
  }
  const given = { destinationSize: options.destinationSize ?? 0, mode: options.mode ?? 0 };
  const base = { destination, ...common(options) };
  if (opt === OPT.FILE_DELETE) {
    yield { opt, ...base, ...given, sourceName: sourceNameOf(destination) };
    return;
  }
  if (opt === OPT.FILE_DIFF) {
    const oldPath = needed(options.diffOld, "-o", "the old file of the diff");
    const newPath = needed(options.diffNew, "-n", "the new file of the diff");
    yield* diffRecord(ports, { oldPath, newPath, spec: { opt, ...base, ...given } });
    return;
  }
  const path = needed(options.source, "-s", "the source file");
  const source = await ports.files.open(path);
  try {
    const ownMode = opt === OPT.FILE_ADD || opt === OPT.SCRIPT_EXEC;
    const sizes = ownMode ? { destinationSize: source.size, mode: source.mode } : given;
    yield { opt, ...base, ...sizes, payload: source, sourceName: sourceNameOf(path) };
  } finally {
    await source.close();
  }
}

function wholeOperation(destination: string): number {
  if (/^\/dev\/ubi\d+_\d+/.test(destination)) return OPT.UBI_UPDATE;
  return destination.startsWith("/dev/") ? OPT.BLK_UPDATE : OPT.FILE_UPDATE;
}

/**
 * A differential record, or a whole one: when either side is empty (bsdiff refuses empty files), and in the safe profile when the patch
 * is not worth it (above 95 % of the file).
 *
 * @throws OtaError SIGMASTAR_DIFF_BASE in the safe profile when the old file is a writable file system
 */
export async function* diffRecord(
  ports: RecordPorts,
  what: { readonly oldPath: string; readonly newPath: string; readonly spec: RecordSpec },
): AsyncGenerator<RecordSpec, void, void> {
  const { oldPath, newPath, spec } = what;
  const name = sourceNameOf(newPath);
  let old: SourceFile | undefined;
  let fresh: SourceFile | undefined;
  try {
    old = await ports.files.open(oldPath);
    fresh = await ports.files.open(newPath);
    if (old.size === 0 || fresh.size === 0) {
      const side = old.size === 0 ? "old" : "new";
      ports.progress?.note(
        "info",
        `${printable(newPath)}: the ${side} file is empty, the whole file is packed instead of a patch`,
      );
      yield { ...spec, opt: wholeOperation(spec.destination), payload: fresh, sourceName: name };
      return;
    }
    if (ports.profile !== "vendor") await checkDiffBase(oldPath, old);
    if (ports.patches === undefined) throw new OtaError("UNSUPPORTED", "no patch maker was given");
    checkCancel(ports.cancel);
    const patch = await ports.patches.bsdiff40(old, fresh);
    checkCancel(ports.cancel);
    if (ports.profile !== "vendor" && (await worthLess(patch, [old, fresh], ports))) {
      ports.progress?.note(
        "info",
        `${printable(newPath)}: a patch takes ${patch.length} bytes of ${fresh.size}${ports.compress === undefined ? "" : " before compression"}, the whole file is packed instead`,
      );
      yield { ...spec, opt: wholeOperation(spec.destination), payload: fresh, sourceName: name };
      return;
    }
    await ports.onPatch?.({ destination: spec.destination, old, fresh });
    yield { ...spec, payload: memoryReader(patch), sourceName: `${name}.diff` };
  } finally {
    await old?.close();
    await fresh?.close();
  }
}

/**
 * Whether the whole file is the better choice: a patch above 95 % of it spares nothing. A patch below is applied here first, as no
 * device should be the first to try it; one that gave other bytes would never be shipped.
 */
async function worthLess(
  patch: Uint8Array,
  pair: readonly [old: RandomReader, fresh: RandomReader],
  ports: RecordPorts,
): Promise<boolean> {
  if (!(await takesMore(pair[1], patch.length / LARGEST_SHARE, ports))) return true;
  const proven = await patchProven("bsdiff40", patch, pair, ports.cancel === undefined ? {} : { signal: ports.cancel });
  return !proven;
}

/** Whether a whole file takes at least `bytes` in the package. Compresses no more than that asks for. */
async function takesMore(fresh: RandomReader, bytes: number, { compress, cancel }: RecordPorts): Promise<boolean> {
  if (compress === undefined || fresh.size < bytes) return fresh.size >= bytes;
  let size = 0;
  for await (const chunk of compress(streamRange(fresh))) {
    checkCancel(cancel);
    size += chunk.length;
    if (size >= bytes) return true;
  }
  return false;
}

async function checkDiffBase(path: string, old: RandomReader): Promise<void> {
  const fileSystem = await writableFileSystem(old);
  if (fileSystem === undefined) return;
  throw new OtaError("SIGMASTAR_DIFF_BASE", {
    what: `a writable ${fileSystem} image is no base for a patch: a device changes it while it runs, and the patch no longer fits`,
    where: printable(path),
    hint: "Pack the whole image, or use a read-only file system (squashfs).",
  });
}
