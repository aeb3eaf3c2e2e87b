/**
 * Applies IMGDIFF2 patches (`formats/android.md` section 6.5).
 *
 * The whole patch is checked against old before the first byte of new is given: table, ranges, every BSDIFF40 and every
 * deflate stream of old. The format holds no digest of the result, so a wrong base that fits in every size is found only by
 * whoever knows the digest of new. One inflated source is held at a time; everything else streams.
 */
import { concatBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel, memoryReader, sliceReader, streamRange } from "../../core/streams.ts";
import { applyBsdiff40, checkBsdiff40, type ApplyOptions } from "../bsdiff40/apply.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header } from "../bsdiff40/header.ts";
import { PATCH_MEMORY_SIZE } from "../bsdiff40/streams.ts";
import { createCore, type Core } from "../core.ts";
import { deflateRawVanilla } from "../deflate/deflate.ts";
import { inflateRawExactly } from "../deflate/inflate.ts";
import { IMGDIFF_MAX_EXPANDED } from "./make.ts";
import { readImgdiff2, type DeflateChunk, type ImgdiffChunk } from "./read.ts";

export interface ImgdiffApplyOptions {
  /** Data appended to the inflated source of chunk 1 (recovery-from-boot patches of Android). */
  readonly bonus?: Uint8Array;
  /** Refuse patches that inflate a source or a result beyond this many bytes. Default 512 MiB. */
  readonly maxExpandedBytes?: number;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
  /** A core with the memory of a BSDIFF40 reader; default: the TypeScript core. */
  readonly core?: Core;
}

/** Inflated sources kept from the check for the output, bytes: saves most patches a second inflating. */
const KEPT_BYTES = 16 * 1024 * 1024;

/** Deflate sources may be named several times over by odd patches; beyond this factor it is an attack on time. */
const MAX_SOURCE_REUSE = 4;

class Applier {
  readonly #old: RandomReader;
  readonly #patch: RandomReader;
  readonly #options: ImgdiffApplyOptions;
  readonly #bsdiffOptions: ApplyOptions;
  readonly #kept = new Map<number, Uint8Array>();
  #keptBytes = 0;
  /** Bytes the chunks make, before packing: all of them, and those of the chunks done. */
  #totalBytes = 0;
  #doneBytes = 0;

  constructor(old: RandomReader, patch: RandomReader, options: ImgdiffApplyOptions) {
    this.#old = old;
    this.#patch = patch;
    this.#options = options;
    // The check comes first, for all of them.
    this.#bsdiffOptions = {
      check: "along",
      core: options.core ?? createCore(PATCH_MEMORY_SIZE),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
  }

  #source(chunk: { sourceStart: number; sourceSize: number }): RandomReader {
    const { sourceStart, sourceSize } = chunk;
    if (sourceStart + sourceSize > this.#old.size) {
      throw new OtaError("IMGDIFF_BASE", {
        what: "a chunk's source lies outside the old file",
        where: `old ${hexOffset(sourceStart)}`,
        expected: `at least ${sourceStart + sourceSize} bytes`,
        found: this.#old.size,
      });
    }
    return sliceReader(this.#old, sourceStart, sourceSize);
  }

