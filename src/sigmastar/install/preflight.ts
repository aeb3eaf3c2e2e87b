/**
 * Everything that can be known before the first write: targets, kinds, sizes, room, bases, whole patches.
 *
 * A package may touch a path several times (add a file, then patch it). What earlier records will have made is followed in a
 * small model of the paths, so that later records are judged by what they will find.
 */
import { OtaError } from "../../core/errors.ts";
import { formatBytes } from "../../core/progress.ts";
import type { FileInfo, MountInfo } from "../../core/ports.ts";
import type { Context } from "./context.ts";
import { contentDigest, holds, knownDifference, sameContent, warn, wrongBase } from "./context.ts";
import { parentOf } from "./paths.ts";
import { checkPatch, differenceName, resultSize, withPatch } from "./patching.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";
import { openRaw } from "./raw-step.ts";

/** What a path will be once the records looked at so far are done. */
type Future =
  { readonly kind: "file"; readonly size: number } | { readonly kind: "folder" } | { readonly kind: "gone" };

/** What a target adds to a file system: while it is completed, and in the end. */
interface Need {
  readonly folder: string;
  readonly newBytes: number;
  readonly oldBytes: number;
}

export interface Preflight {
  /** Whether all files of a batch can be completed side by side; otherwise one at a time. */
  readonly roomForBatches: boolean;
}

interface Looking {
  readonly ctx: Context;
  readonly future: Map<string, Future>;
  readonly needs: Need[];
  /** Raw targets that earlier records write. */
  readonly rewritten: Set<string>;
}

function tooSmall(where: string, size: number, room: number): OtaError {
  return new OtaError("DEVICE_TOO_SMALL", {
    what: "the content is larger than its target",
    where,
    expected: `at most ${room} bytes`,
    found: size,
    hint: "The package is for another partition layout.",
  });
}

function checkDeclaredSize(target: Target, size: number): void {
  const declared = target.record.head.destinationSize;
  if (declared === 0 || size <= declared) return;
  throw new OtaError("SIGMASTAR_DECLARED_SIZE", {
    what: "the payload is larger than the destination size its record declares",
    where: targetName(target.record, target.path),
    expected: `at most ${declared} bytes`,
    found: size,
  });
}

async function checkRaw(look: Looking, target: Target): Promise<void> {
  const { ctx } = look;
  const size = target.record.head.fileSize;
  const where = targetName(target.record, target.path);
  checkDeclaredSize(target, size);
  if (target.work === "volume") {
    const info = await ctx.device.ubi.info(target.path);
    if (info === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "the UBI volume does not exist", where });
    if (size > info.size) throw tooSmall(where, size, info.size);
  } else {
    const raw = await openRaw(ctx, target, "read");
    try {
      if (size > raw.size) throw tooSmall(where, size, raw.size);
    } finally {
      await raw.close();
    }
  }
  look.rewritten.add(target.path);
}

async function checkRawDifference(look: Looking, target: Target): Promise<void> {
  const { ctx } = look;
  const where = differenceName(target);
  const size = await withPatch(ctx, target, async (patch) => {
    await checkPatch(target, patch);
    return resultSize(patch, where);
  });
  checkDeclaredSize(target, size);
  const raw = await openRaw(ctx, target, "read");
  try {
    if (size > raw.size) throw tooSmall(where, size, raw.size);
    const note = ctx.state.step;
    const halfWritten = note?.kind === "raw difference" && note.node === target.path;
    const known = knownDifference(ctx, target);
    if (known.base !== undefined && !look.rewritten.has(target.path) && !halfWritten) {
      const fits =
        (await holds(ctx, raw, known.base)) || (known.result !== undefined && (await holds(ctx, raw, known.result)));
      if (!fits) throw wrongBase(where);
    }
    if (halfWritten) await checkHalfWritten(look, target);
  } finally {
    await raw.close();
  }
  look.rewritten.add(target.path);
  if (ctx.scratch === undefined) return;
  const { freeBytes } = await ctx.scratch.files.space(ctx.scratch.folder);
  if (freeBytes < size) throw noRoom(ctx.scratch.folder, size, freeBytes);
}

