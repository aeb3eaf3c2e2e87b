/**
 * Full or delta: which of an item's forms a package carries. A patch is shipped only when applying it here gave new, and only
 * when it is clearly smaller than the full item.
 */
import { equalBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Cancel, Digests, RandomReader } from "../core/ports.ts";
import { checkCancel, memoryReader, STREAM_CHUNK } from "../core/streams.ts";
import { applyBsdiff40 } from "./bsdiff40/apply.ts";
import { applyForge } from "./forge/apply.ts";
import type { Repacker } from "./forge/repack.ts";
import { applyImgdiff2 } from "./imgdiff/apply.ts";

export type DeltaFormat = "bsdiff40" | "imgdiff2" | "otaforge";

/** A patch larger than this part of the full item isn't worth its risks: never shipped. */
export const LARGEST_SHARE = 0.95;

/** A way to make a patch; several may be tried. */
export interface PatchCandidate {
  readonly format: DeltaFormat;
  make(): Promise<Uint8Array>;
}

export interface ChoiceOptions {
  /** Needed for `otaforge` patches. */
  readonly digests?: Digests;
  /** Re-packers of the device, for `otaforge` patches; default: those inside the toolkit. */
  readonly repackers?: readonly Repacker[];
  /** Data the device has, for `imgdiff2` patches. */
  readonly bonus?: Uint8Array;
  readonly signal?: Cancel;
}

/** What was tried and why it was not taken. */
export interface Attempt {
  readonly format: DeltaFormat;
  /** Size of the patch; absent when none could be made. */
  readonly size?: number;
  readonly refused?: "not possible" | "too large" | "does not give new" | "another is smaller";
}

export type Choice =
  | { readonly kind: "full"; readonly attempts: readonly Attempt[] }
  | {
      readonly kind: "delta";
      readonly format: DeltaFormat;
      readonly patch: Uint8Array;
      /** Size of the patch by that of the full item. */
      readonly ratio: number;
      readonly attempts: readonly Attempt[];
    };

/** New, as the device would make it. */
function applied(format: DeltaFormat, old: RandomReader, patch: Uint8Array, options: ChoiceOptions): ByteStream {
  const { digests, repackers, bonus, signal } = options;
  const cancel = signal === undefined ? {} : { signal };
  const reader = memoryReader(patch);
  if (format === "bsdiff40") return applyBsdiff40(old, reader, cancel);
  if (format === "imgdiff2")
    return applyImgdiff2(old, reader, { ...cancel, ...(bonus === undefined ? {} : { bonus }) });
  if (digests === undefined) throw new OtaError("UNSUPPORTED", "otaforge patches need digests to be proven");
  return applyForge(old, reader, { digests, ...cancel, ...(repackers === undefined ? {} : { repackers }) });
}

/** Whether a patch turns old into new, by applying it. Errors of the patch itself mean no. */
export async function patchProven(
  format: DeltaFormat,
  patch: Uint8Array,
  [old, fresh]: readonly [old: RandomReader, fresh: RandomReader],
  options: ChoiceOptions,
): Promise<boolean> {
  let at = 0;
  try {
    for await (const part of applied(format, old, patch, options)) {
      if (at + part.length > fresh.size) return false;
      for (let done = 0; done < part.length; done += STREAM_CHUNK) {
        const n = Math.min(STREAM_CHUNK, part.length - done);
        if (!equalBytes(part.subarray(done, done + n), await fresh.read(at + done, n))) return false;
      }
      at += part.length;
    }
  } catch (e) {
    if (e instanceof OtaError && (e.kind === "format" || e.kind === "mismatch" || e.kind === "usage")) return false;
    throw e;
  }
  return at === fresh.size;
}

/**
 * The smallest proven patch, or full.
 * @param fullSize what the full item takes in the package (compressed, when it is)
 * @throws OtaError CANCELLED, and errors of reading
 */
export async function chooseFullOrDelta(
  pair: readonly [old: RandomReader, fresh: RandomReader],
  fullSize: number,
  candidates: readonly PatchCandidate[],
  options: ChoiceOptions,
): Promise<Choice> {
  const attempts: Attempt[] = [];
  const made: { format: DeltaFormat; patch: Uint8Array }[] = [];
  for (const candidate of candidates) {
    const { format } = candidate;
    checkCancel(options.signal);
    try {
      const patch = await candidate.make();
      if (patch.length > LARGEST_SHARE * fullSize) attempts.push({ format, size: patch.length, refused: "too large" });
      else made.push({ format, patch });
    } catch (e) {
      // Formats that do not fit a pair (no zip, another structure, too large) leave the choice to the others.
      if (!(e instanceof OtaError) || e.kind === "interrupted" || e.kind === "device") throw e;
      attempts.push({ format, refused: "not possible" });
    }
  }
  made.sort((a, b) => a.patch.length - b.patch.length);
  for (const [i, { format, patch }] of made.entries()) {
    if (!(await patchProven(format, patch, pair, options))) {
      attempts.push({ format, size: patch.length, refused: "does not give new" });
      continue;
    }
    attempts.push({ format, size: patch.length });
    for (const other of made.slice(i + 1)) {
      attempts.push({ format: other.format, size: other.patch.length, refused: "another is smaller" });
    }
    return { kind: "delta", format, patch, ratio: patch.length / Math.max(1, fullSize), attempts };
  }
  return { kind: "full", attempts };
}
