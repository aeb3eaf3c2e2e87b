/**
 * Applies `otaforge` deltas. Before the first byte of new: the digests of the patch, the digests of old, the re-packers; and by
 * default every block is decoded once and compared with its digest. A block is given only when its digest is right.
 */
import { concatBytes, equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel, readReusing } from "../../core/streams.ts";
import type { CoverList } from "../cover-list.ts";
import { openPatch, type StoredWindows } from "./arriving.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock } from "./block-coder.ts";
import { decodeCovers, shiftMapOf } from "./covers.ts";
import { PART_DIGEST_SIZE } from "./layout.ts";
import { memoryOf } from "./plan.ts";
import type { ForgeBlock, ForgePatch, ForgeWindow } from "./read.ts";
import type { ShiftMap } from "./references.ts";
import { insideRepackers, RepackerSet, type Repacker } from "./repack.ts";
import type { Segment } from "./segments.ts";
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
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

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
      throw new OtaError("FORGE_BASE", { what: "old is too short", expected: header.oldSize, found: old.size });
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
    const { blocks, windows, header, oldSegments } = this.patch;
    const block = blocks[index] as ForgeBlock;
    const covers = await this.covers(block.window);
    this.#map ??= shiftMapOf(covers, windows[block.window] as ForgeWindow, header.grainBits);
    const coder = new BinaryCoder(await this.#stored.read(block.storedAt, block.storedSize));
    const out = new BlockOutput(this.patch, block, this.#repackers);
    this.#view.allow(unpackBudget(block.viewSize, oldSegments));
    await codeBlock(
      {
        coder,
        old: this.#view,
        covers,
        map: this.#map,
        shape: { tableBits: header.tableBits, absoluteBase: header.absoluteBase },
      },
      [block.viewAt, block.viewAt + block.viewSize],
      (_at, size) => new Uint8Array(size),
      async (bytes) => {
        checkCancel(this.#options.signal);
        if (coder.exhausted) {
          throw new OtaError("FORGE_DAMAGED", { what: "a block ends early", where: `block ${index}` });
        }
        await out.add(bytes);
      },
    );
    const bytes = out.finish();
    const digest = this.#options.digests.create("sha256");
    digest.update(bytes);
    if (!equalBytes(digest.digest().subarray(0, PART_DIGEST_SIZE), block.digest)) {
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

/** Gathers a block of the view and packs what is packed in new. */
class BlockOutput {
  readonly #patch: ForgePatch;
  readonly #block: ForgeBlock;
  readonly #repackers: RepackerSet;
  readonly #out: Uint8Array;
  #filled = 0;
  #index: number;
  #inside: number;
  #packing: Uint8Array[] = [];

  constructor(patch: ForgePatch, block: ForgeBlock, repackers: RepackerSet) {
    this.#patch = patch;
    this.#block = block;
    this.#repackers = repackers;
    this.#out = new Uint8Array(block.fileSize);
    this.#index = patch.newSegments.find(block.viewAt);
    this.#inside = block.viewAt - (patch.newSegments.items[this.#index]?.viewAt ?? 0);
  }

  #put(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > this.#out.length) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "a block gives more bytes than it should",
        where: `new ${hexOffset(this.#block.fileAt)}`,
      });
    }
    this.#out.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const segment = this.#patch.newSegments.items[this.#index] as Segment;
      const n = Math.min(bytes.length - at, segment.viewSize - this.#inside);
      const part = bytes.subarray(at, at + n);
      if (segment.repacker === 0) this.#put(part);
      else this.#packing.push(part);
      at += n;
      this.#inside += n;
      if (this.#inside === segment.viewSize) {
        if (segment.repacker !== 0) await this.#pack(segment);
        this.#index++;
        this.#inside = 0;
      }
    }
  }

  async #pack(segment: Segment): Promise<void> {
    const content = concatBytes(...this.#packing);
    this.#packing = [];
    let packed: Uint8Array;
    try {
      packed = await this.#repackers.get(segment.repacker).pack(content, segment.parameters);
    } catch (e) {
      if (!(e instanceof OtaError) || e.code !== "CODEC_DAMAGED") throw e;
      throw new OtaError("FORGE_DAMAGED", { what: e.details.what, where: `new ${hexOffset(segment.fileAt)}` }, e);
    }
    if (packed.length !== segment.fileSize) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "a part packs to another size than noted",
        where: `new ${hexOffset(segment.fileAt)}`,
        expected: segment.fileSize,
        found: packed.length,
      });
    }
    this.#put(packed);
  }

  /** @throws OtaError FORGE_DAMAGED when bytes are missing */
  finish(): Uint8Array {
    if (this.#filled !== this.#out.length) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "a block gives fewer bytes than it should",
        where: `new ${hexOffset(this.#block.fileAt)}`,
      });
    }
    return this.#out;
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
    for (let i = from; i < blocks.length; i++) {
      await decoder.decode(i);
      report("check patch", i);
    }
  }
  for (let i = from; i < blocks.length; i++) {
    yield await decoder.decode(i);
    report("patch", i);
  }
  await decoder.end();
}