/** An interrupted run was writing this target: the completed content must still be there, or the target be whole. */
async function checkHalfWritten(look: Looking, target: Target): Promise<void> {
  const { ctx } = look;
  const note = ctx.state.step;
  if (note?.kind !== "raw difference") return;
  const file = await ctx.scratch?.files.stat(note.file);
  if (file?.kind === "file" && file.size === note.result.size) return;
  const known = knownDifference(ctx, target);
  const raw = await openRaw(ctx, target, "read");
  try {
    if (await holds(ctx, raw, note.result)) return;
    if (known.base !== undefined && (await holds(ctx, raw, known.base))) return;
  } finally {
    await raw.close();
  }
  throw new OtaError("SIGMASTAR_WRONG_BASE", {
    what: "an interrupted run left the target half-written and its completed content is gone",
    where: differenceName(target),
    hint: "Give the same folder for differences (-t) as before, or install a package that holds the whole content.",
  });
}

function noRoom(folder: string, needed: number, free: number): OtaError {
  return new OtaError("DEVICE_NO_SPACE", {
    what: "not enough room for the new content",
    where: folder,
    expected: `${formatBytes(needed)} free`,
    found: formatBytes(free),
  });
}

/** What is, or will be, at a path. */
async function whatIs(
  look: Looking,
  path: string,
): Promise<Future | { readonly kind: FileInfo["kind"]; readonly size: number } | undefined> {
  const planned = look.future.get(path);
  if (planned !== undefined) return planned.kind === "gone" ? undefined : planned;
  return look.ctx.device.files.stat(path);
}

function notFile(where: string, found: string): OtaError {
  return new OtaError("DEVICE_NOT_FILE", { what: "the target is no regular file", where, expected: "a file", found });
}

/** The nearest folder above a path that is there (or will be). @throws OtaError DEVICE_NOT_FOLDER */
async function existingFolder(look: Looking, path: string, where: string): Promise<string> {
  for (let folder = parentOf(path); ; folder = parentOf(folder)) {
    const found = await whatIs(look, folder);
    if (found?.kind === "folder" || folder === "/") return folder;
    if (found !== undefined) {
      throw new OtaError("DEVICE_NOT_FOLDER", {
        what: "a folder of the path is something else",
        where: `${where}, ${folder}`,
        expected: "a folder",
        found: `a ${found.kind}`,
        hint: "A path that changes from file to folder needs two packages: one that deletes, one that adds.",
      });
    }
  }
}

/** The nearest folder that is there now, for asking about room. */
async function presentFolder(ctx: Context, path: string): Promise<string> {
  for (let folder = parentOf(path); ; folder = parentOf(folder)) {
    if (folder === "/" || (await ctx.device.files.stat(folder)) !== undefined) return folder;
  }
}

async function checkFile(look: Looking, target: Target): Promise<void> {
  const { ctx, future } = look;
  const where = targetName(target.record, target.path);
  const there = await whatIs(look, target.path);
  const atWork = ctx.state.step?.kind === "files" && target.position < ctx.state.step.end && ctx.state.step.prepared;
  if (target.work === "file delete") {
    if (there !== undefined && there.kind !== "file" && there.kind !== "link") throw notFile(where, `a ${there.kind}`);
    future.set(target.path, { kind: "gone" });
    return;
  }
  if (there !== undefined && there.kind !== "file") throw notFile(where, `a ${there.kind}`);
  if (target.work !== "file add" && there === undefined) {
    throw new OtaError("DEVICE_NOT_FOUND", {
      what: "the file to be updated does not exist",
      where,
      hint: "A file that may be missing is packed with --file-add.",
    });
  }
  await existingFolder(look, target.path, where);
  for (let folder = parentOf(target.path); folder !== "/"; folder = parentOf(folder)) {
    if ((await whatIs(look, folder)) === undefined) future.set(folder, { kind: "folder" });
  }
  const size = target.work === "file difference" ? await checkDifference(look, target) : target.record.head.fileSize;
  if (!atWork) {
    const oldBytes = there?.kind === "file" ? there.size : 0;
    look.needs.push({ folder: await presentFolder(ctx, target.path), newBytes: size, oldBytes });
  }
  future.set(target.path, { kind: "file", size });
}

async function checkDifference(look: Looking, target: Target): Promise<number> {
  const { ctx } = look;
  const where = differenceName(target);
  const size = await withPatch(ctx, target, async (patch) => {
    await checkPatch(target, patch);
    return resultSize(patch, where);
  });
  const known = knownDifference(ctx, target);
  if (known.base === undefined || look.future.has(target.path)) return size;
  const file = await ctx.device.files.open(target.path, "read");
  try {
    const now = await contentDigest(ctx, file);
    const fits = sameContent(now, known.base) || (known.result !== undefined && sameContent(now, known.result));
    if (!fits) throw wrongBase(where);
  } finally {
    await file.close();
  }
  return size;
}