  async #expanded(chunk: DeflateChunk, index: number): Promise<RandomReader> {
    const kept = this.#kept.get(index);
    if (kept !== undefined) return memoryReader(kept);
    const bonus = index === 1 ? (this.#options.bonus ?? new Uint8Array(0)) : new Uint8Array(0);
    const size = chunk.sourceExpandedSize - bonus.length;
    const limit = this.#options.maxExpandedBytes ?? IMGDIFF_MAX_EXPANDED;
    if (size < 0) {
      throw new OtaError("IMGDIFF_BONUS", {
        what: "bonus data is larger than the source it belongs to",
        expected: `at most ${chunk.sourceExpandedSize} bytes`,
        found: bonus.length,
      });
    }
    if (chunk.sourceExpandedSize > limit || chunk.targetExpandedSize > limit) {
      throw new OtaError("IMGDIFF_DAMAGED", {
        what: "a deflate chunk expands beyond the limit",
        where: `chunk ${index}`,
        expected: `at most ${limit} bytes`,
        found: Math.max(chunk.sourceExpandedSize, chunk.targetExpandedSize),
      });
    }
    const where = `chunk ${index}, old ${hexOffset(chunk.sourceStart)}`;
    let data: Uint8Array;
    try {
      data = await inflateRawExactly(streamRange(this.#source(chunk), 0), size, where);
    } catch (e) {
      if (!(e instanceof OtaError) || !e.code.startsWith("CODEC_")) throw e;
      const hint = index === 1 && bonus.length === 0 ? "The patch may need its bonus data." : undefined;
      const what = `the old file has no deflate stream of ${size} bytes there`;
      throw new OtaError("IMGDIFF_BASE", { what, where, ...(hint === undefined ? {} : { hint }) }, e);
    }
    if (bonus.length > 0) data = concatBytes(data, bonus);
    if (this.#keptBytes + data.length <= KEPT_BYTES) {
      this.#kept.set(index, data);
      this.#keptBytes += data.length;
    }
    return memoryReader(data);
  }

  #bsdiff(chunk: { patchOffset: number; patchSize: number }): RandomReader {
    return sliceReader(this.#patch, chunk.patchOffset, chunk.patchSize);
  }

  /** Everything that can be known without writing. */
  async check(chunks: readonly ImgdiffChunk[]): Promise<void> {
    let deflateBytes = 0;
    for (const [index, chunk] of chunks.entries()) {
      checkCancel(this.#options.signal);
      if (chunk.type === "raw") {
        this.#totalBytes += chunk.size;
        continue;
      }
      const patch = this.#bsdiff(chunk);
      const header = readBsdiff40Header(await patch.read(0, Math.min(BSDIFF40_HEADER_SIZE, patch.size)));
      this.#totalBytes += header.newSize;
      if (chunk.type === "normal") {
        this.#source(chunk);
        await checkBsdiff40(patch, this.#bsdiffOptions);
        continue;
      }
      deflateBytes += chunk.sourceSize;
      if (deflateBytes > MAX_SOURCE_REUSE * this.#old.size) {
        throw new OtaError("IMGDIFF_DAMAGED", {
          what: "deflate chunks use the old file many times over",
          where: `chunk ${index}`,
        });
      }
      if (header.newSize !== chunk.targetExpandedSize) {
        throw new OtaError("IMGDIFF_DAMAGED", {
          what: "a chunk and its patch disagree about the size of the result",
          where: `chunk ${index}`,
          expected: chunk.targetExpandedSize,
          found: header.newSize,
        });
      }
      await this.#expanded(chunk, index);
      await checkBsdiff40(patch, this.#bsdiffOptions);
    }
  }

  #progress(doneBytes: number): void {
    this.#options.progress?.({ phase: "patch", doneBytes, totalBytes: this.#totalBytes });
  }

  async *#patched(source: RandomReader, patch: RandomReader): ByteStream {
    const before = this.#doneBytes;
    const progress = (event: ProgressEvent) => {
      this.#doneBytes = before + event.doneBytes;
      this.#progress(this.#doneBytes);
    };
    yield* applyBsdiff40(source, patch, { ...this.#bsdiffOptions, progress });
  }

  async *output(chunks: readonly ImgdiffChunk[]): ByteStream {
    for (const [index, chunk] of chunks.entries()) {
      checkCancel(this.#options.signal);
      if (chunk.type === "raw") {
        yield* streamRange(this.#patch, chunk.offset, chunk.size);
        this.#doneBytes += chunk.size;
        this.#progress(this.#doneBytes);
      } else if (chunk.type === "normal") yield* this.#patched(this.#source(chunk), this.#bsdiff(chunk));
      else {
        const source = await this.#expanded(chunk, index);
        yield* deflateRawVanilla(this.#patched(source, this.#bsdiff(chunk)), chunk.deflate);
        this.#kept.delete(index);
      }
    }
  }
}

/**
 * New, made from old by an IMGDIFF2 patch.
 * @throws OtaError IMGDIFF_DAMAGED, IMGDIFF_BASE, IMGDIFF_BONUS, BSDIFF_*, CODEC_DAMAGED, LAYOUT_SIZE_UNSAFE (a field beyond
 * 2^53-1), all before the first byte; CANCELLED
 */
export async function* applyImgdiff2(
  old: RandomReader,
  patch: RandomReader,
  options: ImgdiffApplyOptions = {},
): ByteStream {
  const applier = new Applier(old, patch, options);
  const chunks = await readImgdiff2(patch);
  await applier.check(chunks);
  yield* applier.output(chunks);
}
