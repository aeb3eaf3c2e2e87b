/** From a block of new's view to its bytes of the file: what is packed in new is packed again. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { RepackerSet } from "./repack.ts";
import type { Segment, SegmentList } from "./segments.ts";

/** A block's place in the file and the segments it is made of, as plain data. */
export interface BlockShape {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly fileAt: number;
  readonly fileSize: number;
  readonly segments: readonly Segment[];
}

export function blockShapeOf(
  block: { viewAt: number; viewSize: number; fileAt: number; fileSize: number },
  list: SegmentList,
): BlockShape {
  const { viewAt, viewSize, fileAt, fileSize } = block;
  const first = list.find(viewAt);
  let end = first;
  while (end < list.items.length && (list.items[end] as Segment).viewAt < viewAt + viewSize) end++;
  return { viewAt, viewSize, fileAt, fileSize, segments: list.items.slice(first, end) };
}

/** Gathers a block of the view and packs what is packed in new. */
export class BlockOutput {
  readonly #shape: BlockShape;
  readonly #repackers: RepackerSet;
  readonly #out: Uint8Array;
  #filled = 0;
  #index = 0;
  #inside: number;
  /** Content of the packed part in work. */
  #content: Uint8Array | undefined;

  constructor(shape: BlockShape, repackers: RepackerSet) {
    this.#shape = shape;
    this.#repackers = repackers;
    this.#out = new Uint8Array(shape.fileSize);
    this.#inside = shape.viewAt - (shape.segments[0]?.viewAt ?? 0);
  }

  #put(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > this.#out.length) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "a block gives more bytes than it should",
        where: `new ${hexOffset(this.#shape.fileAt)}`,
      });
    }
    this.#out.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const segment = this.#shape.segments[this.#index] as Segment;
      const n = Math.min(bytes.length - at, segment.viewSize - this.#inside);
      const part = bytes.subarray(at, at + n);
      if (segment.repacker === 0) this.#put(part);
      // A part that lies in one piece is packed where it is.
      else if (n === segment.viewSize) this.#content = part;
      else {
        this.#content ??= new Uint8Array(segment.viewSize);
        this.#content.set(part, this.#inside);
      }
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
    const content = this.#content as Uint8Array;
    this.#content = undefined;
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
        where: `new ${hexOffset(this.#shape.fileAt)}`,
      });
    }
    return this.#out;
  }
}
