/**
 * Loading what a patch works on: a file, or the part of a partition that one of its sizes and digests defines
 * (formats/android.md section 6.1). Contents are read where they lie, not copied into memory.
 */
import { toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Device, RandomReader } from "../../core/ports.ts";
import { sliceReader, streamRange } from "../../core/streams.ts";
import { openMtd } from "../updater/mtd.ts";
import { devicePath, digestOf, failureText, findMtd, openTarget } from "../updater/device-files.ts";
import { parseInteger } from "../updater/numbers.ts";

/** Where the source of a patch is kept while its place is rewritten. */
export const SAVED_FILE = "/cache/saved.file";

/** What a loaded file needs kept: owner and mode of a file, nothing of a partition. */
export interface LoadedOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** An opened source or target with its digest. */
export interface LoadedContents {
  readonly reader: RandomReader;
  /** SHA-1, lower-case hex. */
  readonly sha1: string;
  readonly owner: LoadedOwner;
  close(): Promise<void>;
}

export interface LoadContext {
  readonly device: Device;
  readonly log: (text: string) => void;
}

/** Whether a name is one of a partition. */
export function isPartitionName(name: string): boolean {
  return name.startsWith("MTD:") || name.startsWith("EMMC:");
}

/** A `TYPE:NAME:size:sha1…` name taken apart. */
export interface PartitionName {
  readonly type: "MTD" | "EMMC";
  readonly partition: string;
  readonly pairs: readonly { readonly size: string; readonly sha1: string }[];
  readonly wellFormed: boolean;
}

export function parsePartitionName(name: string): PartitionName {
  // As strtok does: empty parts vanish.
  const parts = name.split(":").filter((p) => p !== "");
  const colons = name.split(":").length - 1;
  const pairs: { size: string; sha1: string }[] = [];
  for (let i = 2; i + 1 < parts.length; i += 2) pairs.push({ size: parts[i] as string, sha1: parts[i + 1] as string });
  return {
    type: parts[0] === "MTD" ? "MTD" : "EMMC",
    partition: parts[1] ?? "",
    pairs,
    wellFormed: colons >= 3 && colons % 2 === 1,
  };
}

/** 40 hex digits in lower case, undefined when it is none. */
export function parseSha1(text: string): string | undefined {
  return /^[0-9a-fA-F]{40}$/.test(text) ? text.toLowerCase() : undefined;
}

/** Opens a partition for reading. @throws OtaError DEVICE_* */
async function openPartition(context: LoadContext, name: string): Promise<Awaited<ReturnType<typeof openTarget>>> {
  const { type, partition } = parsePartitionName(name);
  if (type === "EMMC") return openTarget(context.device, devicePath(partition), "read");
  const node = await findMtd(context.device, partition);
  if (node === undefined) {
    throw new OtaError("DEVICE_NOT_FOUND", { what: "no flash partition of this name", where: partition });
  }
  return openMtd(context.device, node);
}

async function loadPartition(context: LoadContext, name: string): Promise<LoadedContents | undefined> {
  const parsed = parsePartitionName(name);
  const { partition, type } = parsed;
  if (!parsed.wellFormed) context.log(`LoadPartitionContents called with bad filename (${name})\n`);
  const pairs: { size: number; sha1: string; text: string }[] = [];
  for (const { size, sha1 } of parsed.wellFormed ? parsed.pairs : []) {
    const bytes = parseInteger(size, 10).value;
    if (bytes <= 0) {
      context.log(`LoadPartitionContents called with bad size (${name})\n`);
      return undefined;
    }
    const digest = parseSha1(sha1);
    if (digest === undefined) {
      context.log(`failed to parse sha1 ${sha1} in ${name}\n`);
      return undefined;
    }
    pairs.push({ size: bytes, sha1: digest, text: sha1 });
  }
  pairs.sort((a, b) => a.size - b.size);
  let target: Awaited<ReturnType<typeof openTarget>>;
  try {
    target = await openPartition(context, name);
  } catch (e) {
    const text = failureText(e);
    if (type === "MTD") context.log(`mtd partition "${partition}" not found (loading ${name})\n`);
    else context.log(`failed to open emmc partition "${partition}": ${text}\n`);
    return undefined;
  }
  try {
    for (const { size, sha1, text } of pairs) {
      if (size > target.size) {
        const had = pairs.filter((p) => p.size <= target.size).reduce((n, p) => Math.max(n, p.size), 0);
        context.log(`short read (${target.size - had} bytes of ${size - had}) for partition "${partition}"\n`);
        await target.close();
        return undefined;
      }
      if ((await digestOf(context.device, "sha1", streamRange(target, 0, size))) !== sha1) continue;
      context.log(`partition read matched size ${size} sha ${text}\n`);
      return {
        reader: sliceReader(target, 0, size),
        sha1,
        owner: { mode: 0o644, uid: 0, gid: 0 },
        close: () => target.close(),
      };
    }
  } catch (e) {
    context.log(`failed to read partition "${partition}": ${failureText(e)}\n`);
    await target.close();
    return undefined;
  }
  await target.close();
  context.log(`contents of partition "${partition}" didn't match ${name}\n`);
  return undefined;
}

/**
 * Opens a file or partition and computes its digest; undefined, with the reason in the log, when it cannot be loaded. The
 * caller closes it.
 */
export async function loadContents(context: LoadContext, name: string): Promise<LoadedContents | undefined> {
  if (isPartitionName(name)) return loadPartition(context, name);
  const path = devicePath(name);
  try {
    const info = await context.device.files.stat(path);
    if (info === undefined) {
      context.log(`failed to stat "${name}": No such file or directory\n`);
      return undefined;
    }
    const target = await openTarget(context.device, path, "read");
    try {
      const sha1 = await digestOf(context.device, "sha1", streamRange(target));
      return { reader: target, sha1, owner: info, close: () => target.close() };
    } catch (e) {
      await target.close();
      throw e;
    }
  } catch (e) {
    context.log(`failed to open "${name}": ${failureText(e)}\n`);
    return undefined;
  }
}

/** SHA-1 of bytes, hex. */
export function sha1Of(device: Device, bytes: Uint8Array): string {
  const digest = device.digests.create("sha1");
  digest.update(bytes);
  return toHex(digest.digest());
}
