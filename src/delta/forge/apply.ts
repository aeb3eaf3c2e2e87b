/**
 * Applies `otaforge` deltas. Before the first byte of new: the digest of the whole patch, the digests of old, the re-packers,
 * every cover; and by default every block is decoded once and compared with its digest. A block is given only when its digest is right.
 */
import { concatBytes, equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { codeBlock } from "./block-coder.ts";
import { shiftMapOf } from "./covers.ts";
import { BASE_DIGEST_SIZE } from "./layout.ts";
import { readForge, type ForgeBlock, type ForgePatch } from "./read.ts";
import type { ShiftMap } from "./references.ts";
import { insideRepackers, RepackerSet, type Repacker } from "./repack.ts";
import { ViewReader, type Segment } from "./segments.ts";

export interface ForgeApplyOptions {
  readonly digests: Digests;
  /** Re-packers of this device; default: those inside the toolkit. */
  readonly repackers?: readonly Repacker[];
  /**
   * `first` (default): every block is decoded and checked before the first byte is given. `along`: blocks are checked one by
   * one, in half the time; for signed patches and for targets that can be thrown away.
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

/** A patch ready to be decoded block by block. */
export interface ForgeDecoder {
  readonly patch: ForgePatch;
  /** Compares old with its digests. @throws OtaError FORGE_BASE */
  checkBase(): Promise<void>;
  /** The bytes of new in block `index`, its digest checked. @throws OtaError FORGE_DAMAGED, FORGE_BASE, FORGE_REPACKER */
  decode(index: number): Promise<Uint8Array>;
}

/**
 * Reads and checks a patch. Nothing of old is read yet.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, FORGE_REPACKER, CANCELLED
 */
export async function openForge(
  old: RandomReader,
  patch: RandomReader,
  options: ForgeApplyOptions,
): Promise<ForgeDecoder> {
  const { digests, signal, memoryLimit, newSize } = options;
  const frame = await readForge(patch, digests, signal);
  const { header } = frame;
  const repackers = new RepackerSet(options.repackers ?? insideRepackers());
  for (const id of frame.needs) repackers.get(id);
  if (newSize !== undefined && header.newSize !== newSize) {
    throw new OtaError("FORGE_DAMAGED", {
      what: "the patch makes a file of another size",
      expected: newSize,
      found: header.newSize,
    });
  }
  if (memoryLimit !== undefined && header.memoryBytes > memoryLimit) {
    throw new OtaError("FORGE_DAMAGED", {
      what: "the patch needs more memory than this device allows",
      expected: `at most ${memoryLimit} bytes`,
      found: header.memoryBytes,
      hint: "Make it with smaller blocks or fewer opened containers.",
    });
  }
  let map: ShiftMap | undefined;
  let mapped = header.references === 0;
  const view = new ViewReader(old, frame.oldSegments, repackers);
  return {
    patch: frame,
    async checkBase() {
      if (old.size < header.oldSize) {
        throw new OtaError("FORGE_BASE", { what: "old is too short", expected: header.oldSize, found: old.size });
      }
      for (const [i, expected] of frame.baseDigests.entries()) {
        checkCancel(signal);
        const at = i * header.baseUnit;
        const size = Math.min(header.baseUnit, header.oldSize - at);
        const digest = digests.create("sha256");
        for (let done = 0; done < size;) {
          const n = Math.min(1024 * 1024, size - done);
          digest.update(await old.read(at + done, n));
          done += n;
        }
        options.progress?.({ phase: "check base", doneBytes: at + size, totalBytes: header.oldSize });
        if (!equalBytes(digest.digest().subarray(0, BASE_DIGEST_SIZE), expected)) {
          throw new OtaError("FORGE_BASE", {
            what: "old is not the file this patch was made for",
            where: `${hexOffset(at)} to ${hexOffset(at + size)}`,
          });
        }
      }
    },
    async decode(index) {
      const block = frame.blocks[index] as ForgeBlock;
      if (!mapped) {
        map = shiftMapOf(frame.covers, header.oldViewSize, header.newViewSize);
        mapped = true;
      }
      const coder = new BinaryCoder(await patch.read(block.storedAt, block.storedSize));
      const out = new BlockOutput(frame, block, repackers);
      const shape = { tableBits: header.tableBits, absoluteBase: header.absoluteBase };
      await codeBlock(
        { coder, old: view, covers: frame.covers, map, shape },
        [block.viewAt, block.viewAt + block.viewSize],
        (_at, size) => new Uint8Array(size),
        async (bytes) => {
          checkCancel(signal);
          if (coder.exhausted)
            throw new OtaError("FORGE_DAMAGED", { what: "a block ends early", where: `block ${index}` });
          await out.add(bytes);
        },
      );
      const bytes = await out.finish();
      const digest = digests.create("sha256");
      digest.update(bytes);
      if (!equalBytes(digest.digest(), block.digest)) {
        throw new OtaError("FORGE_DAMAGED", {
          what: "a block gives other bytes than it should",
          where: `block ${index}`,
        });
      }
      return bytes;
    },
  };
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

  async finish(): Promise<Uint8Array> {
    return this.#out;
  }
}

/**
 * New, made of old by an `otaforge` delta, a block at a time.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, FORGE_BASE, FORGE_REPACKER before the first byte (with `check` `along` the
 * first and the third also later); CANCELLED
 */
export async function* applyForge(old: RandomReader, patch: RandomReader, options: ForgeApplyOptions): ByteStream {
  const decoder = await openForge(old, patch, options);
  const { blocks, header } = decoder.patch;
  await decoder.checkBase();
  const from = options.fromBlock ?? 0;
  const report = (phase: string, index: number): void => {
    const block = blocks[index] as ForgeBlock;
    options.progress?.({ phase, doneBytes: block.fileAt + block.fileSize, totalBytes: header.newSize });
  };
  // A single block may as well be kept: checked and given in one go.
  if (blocks.length - from > 1 && options.check !== "along") {
    for (let i = from; i < blocks.length; i++) {
      await decoder.decode(i);
      report("check patch", i);
    }
  }
  for (let i = from; i < blocks.length; i++) {
    yield await decoder.decode(i);
    report("patch", i);
  }
}
