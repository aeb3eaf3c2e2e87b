/** Raw images and raw differences onto partitions. */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, OpenFile } from "../../core/ports.ts";
import { readReusing, streamRange } from "../../core/streams.ts";
import type { Context } from "./context.ts";
import {
  contentDigest,
  holds,
  knownDifference,
  report,
  sameContent,
  saveState,
  wrongBase,
  copyStream,
} from "./context.ts";
import type { ContentDigest } from "./device-state.ts";
import { pieceCount, pieceDigest, pieceLength, PIECE, sha256 } from "./package-source.ts";
import { joinPath } from "./paths.ts";
import { differenceName, patched, resultSize, withPatch } from "./patching.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";
import { rawTarget } from "./raw-target.ts";
import type { RawTarget } from "./raw-target.ts";

/** Opens the raw target: a node, or a regular file written in place. */
export async function openRaw(ctx: Context, target: Target, access: "read" | "write"): Promise<RawTarget> {
  if (target.isFile === true && target.node === undefined) {
    const file = await ctx.device.files.open(target.path, access === "read" ? "read" : "update");
    return rawTarget(Object.assign(file, { path: target.path }), "file");
  }
  return rawTarget(await ctx.device.nodes.open(target.path, access), target.node?.kind ?? "block");
}

function readBackError(where: string, offset: number): OtaError {
  return new OtaError("SIGMASTAR_READ_BACK", {
    what: "what was read back is not what was written",
    where: `${where}, offset ${hexOffset(offset)}`,
    hint: "The medium is worn out or broken.",
  });
}

/** JFFS2 images begin with a node's magic, 0x1985, in either byte order. */
function isJffs2(first: Uint8Array): boolean {
  return (first[0] === 0x85 && first[1] === 0x19) || (first[0] === 0x19 && first[1] === 0x85);
}

/** Gathers a stream into parts of exactly `unit` bytes, the last one shorter. */
async function* inUnits(stream: ByteStream, unit: number): ByteStream {
  let held = new Uint8Array(unit);
  let have = 0;
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length;) {
      if (have === 0 && chunk.length - at >= unit) {
        yield chunk.subarray(at, at + unit);
        at += unit;
        continue;
      }
      const part = chunk.subarray(at, at + unit - have);
      held.set(part, have);
      have += part.length;
      at += part.length;
      if (have === unit) {
        yield held;
        held = new Uint8Array(unit);
        have = 0;
      }
    }
  }
  if (have > 0) yield held.subarray(0, have);
}

/** Whether a target holds `bytes` already. A page that a cut left half-written does not even read. */
async function isThere(raw: RawTarget, offset: number, bytes: Uint8Array): Promise<boolean> {
  try {
    return equalBytes(await raw.read(offset, bytes.length), bytes);
  } catch (e) {
    if (e instanceof OtaError && (e.code === "DEVICE_IO" || e.code === "DEVICE_BAD_BLOCK")) return false;
    throw e;
  }
}

/**
 * Writes content from the beginning of a target. With `skipEqual` what the target holds already is left alone, so that a
 * second run does not write (and wear) what the first one wrote.
 */
async function writeContent(
  raw: RawTarget,
  content: ByteStream,
  options: { readonly skipEqual: boolean; readonly onBytes: (done: number) => void },
): Promise<void> {
  let at = 0;
  let first: Uint8Array | undefined;
  for await (const part of raw.unit === undefined ? content : inUnits(content, raw.unit)) {
    first ??= part.slice(0, 2);
    const there = options.skipEqual && (await isThere(raw, at, part));
    if (!there) await raw.put(at, part);
    at += part.length;
    options.onBytes(at);
  }
  // JFFS2 reads every node of its partition: nodes of the old file system behind a shorter image would come back to life.
  if (first !== undefined && isJffs2(first)) await raw.eraseRest?.(at);
  await raw.flush();
}

/** Writes the payload of a record onto a raw target, flushes, reads it back. */
export async function runRaw(ctx: Context, target: Target, again: boolean): Promise<void> {
  const { record } = target;
  const size = record.head.fileSize;
  const raw = await openRaw(ctx, target, "write");
  try {
    await writeContent(raw, ctx.payloads.stream(record), {
      skipEqual: again,
      onBytes: (done) => report(ctx, "update", target, done, size),
    });
    const buffer = new Uint8Array(raw.readInto === undefined ? 0 : Math.min(PIECE, size));
    for (let i = 0; i < pieceCount(record); i++) {
      const bytes = await readReusing(raw, i * PIECE, pieceLength(record, i), buffer);
      if (!equalBytes(sha256(ctx.device.digests, bytes), pieceDigest(record, i))) {
        throw readBackError(targetName(record, target.path), i * PIECE);
      }
      report(ctx, "read back", target, i * PIECE + bytes.length, size);
    }
  } finally {
    await raw.close();
  }
}

