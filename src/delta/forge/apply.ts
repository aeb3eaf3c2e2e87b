/**
 * Applies `otaforge` deltas. Before the first byte of new: the digests of the patch, the digests of old, the re-packers; and by
 * default every block is decoded once and compared with its digest. A block is given only when its digest is right.
 */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel, readReusing, unlessCancelled } from "../../core/streams.ts";
import type { CoverList } from "../cover-list.ts";
import { openPatch, type StoredWindows } from "./arriving.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock } from "./block-coder.ts";
import { checkNotExhausted, type StripTask } from "./block-encoder.ts";
import { BlockOutput, blockShapeOf, type BlockShape } from "./block-output.ts";
import { decodeCovers, shiftMapOf } from "./covers.ts";
import { PART_DIGEST_SIZE } from "./layout.ts";
import { memoryOf, stripsOf, type ViewRange } from "./plan.ts";
import type { ForgeBlock, ForgePatch, ForgeWindow } from "./read.ts";
import type { ShiftMap } from "./references.ts";
import { insideRepackers, RepackerSet, type Repacker } from "./repack.ts";
import { splitStrips } from "./strips.ts";
import { unpackBudget, ViewReader } from "./view-reader.ts";

export interface ForgeApplyOptions {
  readonly digests: Digests;
  /** Re-packers of this device; default: those inside the toolkit. */
  readonly repackers?: readonly Repacker[];
  /**
   * `first` (default for patches that can be read anywhere): every block is decoded and checked before the first byte is given.
   * `along` (the only way for an arriving patch): blocks are checked one by one, in half the time; for signed patches and for
   * targets that can be thrown away.
   */
  readonly check?: "first" | "along";
  /** Refuse patches that need more memory than this, bytes. */
  readonly memoryLimit?: number;
  /** Size new must have; a patch that makes another is refused. */
  readonly newSize?: number;
  /** First block to give: earlier ones are there already. Default 0. */
  readonly fromBlock?: number;
  /** Decodes blocks elsewhere, several at once; default: here, one after the other. */
  readonly decoder?: BlockDecoder;
  /** Blocks in work at once, for a decoder that can do several: each is held as stored, as read of old, and as given. Default 1. */
  readonly ahead?: number;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** A block to be decoded: its strips, their stored bytes in the same order, and what becomes of them. */
export interface BlockWork {
  readonly block: BlockShape;
  readonly tasks: readonly StripTask[];
  readonly stored: readonly Uint8Array[];
}

/**
 * Begins a block. The outer promise is fulfilled when old's view is not read any more for it; `done` gives its bytes of the file,
 * unchecked. `allow` is called before a strip's bytes of old are read.
 */
export type BlockDecoder = (
  work: BlockWork,
  allow: (strip: ViewRange) => void,
) => Promise<{ readonly done: Promise<Uint8Array> }>;

const OLD_HINT = "Take the very file or image the patch was made of, without a byte changed.";

/** Bytes of old read at once when it is checked. */
const CHECK_PIECE = 256 * 1024;

/** A patch ready to be decoded block by block. */
export interface ForgeDecoder {
  readonly patch: ForgePatch;
  /** Whether blocks can be decoded in any order and more than once; of an arriving patch only in ascending order. */
  readonly anywhere: boolean;
  /** Compares old with its digests. @throws OtaError FORGE_BASE */
  checkBase(): Promise<void>;
  /** The covers of a window. @throws OtaError FORGE_DAMAGED */
  covers(window: number): Promise<CoverList>;
  /** The bytes of new in block `index`, its digest checked. @throws OtaError FORGE_DAMAGED, FORGE_BASE, FORGE_REPACKER */
  decode(index: number): Promise<Uint8Array>;
  /**
   * Begins with block `index`: the outer promise is fulfilled when patch and old are not read any more for it and another may
   * begin, `done` like {@link decode}. @throws OtaError as decode
   */
  begin(index: number): Promise<{ readonly done: Promise<Uint8Array> }>;
  /** After the last block: an arriving patch must end here. @throws OtaError FORGE_DAMAGED */
  end(): Promise<void>;
}

function checkLimits(patch: ForgePatch, { newSize, memoryLimit }: ForgeApplyOptions): void {
  const { header } = patch;
  if (newSize !== undefined && header.newSize !== newSize) {
    throw new OtaError("FORGE_DAMAGED", {
      what: "the patch makes a file of another size",
      expected: newSize,
      found: header.newSize,
    });
  }
  // What the header says is the maker's word; what the frame's sizes come to is not.
  const needed = Math.max(header.memoryBytes, memoryOf({ ...header, ...patch }));
  if (memoryLimit !== undefined && needed > memoryLimit) {
    throw new OtaError("FORGE_DAMAGED", {
      what: "the patch needs more memory than this device allows",
      expected: `at most ${memoryLimit} bytes`,
      found: needed,
      hint: "Make it with smaller blocks or fewer opened containers.",
    });
  }
}

/**
 * Reads and checks a patch's frame, and of one that can be read anywhere the digest of the rest. Nothing of old is read yet.
 * @param patch a reader, or the patch's bytes as they arrive: then blocks can only be decoded forwards
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, FORGE_REPACKER, CANCELLED
 */
export async function openForge(
  old: RandomReader,
  patch: RandomReader | ByteStream,
  options: ForgeApplyOptions,
): Promise<ForgeDecoder> {
  const { patch: frame, stored } = await openPatch(patch, options.digests, options.signal);
  const repackers = new RepackerSet(options.repackers ?? insideRepackers());
  for (const id of frame.needs) repackers.get(id);
  checkLimits(frame, options);
  return new Decoder(old, frame, stored, repackers, options);
}

class Decoder implements ForgeDecoder {
  readonly patch: ForgePatch;
  readonly #old: RandomReader;
  readonly #stored: StoredWindows;
  readonly #repackers: RepackerSet;
  readonly #options: ForgeApplyOptions;
  readonly #view: ViewReader;
  /** The window in work. */
  #window = -1;
  #covers: CoverList | undefined;
  #map: ShiftMap | undefined;

