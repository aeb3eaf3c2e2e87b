/**
 * `otaforge/delta`: patches for Node programs. {@link diff} and {@link patch} take bytes, paths or readers; everything they are made of
 * is here as well, for programs that put it together otherwise.
 */
import { OtaError } from "../core/errors.ts";
import { concatBytes, hexOffset } from "../core/bytes.ts";
import type { Cancel, ProgressEvent, RandomReader } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import { isEffort, type Effort } from "../delta/bsdiff40/plan.ts";
import { createDeltaEngine, type DeltaEngine } from "../delta/engine.node.ts";
import { openFileReader } from "../device/file-reader.ts";
import { DELTA_FORMATS, formatOf, refuseForeign, Turns } from "./delta-formats.ts";

export * from "../delta/index.ts";
export { createDeltaEngine, type DeltaEngine, type DeltaEngineOptions } from "../delta/engine.node.ts";
export { nodeDigests } from "../device/digests.ts";

/** Bytes, the path of a file or raw node, or a reader of one's own. */
export type DeltaInput = Uint8Array | string | RandomReader;

interface SharedOptions {
  /** Stops the work soon after it is aborted: an `AbortSignal`, or anything with `aborted`. The promise then fails with CANCELLED. */
  readonly signal?: Cancel;
  readonly onProgress?: (event: ProgressEvent) => void;
  /** imgdiff2: data the device appends to the source of chunk 1. */
  readonly bonus?: Uint8Array;
  /** otaforge: names of the re-packers that may be used. Default: making, those inside the toolkit; applying, all. */
  readonly repack?: readonly string[];
}

export interface DiffOptions extends SharedOptions {
  /** What the device can apply. `bsdiff40` (default): stock bspatch; `imgdiff2`: Android's applypatch; `otaforge`: this toolkit. */
  readonly format?: "bsdiff40" | "imgdiff2" | "otaforge";
  /** Time against size. Default `default`. */
  readonly effort?: Effort;
  /** Worker threads, at least 1; default: one a processor, at most 8. The patch is the same for any number. */
  readonly jobs?: number;
  /** imgdiff2: both inputs are zip archives. */
  readonly zip?: boolean;
  /** An engine to use instead of one for this patch alone, whose threads take some 50 ms to start; `jobs` is then its own. */
  readonly engine?: DeltaEngine;
}

export type PatchOptions = SharedOptions;

const never: Cancel = { aborted: false };

/** The caller's reader, held to what readers promise: less than was asked for would become wrong patches. */
function ownReader(reader: RandomReader): RandomReader {
  const { size, read } = (reader as Partial<RandomReader> | null | undefined) ?? {};
  if (typeof size !== "number" || typeof read !== "function") {
    throw new OtaError("USAGE", {
      what: "an input is neither bytes nor a path nor a reader",
      expected: "a Uint8Array, a string, or an object with size and read",
      found: Object.prototype.toString.call(reader),
    });
  }
  return {
    size,
    async read(offset, length) {
      const bytes = await reader.read(offset, length);
      if (bytes.length === length) return bytes;
      throw new OtaError("READ_PAST_END", {
        what: "a reader gave another number of bytes than were asked for",
        where: `offset ${hexOffset(offset)}`,
        expected: length,
        found: bytes.length,
      });
    },
    ...(reader.readInto === undefined
      ? {}
      : { readInto: async (offset: number, out: Uint8Array) => reader.readInto?.(offset, out) }),
  };
}

/** Inputs opened as readers, and how to close the files among them. */
async function openInputs(...inputs: readonly DeltaInput[]) {
  const files: { close(): Promise<void> }[] = [];
  const close = async () => {
    for (const file of files) await file.close();
  };
  const readers: RandomReader[] = [];
  try {
    for (const input of inputs) {
      if (typeof input !== "string") readers.push(input instanceof Uint8Array ? memoryReader(input) : ownReader(input));
      else {
        const file = await openFileReader(input);
        files.push(file);
        readers.push(file);
      }
    }
  } catch (e) {
    await close();
    throw e;
  }
  return { readers, close };
}

