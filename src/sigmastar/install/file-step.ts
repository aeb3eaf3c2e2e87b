/**
 * Files: neighbouring file records are one batch.
 *
 * First every new content is completed beside its target, read back and put on the medium; a failure up to here (no room, a
 * damaged disk, a wrong base) removes what was made and leaves every file as it was. Then the batch is noted as prepared and
 * only renames and removals are left, which a second run repeats without harm.
 */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { FileAttributes, OpenFile } from "../../core/ports.ts";
import type { Context } from "./context.ts";
import {
  contentDigest,
  copyStream,
  holds,
  knownDifference,
  report,
  sameContent,
  saveState,
  warn,
  wrongBase,
} from "./context.ts";
import type { ContentDigest, SeenDifference } from "./device-state.ts";
import { PIECE, pieceCount, pieceDigest, pieceLength, sha256 } from "./package-source.ts";
import { joinPath, parentOf } from "./paths.ts";
import { differenceName, patched, resultSize, withPatch } from "./patching.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";

/** Where the new content of a target is completed. */
export function temporaryOf(target: Target): string {
  return joinPath(parentOf(target.path), `.otaforge-${target.position}`);
}

function isContent(target: Target): boolean {
  return target.work !== "file delete";
}

/** Whether a file's content is that of the record, piece by piece. */
async function isPayload(ctx: Context, target: Target, file: OpenFile): Promise<boolean> {
  const { record } = target;
  if (file.size !== record.head.fileSize) return false;
  for (let i = 0; i < pieceCount(record); i++) {
    const bytes = await file.read(i * PIECE, pieceLength(record, i));
    if (!equalBytes(sha256(ctx.device.digests, bytes), pieceDigest(record, i))) return false;
  }
  return true;
}

/** Mode a made file gets: the packaged one; a pack call without a mode means 0644. */
function addedMode(target: Target): number {
  const mode = target.record.head.mode & 0o7777;
  return mode === 0 ? 0o644 : mode;
}

async function attributesFor(ctx: Context, target: Target): Promise<FileAttributes> {
  const { files } = ctx.device;
  const there = (await files.stat(target.path)) !== undefined;
  if (target.work === "file add") {
    if (there && ctx.vendor) return files.attributes(target.path);
    return { mode: ctx.vendor ? addedMode(target) & ~0o022 : addedMode(target) };
  }
  return files.attributes(target.path);
}

/** Folders made on the way to `path`, outermost first. */
async function makeParents(ctx: Context, path: string): Promise<string[]> {
  const { files } = ctx.device;
  const missing: string[] = [];
  for (let folder = parentOf(path); folder !== "/"; folder = parentOf(folder)) {
    if ((await files.stat(folder)) !== undefined) break;
    missing.unshift(folder);
  }
  if (missing.length === 0) return [];
  await files.makeFolder(parentOf(path), 0o755);
  return missing;
}