  constructor(
    old: RandomReader,
    patch: ForgePatch,
    stored: StoredWindows,
    repackers: RepackerSet,
    options: ForgeApplyOptions,
  ) {
    this.patch = patch;
    this.#old = old;
    this.#stored = stored;
    this.#repackers = repackers;
    this.#options = options;
    this.#view = new ViewReader(old, patch.oldSegments, async ({ repacker, viewSize }, packed) =>
      repackers.get(repacker).unpack(await packed(), viewSize),
    );
  }

  get anywhere(): boolean {
    return this.#stored.anywhere;
  }

  async checkBase(): Promise<void> {
    const { header, baseDigests } = this.patch;
    const { digests, signal, progress } = this.#options;
    const old = this.#old;
    if (old.size < header.oldSize) {
      throw new OtaError("FORGE_BASE", {
        what: "old is too short",
        expected: `${header.oldSize} bytes`,
        found: old.size,
        hint: OLD_HINT,
      });
    }
    const buffer = new Uint8Array(CHECK_PIECE);
    for (const [i, expected] of baseDigests.entries()) {
      checkCancel(signal);
      const at = i * header.baseUnit;
      const size = Math.min(header.baseUnit, header.oldSize - at);
      const digest = digests.create("sha256");
      for (let done = 0; done < size; done += CHECK_PIECE) {
        digest.update(await readReusing(old, at + done, Math.min(CHECK_PIECE, size - done), buffer));
      }
      progress?.({ phase: "check base", doneBytes: at + size, totalBytes: header.oldSize });
      if (!equalBytes(digest.digest().subarray(0, PART_DIGEST_SIZE), expected)) {
        throw new OtaError("FORGE_BASE", {
          what: "old is not the file this patch was made for",
          where: `${hexOffset(at)} to ${hexOffset(at + size)}`,
          hint: OLD_HINT,
        });
      }
    }
  }

