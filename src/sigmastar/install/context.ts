/** What every part of an install needs: the device, the package, the settings, and where it stands. */
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Device, FileStore, ProgressSink, RandomReader, Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { toHex } from "../../core/bytes.ts";
import type { ContentDigest, InstallJournal, InstallState, StepNote } from "./device-state.ts";
import type { PayloadAccess, VerifiedPackage } from "./package-source.ts";
import type { PromisedDifference, Target } from "./plan.ts";

/** Where completed content of raw differences (and large patches) is kept meanwhile. */
export interface Scratch {
  readonly files: FileStore;
  readonly folder: string;
  /** What messages call the folder; default: its path in `files`. */
  readonly shownAs?: string;
}

export interface Context {
  readonly device: Device;
  readonly pkg: VerifiedPackage;
  readonly payloads: PayloadAccess;
  readonly sink: ProgressSink;
  readonly journal: InstallJournal;
  readonly vendor: boolean;
  readonly scratch?: Scratch;
  readonly promised: readonly PromisedDifference[];
  readonly cancel?: Cancel;
  /** This run continues an interrupted one. */
  readonly resumed: boolean;
  state: InstallState;
  /** Lines for the result. */
  readonly warnings: string[];
  /** Bytes of all payloads to write, and how many of them are written. */
  totalBytes: number;
  doneBytes: number;
}

export function warn(ctx: Context, text: string): void {
  ctx.warnings.push(text);
  ctx.sink.note("warning", text);
}

/** Saves where the install stands. `step` absent: nothing is begun. */
export async function saveState(
  ctx: Context,
  change: Partial<Omit<InstallState, "step">>,
  step?: StepNote,
): Promise<void> {
  const { step: _, ...rest } = { ...ctx.state, ...change };
  ctx.state = step === undefined ? rest : { ...rest, step };
  await ctx.journal.save(ctx.state);
}

/** Tells about work on a target; `done` and `total` are of this phase. */
export function report(ctx: Context, phase: string, target: Target, done: number, total: number): void {
  checkCancel(ctx.cancel);
  const at = { index: target.record.index + 1, count: ctx.pkg.records.length };
  ctx.sink.progress({ phase, item: target.path, ...at, doneBytes: done, totalBytes: total });
  if (phase === "update") {
    ctx.sink.progress({
      phase: "all records",
      ...at,
      doneBytes: Math.min(ctx.totalBytes, ctx.doneBytes + done),
      totalBytes: ctx.totalBytes,
    });
  }
}

/** SHA-256 of the first `size` bytes. */
export async function contentDigest(ctx: Context, reader: RandomReader, size = reader.size): Promise<ContentDigest> {
  const digest = ctx.device.digests.create("sha256");
  for (let at = 0; at < size;) {
    const n = Math.min(262_144, size - at);
    digest.update(await reader.read(at, n));
    at += n;
    checkCancel(ctx.cancel);
  }
  return { size, sha256: toHex(digest.digest()) };
}

export function sameContent(a: ContentDigest, b: ContentDigest): boolean {
  return a.size === b.size && a.sha256 === b.sha256;
}

/** Whether the first bytes of `reader` are `content`. */
export async function holds(ctx: Context, reader: RandomReader, content: ContentDigest): Promise<boolean> {
  if (reader.size < content.size) return false;
  return sameContent(await contentDigest(ctx, reader, content.size), content);
}

/** Base and result of a difference as far as they are known: promised by a manifest, or seen by an earlier run. */
export function knownDifference(ctx: Context, target: Target): Partial<{ base: ContentDigest; result: ContentDigest }> {
  const promise = ctx.promised.find(
    (p) => p.record === target.record.index && (p.destination === undefined || p.destination === target.destination),
  );
  const seen = ctx.state.differences[String(target.position)];
  const base = promise?.base ?? seen?.base;
  const result = promise?.result ?? seen?.result;
  return { ...(base === undefined ? {} : { base }), ...(result === undefined ? {} : { result }) };
}

export function wrongBase(where: string): OtaError {
  return new OtaError("SIGMASTAR_WRONG_BASE", {
    what: "the target is neither the base this difference was made for nor its result",
    where,
    hint: "Install a package that holds the whole content.",
  });
}

/** Writes a stream behind itself, checking that it has exactly `size` bytes; `onBytes` sees the bytes written so far. */
export async function copyStream(
  stream: ByteStream,
  size: number,
  write: (offset: number, bytes: Uint8Array) => Promise<void>,
  onBytes: (done: number) => void,
): Promise<void> {
  let at = 0;
  for await (const chunk of stream) {
    if (at + chunk.length > size) break;
    await write(at, chunk);
    at += chunk.length;
    onBytes(at);
  }
  if (at !== size) {
    throw new OtaError("SIGMASTAR_RESULT_WRONG", { what: "content has another size than promised", expected: size });
  }
}