async function writeTemporary(ctx: Context, target: Target, write: (file: OpenFile) => Promise<void>): Promise<void> {
  const { files } = ctx.device;
  const path = temporaryOf(target);
  if ((await files.stat(path)) !== undefined) await files.remove(path);
  const attributes = await attributesFor(ctx, target);
  const file = await files.open(path, "create-new", 0o600);
  try {
    await write(file);
    await files.setAttributes(path, attributes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function preparePayload(ctx: Context, target: Target): Promise<void> {
  const { record } = target;
  await writeTemporary(ctx, target, async (file) => {
    await copyStream(
      ctx.payloads.stream(record),
      record.head.fileSize,
      (offset, bytes) => file.write(offset, bytes),
      (done) => report(ctx, "update", target, done, record.head.fileSize),
    );
    if (!(await isPayload(ctx, target, file))) throw readBackError(target);
  });
}

function readBackError(target: Target): OtaError {
  return new OtaError("SIGMASTAR_READ_BACK", {
    what: "what was read back is not what was written",
    where: targetName(target.record, target.path),
  });
}

/** Completes a file's new content from a difference; undefined when the file is the result already. */
async function prepareDifference(ctx: Context, target: Target): Promise<SeenDifference | undefined> {
  const where = differenceName(target);
  const { files, digests } = ctx.device;
  const known = knownDifference(ctx, target);
  const old = await files.open(target.path, "read");
  try {
    const base = await contentDigest(ctx, old);
    if (known.result !== undefined && sameContent(base, known.result)) return undefined;
    if (known.base !== undefined && !sameContent(base, known.base)) throw wrongBase(where);
    let result: ContentDigest | undefined;
    await withPatch(ctx, target, async (patch) => {
      const size = await resultSize(patch, where);
      await writeTemporary(ctx, target, async (file) => {
        const digest = digests.create("sha256");
        await copyStream(
          patched(ctx, target, { base: old, digest: base, patch }),
          size,
          async (offset, bytes) => {
            digest.update(bytes);
            await file.write(offset, bytes);
          },
          (done) => report(ctx, "update", target, done, size),
        );
        result = { size, sha256: toHex(digest.digest()) };
        if (!sameContent(await contentDigest(ctx, file), result)) throw readBackError(target);
      });
    });
    if (result === undefined || (known.result !== undefined && !sameContent(result, known.result))) {
      throw new OtaError("SIGMASTAR_RESULT_WRONG", {
        what: "the difference does not give the promised content",
        where,
      });
    }
    return { base, result };
  } finally {
    await old.close();
  }
}

/** Removes files completed for a batch that never came into effect, and the folders made for them. */
export async function removeTemporaries(
  ctx: Context,
  paths: readonly string[],
  folders: readonly string[] = [],
): Promise<void> {
  const { files } = ctx.device;
  const touched = new Set<string>();
  for (const path of [...paths, ...[...folders].reverse()]) {
    try {
      if ((await files.stat(path)) === undefined) continue;
      await files.remove(path);
      touched.add(parentOf(path));
    } catch (e) {
      if (e instanceof OtaError && e.code === "DEVICE_POWER_CUT") throw e;
      warn(ctx, `${path} could not be removed: ${(e as Error).message}`);
    }
  }
  for (const folder of touched) {
    if ((await files.stat(folder)) !== undefined) await files.syncFolder(folder);
  }
}

async function syncFolders(ctx: Context, folders: ReadonlySet<string>): Promise<void> {
  for (const folder of folders) await ctx.device.files.syncFolder(folder);
}

/** Completes everything beside its target. A failure removes what was made. */
async function prepare(ctx: Context, batch: readonly Target[], end: number): Promise<void> {
  const temporaries = batch.filter(isContent).map(temporaryOf);
  const madeFolders: string[] = [];
  const folders = new Set<string>();
  const differences: Record<string, SeenDifference> = {};
  if (temporaries.length > 0) await saveState(ctx, {}, { kind: "files", end, prepared: false, temporaries });
  try {
    for (const target of batch) {
      if (!isContent(target)) continue;
      for (const folder of await makeParents(ctx, target.path)) {
        madeFolders.push(folder);
        folders.add(parentOf(folder));
      }
      folders.add(parentOf(target.path));
      if (target.work === "file difference") {
        const seen = await prepareDifference(ctx, target);
        if (seen !== undefined) differences[String(target.position)] = seen;
      } else {
        await preparePayload(ctx, target);
      }
      ctx.doneBytes += target.record.head.fileSize;
    }
    await syncFolders(ctx, folders);
  } catch (e) {
    if (e instanceof OtaError && e.code === "DEVICE_POWER_CUT") throw e;
    await removeTemporaries(ctx, temporaries, madeFolders);
    await saveState(ctx, {});
    throw e;
  }
  const seen = { ...ctx.state.differences, ...differences };
  await saveState(ctx, { differences: seen }, { kind: "files", end, prepared: true, temporaries });
}

/** Whether a target of a prepared batch, whose completed file is gone, is what it must become. */
async function isDone(ctx: Context, target: Target): Promise<boolean> {
  const { files } = ctx.device;
  if ((await files.stat(target.path))?.kind !== "file") return false;
  const file = await files.open(target.path, "read");
  try {
    if (target.work !== "file difference") return await isPayload(ctx, target, file);
    const { result } = knownDifference(ctx, target);
    return result === undefined || (file.size === result.size && (await holds(ctx, file, result)));
  } finally {
    await file.close();
  }
}

/** Whether everything an interrupted run prepared is still there, or in place already. */
async function isStillPrepared(ctx: Context, batch: readonly Target[]): Promise<boolean> {
  const { files } = ctx.device;
  for (const target of batch) {
    if (!isContent(target)) continue;
    if ((await files.stat(temporaryOf(target))) === undefined && !(await isDone(ctx, target))) return false;
  }
  return true;
}

/** Puts a prepared batch in place: renames and removals. */
async function commit(ctx: Context, batch: readonly Target[]): Promise<void> {
  const { files } = ctx.device;
  const folders = new Set<string>();
  for (const target of batch) {
    if (!isContent(target)) {
      if ((await files.stat(target.path)) === undefined) continue;
      await files.remove(target.path);
    } else {
      const temporary = temporaryOf(target);
      if ((await files.stat(temporary)) !== undefined) await files.rename(temporary, target.path);
    }
    folders.add(parentOf(target.path));
  }
  await syncFolders(ctx, folders);
}

/** Brings a batch of files into place. `end` is the position behind the batch. */
export async function runFiles(ctx: Context, batch: readonly Target[], end: number): Promise<void> {
  const note = ctx.state.step;
  const begun = note?.kind === "files" && note.prepared && note.end === end;
  if (!begun || !(await isStillPrepared(ctx, batch))) await prepare(ctx, batch, end);
  await commit(ctx, batch);
}
