/**
 * Applies BSDIFF40 patches: random reads of old, sequential new, memory independent of all sizes (three bzip2 blocks, what
 * decoding one of them takes, and a few pages of old).
 */
import { OtaError } from "../../core/errors.ts";
import { checkCancel } from "../../core/streams.ts";
import type { ByteStream, Cancel, ProgressEvent, RandomReader } from "../../core/ports.ts";
import type { Bzip2Reader } from "../bzip2/reader.ts";
import type { Core } from "../core-calls.ts";
import {
  checkedHeader,
  ControlChecker,
  openStreams,
  PATCH_MEMORY_SIZE,
  STEP_SIZE,
  type PatchStreams,
  PAGES_AT,
} from "./streams.ts";
import { PagedReader } from "./paged-reader.ts";

export interface ApplyOptions {
  /**
   * `first` (default): the whole patch is decompressed and checked before the first byte is given. `along`: checked while
   * it is applied, in half the time; only for callers who can throw away what they got.
   */
  readonly check?: "first" | "along";
  /** Bytes behind the three streams are ignored: IMGDIFF2 keeps further patches there. Default: refused. */
  readonly ignoreTrailing?: boolean;
  /** Each chunk is a view that is valid until the next one is asked for: spares a copy of the new file. */
  readonly borrow?: boolean;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
  /** A core with a memory of {@link PATCH_MEMORY_SIZE} bytes; default: the TypeScript core. */
  readonly core?: Core;
}

/**
 * The new file that `patch` makes of `old`, in order. Bytes that a patch takes from outside old count as 0.
 * @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER, BSDIFF_CONTROL, BSDIFF_STREAM, CODEC_DAMAGED, CANCELLED; with `check`
 * `first` all of them but CANCELLED come before the first byte
 */
export async function* applyBsdiff40(old: RandomReader, patch: RandomReader, options: ApplyOptions = {}): ByteStream {
  const header = await checkedHeader(patch);
  const core = options.core ?? (await plainCore());
  const lax = options.ignoreTrailing === true;
  if (options.check !== "along") {
    await checkPatch(openStreams(core, patch, header, lax), lax, options);
  }
  yield* produce(new PagedReader(old, core, PAGES_AT), openStreams(core, patch, header, lax), lax, options);
}

/** Loaded when there is no other: the programs for boards bring one, and memory counts there. */
async function plainCore(): Promise<Core> {
  const { createCore } = await import("../core.ts");
  return createCore(PATCH_MEMORY_SIZE);
}

/**
 * Decompresses and checks a whole patch without its old file.
 * @throws as {@link applyBsdiff40}
 */
export async function checkBsdiff40(patch: RandomReader, options: ApplyOptions = {}): Promise<void> {
  const header = await checkedHeader(patch);
  const core = options.core ?? (await plainCore());
  const lax = options.ignoreTrailing === true;
  await checkPatch(openStreams(core, patch, header, lax), lax, options);
}

async function skip(streams: PatchStreams, reader: Bzip2Reader, length: number, name: string): Promise<void> {
  for (let left = length; left > 0;) {
    const n = reader.take(streams.stepAddress, Math.min(left, STEP_SIZE));
    left -= n;
    if (n === 0 && !(await reader.ready())) throw ended(name, left);
  }
}

function ended(name: string, missing: number): OtaError {
  return new OtaError("BSDIFF_STREAM", { what: `the ${name} stream ends early`, found: `${missing} bytes missing` });
}

async function checkPatch(streams: PatchStreams, lax: boolean, options: ApplyOptions): Promise<void> {
  const { newSize } = streams.header;
  const position = new ControlChecker(newSize);
  let reported = 0;
  while (position.newPosition < newSize) {
    const triple = streams.tripleAtHand() ?? (await streams.triple());
    if (triple === undefined) throw ended("control", newSize - position.newPosition);
    position.check(triple);
    if (triple.add > 0) await skip(streams, streams.diff, triple.add, "difference");
    if (triple.copy > 0) await skip(streams, streams.extra, triple.copy, "extra");
    if (position.newPosition - reported >= STEP_SIZE || position.newPosition === newSize) {
      checkCancel(options.signal);
      reported = position.newPosition;
      options.progress?.({ phase: "check patch", doneBytes: reported, totalBytes: newSize });
    }
  }
  await checkEnds(streams, lax);
}

/** All streams end where the control triples do, each with the right checksum. */
async function checkEnds(streams: PatchStreams, lax: boolean): Promise<void> {
  if (lax) return;
  const tooLong = (name: string) =>
    new OtaError("BSDIFF_STREAM", `the ${name} stream goes on behind the end of the new file`);
  if ((await streams.triple()) !== undefined) throw tooLong("control");
  for (const [name, reader] of [["difference", streams.diff] as const, ["extra", streams.extra] as const]) {
    while (await reader.ready()) if (reader.take(streams.stepAddress, 1) > 0) throw tooLong(name);
  }
}

async function* produce(old: PagedReader, streams: PatchStreams, lax: boolean, options: ApplyOptions): ByteStream {
  const { newSize } = streams.header;
  const { step, stepAddress } = streams;
  const position = new ControlChecker(newSize);
  let filled = 0;
  let given = 0;
  const flush = (): Uint8Array => {
    checkCancel(options.signal);
    const out = options.borrow === true ? step.subarray(0, filled) : step.slice(0, filled);
    given += filled;
    filled = 0;
    options.progress?.({ phase: "patch", doneBytes: given, totalBytes: newSize });
    return out;
  };
  while (position.newPosition < newSize) {
    const triple = streams.tripleAtHand() ?? (await streams.triple());
    if (triple === undefined) throw ended("control", newSize - position.newPosition);
    let from = position.oldPosition;
    position.check(triple);
    for (let left = triple.add; left > 0;) {
      const n = streams.diff.take(stepAddress + filled, Math.min(left, STEP_SIZE - filled));
      if (n === 0) {
        if (!(await streams.diff.ready())) throw ended("difference", left);
        continue;
      }
      for (let done = 0; done < n;) {
        const added = old.addTo(stepAddress + filled + done, from + done, n - done);
        done += added;
        if (added === 0) await old.load(from + done);
      }
      from += n;
      left -= n;
      filled += n;
      if (filled === STEP_SIZE) yield flush();
    }
    for (let left = triple.copy; left > 0;) {
      const n = streams.extra.take(stepAddress + filled, Math.min(left, STEP_SIZE - filled));
      if (n === 0) {
        if (!(await streams.extra.ready())) throw ended("extra", left);
        continue;
      }
      left -= n;
      filled += n;
      if (filled === STEP_SIZE) yield flush();
    }
  }
  await checkEnds(streams, lax);
  if (filled > 0) yield flush();
}
