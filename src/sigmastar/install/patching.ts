/** Differences: their patches as something seekable, their check before anything is written, their application. */
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, OpenFile, RandomReader } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { concatBytes } from "../../core/bytes.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header } from "../../delta/bsdiff40/header.ts";
import { PATCH_MEMORY_SIZE } from "../../delta/bsdiff40/streams.ts";
import { createCore } from "../../delta/core.ts";
import type { Core } from "../../delta/core.ts";
import { applyBsdiff40, checkBsdiff40 } from "../../delta/index.ts";
import { sameContent } from "./context.ts";
import type { Context } from "./context.ts";
import type { ContentDigest } from "./device-state.ts";
import type { VerifiedRecord } from "./package-source.ts";
import { joinPath } from "./paths.ts";
import { targetName } from "./plan.ts";
import type { Target } from "./plan.ts";

/** Patches of a compressed package up to this size stay in memory, bytes; larger ones go to the folder for differences. */
const MEMORY_PATCH = 4 * 1024 * 1024;

/** Records whose patch was found whole. Their payload is bound to its digests, so once is enough. */
const checkedRecords = new WeakSet<VerifiedRecord>();

/** Working memory of the patcher that nobody uses at the moment: several megabytes that need not be made for every file. */
const idleCores: Core[] = [];

async function* withCore(produce: (core: Core) => ByteStream): ByteStream {
  const core = idleCores.pop() ?? createCore(PATCH_MEMORY_SIZE);
  try {
    yield* produce(core);
  } finally {
    if (idleCores.length < 2) idleCores.push(core);
  }
}

export function differenceName(target: Target): string {
  return targetName(target.record, target.path);
}

/** The patch of a record. A compressed package cannot be read at any offset, so its patch is put aside first. */
export async function withPatch<T>(ctx: Context, target: Target, use: (patch: RandomReader) => Promise<T>): Promise<T> {
  const { record } = target;
  const direct = ctx.payloads.reader(record);
  if (direct !== undefined) return use(direct);
  if (record.head.fileSize <= MEMORY_PATCH || ctx.scratch === undefined) {
    const parts: Uint8Array[] = [];
    for await (const piece of ctx.payloads.stream(record)) parts.push(piece.slice());
    return use(memoryReader(concatBytes(...parts)));
  }
  const { files, folder } = ctx.scratch;
  const path = joinPath(folder, `otaforge-${ctx.pkg.id.slice(0, 12)}-${target.position}.patch`);
  if ((await files.stat(path)) !== undefined) await files.remove(path);
  const file: OpenFile = await files.open(path, "create-new", 0o600);
  try {
    let size = 0;
    for await (const piece of ctx.payloads.stream(record)) {
      await file.write(size, piece);
      size += piece.length;
    }
    return await use({ size, read: (offset, length) => file.read(offset, length) });
  } finally {
    await file.close();
    await files.remove(path);
  }
}

/** Size of a difference's result, from the patch's own header. @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER */
export async function resultSize(patch: RandomReader, where: string): Promise<number> {
  try {
    return readBsdiff40Header(await patch.read(0, Math.min(patch.size, BSDIFF40_HEADER_SIZE))).newSize;
  } catch (e) {
    throw located(e, where);
  }
}

/** Checks a patch completely without an output. @throws OtaError BSDIFF_*, CODEC_DAMAGED */
export async function checkPatch(target: Target, patch: RandomReader): Promise<void> {
  if (checkedRecords.has(target.record)) return;
  try {
    await checkBsdiff40(patch);
  } catch (e) {
    throw located(e, differenceName(target));
  }
  checkedRecords.add(target.record);
}

/** What came out of a record's patch for one base, in the chunks in which it came. */
interface KnownResult {
  readonly base: ContentDigest;
  readonly chunks: readonly Uint8Array[];
}

/** Results kept a record, and the largest that is kept, bytes. */
const MOST_KEPT = 4;
const LARGEST_KEPT = 4 * 1024 * 1024;

/**
 * Results of packages that lie in memory. A rehearsal patches the same base with the same patch thousands of times, and
 * unpacking it anew each time would be half of its work. The chunks stay as they were, so that a run writes the same either way.
 */
const knownResults = new WeakMap<VerifiedRecord, KnownResult[]>();

/** The new content of a difference whose patch was checked. `digest` is that of all of `base`. */
export function patched(
  ctx: Context,
  target: Target,
  from: { readonly base: RandomReader; readonly digest: ContentDigest; readonly patch: RandomReader },
): ByteStream {
  const apply = (core: Core): ByteStream => applyBsdiff40(from.base, from.patch, { check: "along", core });
  if (ctx.pkg.source.unchangeable !== true) return withCore(apply);
  const kept = knownResults.get(target.record) ?? [];
  knownResults.set(target.record, kept);
  const known = kept.find((k) => sameContent(k.base, from.digest));
  return known === undefined ? keeping(withCore(apply), from.digest, kept) : again(known.chunks);
}

async function* again(chunks: readonly Uint8Array[]): ByteStream {
  yield* chunks;
}

async function* keeping(stream: ByteStream, base: ContentDigest, kept: KnownResult[]): ByteStream {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size <= LARGEST_KEPT) chunks.push(chunk.slice());
    yield chunk;
  }
  if (size > LARGEST_KEPT) return;
  if (kept.length === MOST_KEPT) kept.shift();
  kept.push({ base, chunks });
}

/** The patch reader's error with the record it belongs to. */
function located(e: unknown, record: string): unknown {
  if (!(e instanceof OtaError)) return e;
  const { where } = e.details;
  return new OtaError(e.code, { ...e.details, where: where === undefined ? record : `${record}, patch ${where}` }, e);
}