/** The mount a path lies on: the longest mount point above it. */
export function mountOf(mounts: readonly MountInfo[], path: string): MountInfo | undefined {
  let best: MountInfo | undefined;
  for (const mount of mounts) {
    const inside = mount.at === "/" || path === mount.at || path.startsWith(`${mount.at}/`);
    if (inside && (best === undefined || mount.at.length > best.at.length)) best = mount;
  }
  return best;
}

/** Room for files, by file system. @returns whether whole batches fit @throws OtaError DEVICE_NO_SPACE */
async function checkRoom(look: Looking): Promise<boolean> {
  const { ctx, needs } = look;
  if (needs.length === 0) return true;
  const mounts = await ctx.device.mounts.list();
  const groups = new Map<string, Need[]>();
  for (const need of needs) {
    const key = mountOf(mounts, need.folder)?.at ?? "/";
    groups.set(key, [...(groups.get(key) ?? []), need]);
  }
  let batches = true;
  for (const group of groups.values()) {
    const folder = (group[0] as Need).folder;
    const { freeBytes } = await ctx.device.files.space(folder);
    let grown = 0;
    let peak = 0;
    for (const need of group) {
      peak = Math.max(peak, grown + need.newBytes);
      grown += need.newBytes - need.oldBytes;
    }
    if (peak > freeBytes) throw noRoom(folder, peak, freeBytes);
    if (group.reduce((sum, need) => sum + need.newBytes, 0) > freeBytes) batches = false;
  }
  return batches;
}

/** Whether the folder for differences is there and keeps its files. */
async function checkScratch(ctx: Context, acceptVolatile: boolean): Promise<void> {
  if (ctx.scratch === undefined) {
    throw new OtaError("SIGMASTAR_TEMPORARY_NEEDED", {
      what: "the package holds differences",
      hint: "Give a writable folder for them: -t DIR.",
    });
  }
  const { files, folder } = ctx.scratch;
  const shown = ctx.scratch.shownAs ?? folder;
  const there = folder === "/" ? { kind: "folder" } : await files.stat(folder);
  if (there?.kind !== "folder") {
    throw new OtaError(there === undefined ? "DEVICE_NOT_FOUND" : "DEVICE_NOT_FOLDER", {
      what: "the folder for differences cannot be used",
      where: shown,
      expected: "a folder",
      found: there === undefined ? "nothing" : `a ${there.kind}`,
    });
  }
  const { volatile } = await files.space(folder);
  if (volatile && !acceptVolatile) {
    throw new OtaError("SIGMASTAR_TEMPORARY_VOLATILE", {
      what: "the folder for differences lies in memory: a power cut would lose the only whole copy",
      where: shown,
      hint: "Give a folder on flash or disk, or accept the risk with --accept-volatile.",
    });
  }
}

/** A bare BSDIFF40 patch fits any base long enough; without a manifest a wrong one goes unnoticed. */
function warnOfUnknownBases(ctx: Context, targets: readonly Target[]): void {
  const unknown = targets.filter((t) => t.work.endsWith("difference") && knownDifference(ctx, t).base === undefined);
  const [first] = unknown;
  if (first === undefined) return;
  const others = unknown.length === 1 ? "" : ` and ${unknown.length - 1} more`;
  warn(
    ctx,
    `nothing says which base these differences were made for, a wrong one is not noticed: ${differenceName(first)}${others}`,
  );
}

/**
 * Checks all targets that are still to be done. Nothing is written to any of them.
 *
 * @throws OtaError DEVICE_TOO_SMALL, DEVICE_NO_SPACE, DEVICE_NOT_FOUND, DEVICE_NOT_FILE, DEVICE_NOT_FOLDER,
 *   SIGMASTAR_DECLARED_SIZE, SIGMASTAR_WRONG_BASE, SIGMASTAR_TEMPORARY_*, BSDIFF_*
 */
export async function preflight(ctx: Context, targets: readonly Target[], acceptVolatile: boolean): Promise<Preflight> {
  const look: Looking = { ctx, future: new Map(), needs: [], rewritten: new Set() };
  if (targets.some((t) => t.work.endsWith("difference"))) await checkScratch(ctx, acceptVolatile);
  warnOfUnknownBases(ctx, targets);
  for (const target of targets) {
    if (target.work === "raw" || target.work === "volume") await checkRaw(look, target);
    else if (target.work === "raw difference") await checkRawDifference(look, target);
    else if (target.work.startsWith("file")) await checkFile(look, target);
  }
  return { roomForBatches: await checkRoom(look) };
}
