/**
 * Folder operations (specification section 3.6): two folders compared, one record for every file that changed, came or went.
 *
 * Entries are taken in ascending byte order of their names inside each folder; the vendor program takes them in on-disk order,
 * which differs between machines.
 */
import { equalBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { checkCancel } from "../core/streams.ts";
import { printable } from "../core/text.ts";
import { OPT } from "./layout.ts";
import type { PackFiles } from "./pack-files.ts";
import type { RecordSpec } from "./pack.ts";
import { diffRecord, sourceNameOf } from "./records.ts";
import type { RecordCommon, RecordPorts } from "./records.ts";

export interface FolderOptions extends RecordCommon {
  readonly oldFolder: string;
  readonly newFolder: string;
  /** Patches for changed files instead of whole ones. */
  readonly diff: boolean;
  /** Whether names beginning with a dot take part; the vendor program skips them at every level. */
  readonly dotFiles: boolean;
}

/** What a folder operation will do. Paths are relative, `/` between parts. */
export interface FolderPlan {
  /** Old files also in new with other content, in the order of the old folder. */
  readonly changed: readonly string[];
  /** In the order of the new folder. */
  readonly added: readonly string[];
  /** In the order of the old folder. */
  readonly deleted: readonly string[];
  /** Names skipped because they begin with a dot, with their folder (`old`, `new`). */
  readonly skipped: readonly string[];
  /** Paths that are a file on one side and a folder on the other: a device cannot follow the order of the records there. */
  readonly typeChanges: readonly string[];
}

interface Scan {
  readonly files: string[];
  readonly folders: Set<string>;
  readonly skipped: string[];
}

function loopError(path: string): OtaError {
  return new OtaError("SIGMASTAR_SOURCE_KIND", {
    what: "a symbolic link leads back into a folder that holds it",
    where: printable(path),
  });
}

async function scan(files: PackFiles, root: string, dotFiles: boolean): Promise<Scan> {
  const out: Scan = { files: [], folders: new Set(), skipped: [] };
  const top = await files.info(root);
  if (top?.kind !== "folder") {
    throw new OtaError(top === undefined ? "SIGMASTAR_SOURCE_MISSING" : "SIGMASTAR_SOURCE_KIND", {
      what: top === undefined ? "the folder does not exist" : "folder operations need two folders",
      where: printable(root),
    });
  }
  const walk = async (folder: string, relative: string, above: readonly string[]): Promise<void> => {
    for (const name of await files.list(folder)) {
      const path = `${folder}/${name}`;
      const inside = relative === "" ? name : `${relative}/${name}`;
      if (!dotFiles && name.startsWith(".")) {
        out.skipped.push(inside);
        continue;
      }
      const info = await files.info(path);
      if (info === undefined) {
        throw new OtaError("SIGMASTAR_SOURCE_MISSING", {
          what: "a symbolic link leads nowhere",
          where: printable(path),
        });
      }
      if (info.kind === "folder") {
        if (above.includes(info.identity)) throw loopError(path);
        out.folders.add(inside);
        await walk(path, inside, [...above, info.identity]);
      } else if (info.kind === "file") out.files.push(inside);
      else {
        throw new OtaError("SIGMASTAR_SOURCE_KIND", {
          what: "only files and folders can be packed, this is a device, pipe or socket",
          where: printable(path),
        });
      }
    }
  };
  await walk(root, "", [top.identity]);
  return out;
}

const COMPARE_BYTES = 256 * 1024;

async function sameContent(a: RandomReader, b: RandomReader): Promise<boolean> {
  if (a.size !== b.size) return false;
  for (let at = 0; at < a.size; at += COMPARE_BYTES) {
    const n = Math.min(COMPARE_BYTES, a.size - at);
    const [x, y] = await Promise.all([a.read(at, n), b.read(at, n)]);
    if (!equalBytes(x, y)) return false;
  }
  return true;
}

/**
 * Compares two folders.
 *
 * @throws OtaError SIGMASTAR_SOURCE_MISSING (also a dangling link), SIGMASTAR_SOURCE_KIND (a file, device or link loop)
 */
export async function planFolders(
  ports: Pick<RecordPorts, "files" | "cancel">,
  options: Pick<FolderOptions, "oldFolder" | "newFolder" | "dotFiles">,
): Promise<FolderPlan> {
  const { files } = ports;
  const [old, fresh] = [
    await scan(files, options.oldFolder, options.dotFiles),
    await scan(files, options.newFolder, options.dotFiles),
  ];
  const inOld = new Set(old.files);
  const inNew = new Set(fresh.files);
  const changed: string[] = [];
  for (const path of old.files) {
    checkCancel(ports.cancel);
    if (!inNew.has(path)) continue;
    const a = await files.open(`${options.oldFolder}/${path}`);
    try {
      const b = await files.open(`${options.newFolder}/${path}`);
      try {
        if (!(await sameContent(a, b))) changed.push(path);
      } finally {
        await b.close();
      }
    } finally {
      await a.close();
    }
  }
  return {
    changed,
    added: fresh.files.filter((path) => !inOld.has(path)),
    deleted: old.files.filter((path) => !inNew.has(path)),
    skipped: [...old.skipped.map((p) => `old: ${p}`), ...fresh.skipped.map((p) => `new: ${p}`)],
    typeChanges: [
      ...old.files.filter((path) => fresh.folders.has(path)),
      ...fresh.files.filter((path) => old.folders.has(path)),
    ],
  };
}

function few(paths: readonly string[]): string {
  const shown = paths.slice(0, 5).map(printable).join(", ");
  return paths.length > 5 ? `${shown} and ${paths.length - 5} more` : shown;
}

/** The records of a folder operation, in the vendor's order: changed, new, gone. Notes what it skips and warns. */
export async function* folderRecords(
  ports: RecordPorts,
  options: FolderOptions,
): AsyncGenerator<RecordSpec, void, void> {
  const plan = await planFolders(ports, options);
  if (plan.skipped.length > 0) {
    const n = plan.skipped.length;
    ports.progress?.note(
      "warning",
      `${n} name${n === 1 ? "" : "s"} beginning with a dot skipped: ${few(plan.skipped)}`,
    );
  }
  if (plan.typeChanges.length > 0) {
    ports.progress?.note(
      "warning",
      `a file became a folder or a folder a file; additions come before deletions, so a device cannot install this: ${few(plan.typeChanges)}`,
    );
  }
  const { log, masks } = options;
  const base = { ...(log === undefined ? {} : { log }), ...(masks === undefined ? {} : { masks }) };
  const destinationOf = (path: string): string => `${options.destination ?? ""}/${path}`;
  const spaced = [...plan.changed, ...plan.added, ...plan.deleted].filter((path) => path.includes(" "));
  if (spaced.length > 0 && ports.generation === "v1.6") {
    ports.progress?.note("warning", `a v1.6 client reads a space as the end of a destination: ${few(spaced)}`);
  }
  for (const path of plan.changed) {
    const newPath = `${options.newFolder}/${path}`;
    const spec: RecordSpec = { ...base, opt: OPT.FILE_UPDATE, destination: destinationOf(path) };
    if (options.diff) {
      const oldPath = `${options.oldFolder}/${path}`;
      yield* diffRecord(ports, { oldPath, newPath, spec: { ...spec, opt: OPT.FILE_DIFF } });
      continue;
    }
    const source = await ports.files.open(newPath);
    try {
      yield { ...spec, payload: source, sourceName: sourceNameOf(newPath) };
    } finally {
      await source.close();
    }
  }
  for (const path of plan.added) {
    const newPath = `${options.newFolder}/${path}`;
    const source = await ports.files.open(newPath);
    try {
      yield {
        ...base,
        opt: OPT.FILE_ADD,
        destination: destinationOf(path),
        destinationSize: source.size,
        mode: source.mode,
        payload: source,
        sourceName: sourceNameOf(newPath),
      };
    } finally {
      await source.close();
    }
  }
  for (const path of plan.deleted) {
    const destination = destinationOf(path);
    yield { ...base, opt: OPT.FILE_DELETE, destination, sourceName: sourceNameOf(destination) };
  }
}
