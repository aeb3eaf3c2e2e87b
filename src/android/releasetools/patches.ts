/** Patches for files that changed: which program, how many at once, and when a patch is not worth it (2.5). */
import { isOtaError } from "../../core/errors.ts";
import type { Cancel, ProgressSink } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { baseName, type FilePair } from "./tree-files.ts";

/** Makes patches; the caller brings an engine with as many workers as it likes. */
export interface PatchMaker {
  /** How many calls may run at once. */
  readonly jobs: number;
  bsdiff(source: Uint8Array, target: Uint8Array): Promise<Uint8Array>;
  /** Undefined when the two are not built alike and there is no such patch. */
  imgdiff(
    source: Uint8Array,
    target: Uint8Array,
    options: { readonly zip: boolean; readonly bonus?: Uint8Array },
  ): Promise<Uint8Array | undefined>;
}

export type PatchKind = "bsdiff" | "imgdiff" | "imgdiff-zip";

/** The program by the target's extension. */
export function patchKind(name: string): PatchKind {
  const base = baseName(name);
  const dot = base.lastIndexOf(".");
  switch (dot <= 0 ? "" : base.slice(dot)) {
    case ".gz":
    case ".img":
      return "imgdiff";
    case ".zip":
    case ".jar":
    case ".apk":
      return "imgdiff-zip";
    default:
      return "bsdiff";
  }
}

export async function makePatch(
  maker: PatchMaker,
  kind: PatchKind,
  source: Uint8Array,
  target: Uint8Array,
): Promise<Uint8Array | undefined> {
  if (kind === "bsdiff") return maker.bsdiff(source, target);
  return maker.imgdiff(source, target, { zip: kind === "imgdiff-zip" });
}

export interface PatchOptions {
  readonly maker: PatchMaker;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel | undefined;
  /** Where imgdiff finds no common structure, try bsdiff. */
  readonly fallback: boolean;
}

/** Contents held in memory by patches that run at once, bytes; one pair may be larger on its own. */
const MEMORY_BUDGET = 64 * 2 ** 20;

/**
 * One patch for each pair, undefined where there is none; in the order of the pairs, whatever ends first.
 * Large files start first so that no worker is left alone with one at the end.
 */
export async function makePatches(
  pairs: readonly FilePair[],
  options: PatchOptions,
): Promise<(Uint8Array | undefined)[]> {
  const patches: (Uint8Array | undefined)[] = pairs.map(() => undefined);
  const weight = ({ source, target }: FilePair): number => source.size + target.size;
  const waiting = [...pairs.entries()].sort(([i, a], [k, b]) => weight(b) - weight(a) || i - k);
  const totalBytes = pairs.reduce((sum, p) => sum + p.target.size, 0);
  let doneBytes = 0;
  let held = 0;
  let running = 0;
  let failure: unknown;

  async function one(index: number, pair: FilePair): Promise<void> {
    const [source, target] = [
      await pair.source.zip.read(pair.source.entry),
      await pair.target.zip.read(pair.target.entry),
    ];
    let patch = await makePatch(options.maker, patchKind(pair.target.name), source, target);
    if (patch === undefined && options.fallback) patch = await options.maker.bsdiff(source, target);
    patches[index] = patch;
    doneBytes += target.length;
    const percent = target.length === 0 ? 100 : ((patch?.length ?? target.length) * 100) / target.length;
    options.progress.note(
      "info",
      patch === undefined
        ? `no patch: ${pair.target.name}`
        : `${String(patch.length).padStart(8)} / ${String(target.length).padStart(8)} bytes (${percent.toFixed(2).padStart(6)}%) ${pair.target.name}`,
    );
    options.progress.progress({ phase: "patch", doneBytes, totalBytes });
  }

  await new Promise<void>((resolve) => {
    const next = (): void => {
      try {
        checkCancel(options.cancel);
      } catch (e) {
        failure ??= e;
      }
      while (failure === undefined && waiting.length > 0 && running < Math.max(1, options.maker.jobs)) {
        const fits = waiting.findIndex(([, p]) => running === 0 || held + weight(p) <= MEMORY_BUDGET);
        if (fits < 0) break;
        const [index, pair] = waiting.splice(fits, 1)[0] as [number, FilePair];
        running++;
        held += weight(pair);
        one(index, pair)
          .catch((e: unknown) => (failure ??= e))
          .finally(() => {
            running--;
            held -= weight(pair);
            next();
          });
      }
      if (running === 0 && (waiting.length === 0 || failure !== undefined)) resolve();
    };
    next();
  });
  if (failure !== undefined)
    throw failure instanceof Error || isOtaError(failure) ? failure : new Error("patching failed", { cause: failure });
  return patches;
}
