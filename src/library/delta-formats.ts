/** The patch formats of `otaforge diff`, `otaforge patch` and their library forms: one row each. What a row needs is loaded when it is used. */
import { availableParallelism } from "node:os";
import { OtaError } from "../core/errors.ts";
import { isBsdiff40 } from "../delta/bsdiff40/header.ts";
import type { Effort } from "../delta/bsdiff40/plan.ts";
import type { DeltaEngine } from "../delta/engine.node.ts";
import type { ByteStream, Cancel, ProgressEvent, RandomReader } from "../core/ports.ts";

export interface PatchSettings {
  /** `first`: everything that can be checked is, before the first byte; `along`: quicker, for callers who can throw away what they got. */
  readonly check?: "first" | "along";
  /** Names of the re-packers that may be used; default: making, those inside the toolkit; applying, all. */
  readonly repack?: readonly string[];
  readonly bonus?: Uint8Array;
  readonly signal: Cancel;
  readonly progress: (event: ProgressEvent) => void;
}

export interface DiffSettings extends PatchSettings {
  readonly effort: Effort;
  readonly zip: boolean;
}

/** A patch in parts, and what a format has to say about it. */
export interface MadePatch {
  readonly parts: readonly Uint8Array[];
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Settings that only some formats have. */
export type OwnSetting = "zip" | "bonus" | "repack";

export interface DeltaFormat {
  readonly name: string;
  readonly settings: readonly OwnSetting[];
  /** Whether a patch that begins so (16 bytes) is of this format. */
  detect(head: Uint8Array): boolean;
  make(engine: DeltaEngine, old: RandomReader, fresh: RandomReader, settings: DiffSettings): Promise<MadePatch>;
  /** New. Chunks are valid until the next. Default of `check`: `along`. */
  apply(old: RandomReader, patch: RandomReader, settings: PatchSettings): ByteStream;
}

/** Names of `--repack`; `none` is no re-packer. Unknown ones are refused where they are used. */
export function repackNames(text: string): string[] {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "none");
}

function startsWith(text: string): (head: Uint8Array) => boolean {
  return (head) => [...text].every((c, i) => head[i] === c.charCodeAt(0));
}

/** Milliseconds after which others get a turn. */
const TURN_MS = 20;

/**
 * Turns of the event loop for work that never waits for anything: reading bytes in memory gives none, and without one no signal is
 * aborted, no timer fires and no interrupt is noticed until all is done.
 */
export class Turns {
  #last = performance.now();

  /** Lets everything else run that waits, unless it just did. */
  async take(): Promise<void> {
    if (performance.now() - this.#last < TURN_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#last = performance.now();
  }

  /** A reader that takes turns. */
  reader(reader: RandomReader): RandomReader {
    return {
      size: reader.size,
      read: async (offset, length) => {
        await this.take();
        return reader.read(offset, length);
      },
      ...(reader.readInto === undefined
        ? {}
        : {
            readInto: async (offset: number, out: Uint8Array) => {
              await this.take();
              await reader.readInto?.(offset, out);
            },
          }),
    };
  }
}

async function patchCore() {
  const { createAnyCore } = await import("../delta/any-core.node.ts");
  const { PATCH_MEMORY_SIZE } = await import("../delta/bsdiff40/streams.ts");
  return createAnyCore(PATCH_MEMORY_SIZE);
}

/** Threads that decode `otaforge` patches: each holds a block and what it reads of old. */
const APPLY_JOBS = Math.min(4, availableParallelism());

/** Smaller patches are applied before threads have begun. */
const LEAST_THREADED_PATCH = 4096;

async function forgeThreads() {
  // Worker files exist in the compiled form only.
  if (APPLY_JOBS < 2 || !import.meta.url.endsWith(".js")) return undefined;
  const { BlockThreads } = await import("../delta/block-threads.node.ts");
  return new BlockThreads(APPLY_JOBS);
}

/** The format of a patch that begins with these bytes (16 of them are enough). */
export function formatOf(head: Uint8Array): DeltaFormat | undefined {
  return DELTA_FORMATS.find((format) => format.detect(head));
}

/** @throws OtaError USAGE for a setting that a format does not have: it would be without effect */
export function refuseForeign(format: DeltaFormat, given: Readonly<Partial<Record<OwnSetting, unknown>>>): void {
  for (const row of DELTA_FORMATS) {
    const foreign = row.settings.find((name) => given[name] !== undefined && given[name] !== false);
    if (foreign === undefined || row === format) continue;
    throw new OtaError("USAGE", {
      what: `the setting ${foreign} belongs to the format ${row.name}`,
      found: format.name,
      hint: "Leave it out, or take that format.",
    });
  }
}

export const DELTA_FORMATS: readonly DeltaFormat[] = [
  {
    name: "bsdiff40",
    settings: [],
    detect: isBsdiff40,
    make: async (engine, old, fresh, { effort, signal, progress }) => ({
      parts: [await engine.bsdiff40(old, fresh, { effort, signal, progress })],
    }),
    async *apply(old, patch, { signal, progress, check = "along" }) {
      const { applyBsdiff40 } = await import("../delta/bsdiff40/apply.ts");
      const core = await patchCore();
      yield* applyBsdiff40(old, patch, { check, borrow: true, core, signal, progress });
    },
  },
  {
    name: "imgdiff2",
    settings: ["zip", "bonus"],
    detect: startsWith("IMGDIFF2"),
    make: async (engine, old, fresh, settings) => ({ parts: [await engine.imgdiff2(old, fresh, settings)] }),
    async *apply(old, patch, { signal, progress, bonus }) {
      const { applyImgdiff2 } = await import("../delta/imgdiff/apply.ts");
      const core = await patchCore();
      yield* applyImgdiff2(old, patch, { core, signal, progress, ...(bonus === undefined ? {} : { bonus }) });
    },
  },
  {
    name: "otaforge",
    settings: ["repack"],
    detect: startsWith("OTADELTA"),
    async make(engine, old, fresh, { effort, signal, progress, repack }) {
      const { makeOtaforgeDelta } = await import("../delta/forge/maker.ts");
      const { repackerNames } = await import("../delta/forge/packed-with.ts");
      const { nodeDigests } = await import("../device/digests.ts");
      const chosen = repack === undefined ? {} : (await import("../delta/repackers.node.ts")).repackersNamed(repack);
      const delta = await makeOtaforgeDelta(engine, old, fresh, {
        digests: nodeDigests,
        effort,
        signal,
        progress,
        ...chosen,
      });
      const { parts, opened, blocks, memoryBytes } = delta;
      return { parts, details: { repackers: repackerNames(delta.needs), opened, blocks, memoryBytes } };
    },
    async *apply(old, patch, { signal, progress, repack, check = "along" }) {
      const { applyForge } = await import("../delta/forge/apply.ts");
      const { RepackerSet } = await import("../delta/forge/repack.ts");
      const { allRepackers, repackersNamed } = await import("../delta/repackers.node.ts");
      const { nodeDigests } = await import("../device/digests.ts");
      const repackers = repack === undefined ? allRepackers() : repackersNamed(repack).repackers;
      const options = { digests: nodeDigests, check, repackers, signal, progress };
      const threads = patch.size >= LEAST_THREADED_PATCH ? await forgeThreads() : undefined;
      try {
        const more = threads && { decoder: threads.decoder(new RepackerSet(repackers)), ahead: APPLY_JOBS };
        yield* applyForge(old, patch, { ...options, ...more });
      } finally {
        await threads?.end();
      }
    },
  },
];
