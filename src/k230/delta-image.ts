/**
 * Delta images: kdimg files whose rtt and rtapp are patches in the `otaforge` format against the running slot's own content.
 *
 * Entries of such parts have a magic of their own, so every reader of the vendor's (driver, flashers) refuses the image before
 * it writes a byte. The entry carries size and digest of base and result. A part whose patch is not worth it is carried in full.
 */
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Cancel, RandomReader } from "../core/ports.ts";
import { memoryReader, sliceReader } from "../core/streams.ts";
import { applyForge } from "../delta/index.ts";
import { readAhead } from "./card.ts";
import type { K230Card } from "./card.ts";
import type { InstallPart } from "./installable.ts";
import type { Slot } from "./ota-meta.ts";
import { findEntry } from "./toc.ts";
import type { TocEntry } from "./toc.ts";

/** Memory a patch may ask for while it is expanded, bytes. */
export const MAX_PATCH_MEMORY = 256 * 1024 * 1024;

const PIECE = 1024 * 1024;

/** Where the base of each delta part lies on the medium, by the part's name. */
export type DeltaBases = ReadonlyMap<string, { readonly offset: number; readonly size: number }>;

type Medium = Pick<K230Card, "target" | "digests" | "repackers">;

async function sha256Of({ target, digests }: Medium, offset: number, size: number): Promise<string> {
  const digest = digests.create("sha256");
  for await (const bytes of readAhead(target, offset, size, PIECE)) digest.update(bytes);
  return toHex(digest.digest());
}

/**
 * The bases of all delta parts, compared with their digests.
 * @throws OtaError K230_WRONG_BASE when the running slot holds something else, K230_UP_TO_DATE when that is the result
 */
export async function findBases(
  medium: Medium,
  toc: readonly TocEntry[],
  running: Slot,
  parts: readonly InstallPart[],
): Promise<DeltaBases> {
  const bases = new Map<string, { offset: number; size: number }>();
  for (const { name, delta } of parts) {
    if (delta === undefined) continue;
    const entry = findEntry(toc, `${name}_${running}`);
    if (entry === undefined || delta.baseSize > entry.size || entry.offset + entry.size > medium.target.size) {
      throw wrongBase(`${name}_${running}`, toHex(delta.baseSha256), entry === undefined ? "absent" : "too small");
    }
    const found = await sha256Of(medium, entry.offset, delta.baseSize);
    if (found !== toHex(delta.baseSha256)) {
      const installed = await holdsResults(medium, toc, running, parts);
      throw wrongBase(entry.name, toHex(delta.baseSha256), found, installed);
    }
    bases.set(name, { offset: entry.offset, size: delta.baseSize });
  }
  return bases;
}

/** Whether the running slot holds what the image makes, in all its parts. */
async function holdsResults(
  medium: Medium,
  toc: readonly TocEntry[],
  running: Slot,
  parts: readonly InstallPart[],
): Promise<boolean> {
  for (const { name, result } of parts) {
    const entry = findEntry(toc, `${name}_${running}`);
    if (entry === undefined || result.size > entry.size || entry.offset + result.size > medium.target.size)
      return false;
    if ((await sha256Of(medium, entry.offset, result.size)) !== toHex(result.sha256)) return false;
  }
  return true;
}

function wrongBase(where: string, expected: string, found: string, installed = false): OtaError {
  return new OtaError(installed ? "K230_UP_TO_DATE" : "K230_WRONG_BASE", {
    what: installed
      ? "the running slot already holds what this delta image makes"
      : "the running slot is not the base of this delta image",
    where,
    expected,
    found,
    hint: installed ? "Nothing is left to do." : "Install the full image; --full IMAGE does so by itself.",
  });
}

/**
 * What a patch makes of the running slot's content, block by block, each checked against its digest.
 * @throws OtaError FORGE_*, KDIMG_BAD_DELTA when the patch makes another size, CANCELLED
 */
export async function* expandPatch(
  { target, digests, repackers }: Medium,
  bases: DeltaBases,
  { name, result }: InstallPart,
  patch: Uint8Array,
  cancel?: Cancel,
): ByteStream {
  const base = bases.get(name);
  if (base === undefined) throw new OtaError("KDIMG_BAD_DELTA", { what: "part has no base", where: name });
  yield* applyForge(sliceReader(target, base.offset, base.size), memoryReader(patch), {
    digests,
    newSize: result.size,
    memoryLimit: MAX_PATCH_MEMORY,
    // The target is the slot that does not run, and its result is hashed before anything is committed.
    check: "along",
    ...(repackers === undefined ? {} : { repackers: await repackers() }),
    ...(cancel === undefined ? {} : { signal: cancel }),
  });
}

/**
 * Expands every patch of an image that can be read anywhere and compares what it makes with its digest; writes nothing.
 * @throws OtaError FORGE_*, KDIMG_BAD_DELTA, CANCELLED
 */
export async function checkPatches(
  medium: Medium,
  image: RandomReader,
  { parts, bases, done }: { parts: readonly InstallPart[]; bases: DeltaBases; done: readonly string[] },
  cancel?: Cancel,
): Promise<void> {
  for (const part of parts) {
    if (part.delta === undefined || done.includes(part.name)) continue;
    const patch = await image.read(part.contentOffset, part.contentSize);
    const digest = medium.digests.create("sha256");
    for await (const bytes of expandPatch(medium, bases, part, patch, cancel)) digest.update(bytes);
    const found = toHex(digest.digest());
    if (found === toHex(part.result.sha256)) continue;
    throw new OtaError("KDIMG_BAD_DELTA", {
      what: "the patch makes something else than the image declares",
      where: part.name,
      expected: toHex(part.result.sha256),
      found,
    });
  }
}