  async covers(window: number): Promise<CoverList> {
    if (this.#window !== window || this.#covers === undefined) {
      const { windows, header } = this.patch;
      const w = windows[window] as ForgeWindow;
      this.#map = undefined;
      this.#covers = decodeCovers(await this.#stored.read(w.coversAt, w.coversSize), {
        viewAt: w.viewAt,
        viewSize: w.viewSize,
        coverCount: w.coverCount,
        oldViewSize: header.oldViewSize,
      });
      this.#window = window;
    }
    return this.#covers;
  }

  async decode(index: number): Promise<Uint8Array> {
    return (await this.begin(index)).done;
  }

  async begin(index: number): Promise<{ readonly done: Promise<Uint8Array> }> {
    const { blocks, windows, header, newSegments } = this.patch;
    const block = blocks[index] as ForgeBlock;
    const covers = await this.covers(block.window);
    this.#map ??= shiftMapOf(covers, windows[block.window] as ForgeWindow, header.grainBits);
    const strips = stripsOf(block);
    const stored = splitStrips(await this.#stored.read(block.storedAt, block.storedSize), strips.length);
    const shape = { tableBits: header.tableBits, absoluteBase: header.absoluteBase };
    const work = {
      block: blockShapeOf(block, newSegments),
      tasks: strips.map((strip) => ({ strip, covers, map: this.#map, shape, oldView: this.#view })),
      stored,
    };
    const { decoder = (w: BlockWork) => this.#here(w) } = this.#options;
    const { done } = await decoder(work, (strip) => {
      this.#view.allow(unpackBudget(strip.viewSize, this.patch.oldSegments));
    });
    const checked = done.then((bytes) => this.#checked(bytes, index));
    checked.catch(() => undefined);
    return { done: checked };
  }

  /** Decodes on the caller's thread, piece by piece. */
  async #here({ block, tasks, stored }: BlockWork): Promise<{ readonly done: Promise<Uint8Array> }> {
    const out = new BlockOutput(block, this.#repackers);
    for (const [i, { strip, covers, map, shape, oldView }] of tasks.entries()) {
      const coder = new BinaryCoder(stored[i]);
      this.#view.allow(unpackBudget(strip.viewSize, this.patch.oldSegments));
      await codeBlock(
        { coder, old: oldView, covers, map, shape },
        [strip.viewAt, strip.viewAt + strip.viewSize],
        (_at, size) => new Uint8Array(size),
        async (bytes) => {
          checkCancel(this.#options.signal);
          checkNotExhausted(coder, strip.viewAt);
          await out.add(bytes);
        },
      );
    }
    return { done: Promise.resolve(out.finish()) };
  }

  #checked(bytes: Uint8Array, index: number): Uint8Array {
    const digest = this.#options.digests.create("sha256");
    digest.update(bytes);
    if (!equalBytes(digest.digest().subarray(0, PART_DIGEST_SIZE), (this.patch.blocks[index] as ForgeBlock).digest)) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "a block gives other bytes than it should",
        where: `block ${index}`,
      });
    }
    return bytes;
  }

  async end(): Promise<void> {
    await this.#stored.end();
  }
}

/** Blocks in order, as many of them in work at once as the options' decoder allows. */
async function* decodedBlocks(decoder: ForgeDecoder, from: number, options: ForgeApplyOptions): ByteStream {
  const { ahead = 1, signal } = options;
  const { blocks } = decoder.patch;
  const begun: Promise<Uint8Array>[] = [];
  for (let next = from; next < blocks.length || begun.length > 0;) {
    while (next < blocks.length && begun.length < ahead) {
      begun.push((await unlessCancelled(decoder.begin(next++), signal)).done);
    }
    checkCancel(signal);
    yield await unlessCancelled(begun.shift() as Promise<Uint8Array>, signal);
  }
}

/**
 * New, made of old by an `otaforge` delta: one chunk a block, in order.
 *
 * Old is read anywhere, new is given from its beginning to its end, and nothing is held whole: memory is what the patch's
 * header says (`memoryBytes`). The patch may be a reader or a stream that is still arriving. Whoever writes the chunks can stop
 * at any block border, note how many blocks are written for good, and go on later with `fromBlock`.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, FORGE_BASE, FORGE_REPACKER before the first byte (with `check` `along` and for
 * arriving patches the first and the third also later, but never with a wrong byte given); CANCELLED
 */
export async function* applyForge(
  old: RandomReader,
  patch: RandomReader | ByteStream,
  options: ForgeApplyOptions,
): ByteStream {
  const decoder = await openForge(old, patch, options);
  const { blocks, header } = decoder.patch;
  await decoder.checkBase();
  const from = options.fromBlock ?? 0;
  const report = (phase: string, index: number): void => {
    const block = blocks[index] as ForgeBlock;
    options.progress?.({ phase, doneBytes: block.fileAt + block.fileSize, totalBytes: header.newSize });
  };
  // A single block may as well be kept: checked and given in one go.
  if (blocks.length - from > 1 && options.check !== "along" && decoder.anywhere) {
    let i = from;
    for await (const block of decodedBlocks(decoder, from, options)) {
      if (block.length > 0) report("check patch", i++);
    }
  }
  let i = from;
  for await (const block of decodedBlocks(decoder, from, options)) {
    yield block;
    report("patch", i++);
  }
  await decoder.end();
}