/** Name of the completed content of a raw difference in the folder for differences. */
function completedName(ctx: Context, target: Target): string {
  return `otaforge-${ctx.pkg.id.slice(0, 12)}-${target.position}.new`;
}

/**
 * A difference on a raw target: the new content is completed in the folder for differences and proven, noted, then written.
 * Until the note the target is untouched; after it the completed content is all that is needed.
 */
export async function runRawDifference(ctx: Context, target: Target): Promise<void> {
  const where = differenceName(target);
  if (ctx.scratch === undefined)
    throw new OtaError("SIGMASTAR_TEMPORARY_NEEDED", { what: "no folder for differences", where });
  const { files, folder } = ctx.scratch;
  const path = joinPath(folder, completedName(ctx, target));
  const note = ctx.state.step;
  const begun = note?.kind === "raw difference" && note.node === target.path ? note : undefined;
  let result = begun?.result;
  if (result !== undefined && !(await completedIs(ctx, path, result))) {
    // The completed content is lost: the target may still be whole, old or new.
    result = undefined;
  }
  if (result === undefined) {
    const done = await completeRaw(ctx, target, path);
    if (done === undefined) return; // it is the result already
    result = done.result;
    await saveState(
      ctx,
      { differences: { ...ctx.state.differences, [String(target.position)]: done } },
      { kind: "raw difference", node: target.path, file: path, result },
    );
  }
  const raw = await openRaw(ctx, target, "write");
  const completed = await files.open(path, "read");
  try {
    await writeContent(raw, streamRange(completed, 0, result.size), {
      skipEqual: begun !== undefined,
      onBytes: (n) => report(ctx, "update", target, n, result.size),
    });
    if (!(await holds(ctx, raw, result))) throw readBackError(where, 0);
  } finally {
    await completed.close();
    await raw.close();
  }
}

/** Removes the completed content once the journal says that the target is done. */
export async function cleanRawDifference(ctx: Context, target: Target): Promise<void> {
  if (ctx.scratch === undefined) return;
  const { files, folder } = ctx.scratch;
  const path = joinPath(folder, completedName(ctx, target));
  if ((await files.stat(path)) !== undefined) {
    await files.remove(path);
    await files.syncFolder(folder);
  }
}

async function completedIs(ctx: Context, path: string, result: ContentDigest): Promise<boolean> {
  const files = ctx.scratch?.files;
  if (files === undefined || (await files.stat(path))?.kind !== "file") return false;
  const file = await files.open(path, "read");
  try {
    return file.size === result.size && sameContent(await contentDigest(ctx, file), result);
  } finally {
    await file.close();
  }
}

/** Applies the patch into `path` and proves it; undefined when the target holds the result already. */
async function completeRaw(
  ctx: Context,
  target: Target,
  path: string,
): Promise<{ base: ContentDigest; result: ContentDigest } | undefined> {
  const where = differenceName(target);
  const { files, folder } = ctx.scratch as NonNullable<Context["scratch"]>;
  const known = knownDifference(ctx, target);
  const raw = await openRaw(ctx, target, "read");
  try {
    if (known.result !== undefined && (await holds(ctx, raw, known.result))) return undefined;
    if (known.base !== undefined && !(await holds(ctx, raw, known.base))) throw wrongBase(where);
    const base = known.base ?? (await contentDigest(ctx, raw));
    const result = await withPatch(ctx, target, async (patch) => {
      const size = await resultSize(patch, where);
      const old = known.base === undefined ? raw : { size: known.base.size, read: raw.read.bind(raw) };
      const file: OpenFile = await files.open(path, "create", 0o600);
      try {
        await copyStream(
          patched(ctx, target, { base: old, digest: base, patch }),
          size,
          (offset, bytes) => file.write(offset, bytes),
          (n) => report(ctx, "verify", target, n, size),
        );
        await file.sync();
        return await contentDigest(ctx, file);
      } finally {
        await file.close();
      }
    });
    await files.syncFolder(folder);
    if (known.result !== undefined && !sameContent(result, known.result)) {
      throw new OtaError("SIGMASTAR_RESULT_WRONG", {
        what: "the difference does not give the promised content",
        where,
      });
    }
    return { base, result };
  } finally {
    await raw.close();
  }
}