function settingsOf({ signal = never, onProgress = () => undefined, bonus, repack }: SharedOptions) {
  return {
    signal,
    progress: onProgress,
    ...(bonus === undefined ? {} : { bonus }),
    ...(repack === undefined ? {} : { repack }),
  };
}

/**
 * The patch that turns `old` into `fresh`. Its bytes depend on inputs, format and effort alone.
 *
 * ```js
 * import { writeFile } from "node:fs/promises";
 * import { diff } from "otaforge/delta";
 * await writeFile("app.patch", await diff("app-1.bin", "app-2.bin", { effort: "max" }));
 * ```
 * @throws OtaError CANCELLED; DEVICE_* from reading; IMGDIFF_STRUCTURE, IMGDIFF_NOT_ZIP, IMGDIFF_BONUS, USAGE by format
 */
export async function diff(old: DeltaInput, fresh: DeltaInput, options: DiffOptions = {}): Promise<Uint8Array> {
  const { format: name = "bsdiff40", effort = "default", zip = false, jobs } = options;
  const format = DELTA_FORMATS.find((candidate) => candidate.name === name);
  if (format === undefined) {
    const expected = DELTA_FORMATS.map((candidate) => candidate.name).join(", ");
    throw new OtaError("USAGE", { what: "unknown patch format", expected, found: name });
  }
  if (!isEffort(effort)) {
    throw new OtaError("USAGE", { what: "unknown effort", expected: "fast, default, max", found: String(effort) });
  }
  refuseForeign(format, options);
  const { readers, close } = await openInputs(old, fresh);
  const engine = options.engine ?? createDeltaEngine(jobs === undefined ? {} : { jobs });
  try {
    const [from, to] = readers as [RandomReader, RandomReader];
    const { parts } = await format.make(engine, from, to, { ...settingsOf(options), effort, zip });
    return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts);
  } finally {
    if (options.engine === undefined) await engine.close();
    await close();
  }
}

async function* produce(
  [old, patchInput]: readonly [DeltaInput, DeltaInput],
  check: "first" | "along",
  options: PatchOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { readers, close } = await openInputs(old, patchInput);
  try {
    const [from, reader] = readers as [RandomReader, RandomReader];
    const format = formatOf(await reader.read(0, Math.min(16, reader.size)));
    if (format === undefined) {
      const expected = DELTA_FORMATS.map((candidate) => candidate.name).join(", ");
      throw new OtaError("PACKAGE_UNKNOWN", { what: "no patch of a known format", expected });
    }
    refuseForeign(format, { bonus: options.bonus });
    const turns = new Turns();
    const settings = { ...settingsOf(options), check };
    for await (const part of format.apply(turns.reader(from), turns.reader(reader), settings)) {
      yield part.slice();
      await turns.take();
    }
  } finally {
    await close();
  }
}

/**
 * The file that a patch of any format makes of `old`, as one array: for files that fit memory.
 * @throws OtaError PACKAGE_UNKNOWN, BSDIFF_*, IMGDIFF_*, FORGE_*, CODEC_*; CANCELLED; DEVICE_* from reading
 */
export async function patch(old: DeltaInput, patchInput: DeltaInput, options: PatchOptions = {}): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of produce([old, patchInput], "along", options)) parts.push(part);
  return concatBytes(...parts);
}

/**
 * The same as a stream of chunks, for files of any size. Everything a patch can be checked for is checked before the first chunk.
 *
 * ```js
 * await pipeline(patchStream("app-1.bin", "app.patch"), createWriteStream("app-2.bin"));
 * ```
 */
export function patchStream(
  old: DeltaInput,
  patchInput: DeltaInput,
  options: PatchOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  return produce([old, patchInput], "first", options);
}
