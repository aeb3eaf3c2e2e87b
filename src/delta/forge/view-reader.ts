/** Reads the view of a file: plain parts as they are, packed parts unpacked. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import type { Segment, SegmentList } from "./segments.ts";

/** Bytes of plain parts read and kept at once. */
const PAGE = 64 * 1024;
/** Plain pages kept: 2 MiB. */
const PAGES = 32;
/** Unpacked segments kept, bytes, beside the newest one. */
export const KEPT_UNPACKED = 8 * 1024 * 1024;

/** Unpacks a segment: its content from its packed bytes. */
export type Unpacker = (segment: Segment, packed: () => Promise<Uint8Array>) => Uint8Array | Promise<Uint8Array>;

export class ViewReader implements RandomReader {
  readonly #reader: RandomReader;
  readonly #segments: SegmentList;
  readonly #unpack: Unpacker;
  readonly #pages = new Map<number, Uint8Array>();
  readonly #unpacked = new Map<number, Uint8Array>();
  #unpackedBytes = 0;
  #budget = Number.POSITIVE_INFINITY;

  constructor(reader: RandomReader, segments: SegmentList, unpack: Unpacker) {
    this.#reader = reader;
    this.#segments = segments;
    this.#unpack = unpack;
  }

  get size(): number {
    return this.#segments.viewSize;
  }

  /** From now on at most `bytes` of contents may be unpacked. */
  allow(bytes: number): void {
    this.#budget = bytes;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const out = new Uint8Array(length);
    await this.copy(out, 0, offset, length);
    return out;
  }

  async readInto(offset: number, out: Uint8Array): Promise<void> {
    await this.copy(out, 0, offset, out.length);
  }

  /**
   * Copies `length` bytes at `from` to `out` at `at`; outside the view everything is 0.
   * @throws OtaError FORGE_BASE when a part does not unpack, FORGE_DAMAGED when more is unpacked than was allowed
   */
  async copy(out: Uint8Array, at: number, from: number, length: number): Promise<void> {
    let to = at;
    let left = length;
    let position = from;
    if (position < 0) {
      const skip = Math.min(left, -position);
      out.fill(0, to, to + skip);
      to += skip;
      left -= skip;
      position += skip;
    }
    let index = left > 0 && position < this.size ? this.#segments.find(position) : -1;
    for (; left > 0 && position < this.size; index++) {
      const segment = this.#segments.items[index] as Segment;
      const inside = position - segment.viewAt;
      const n = Math.min(left, segment.viewSize - inside);
      if (segment.repacker === 0) await this.#plain(out, to, segment.fileAt + inside, n);
      else {
        const data = this.#unpacked.get(index) ?? (await this.#open(index, segment));
        out.set(data.subarray(inside, inside + n), to);
      }
      to += n;
      left -= n;
      position += n;
    }
    if (left > 0) out.fill(0, to, to + left);
  }

  async #plain(out: Uint8Array, at: number, fileAt: number, length: number): Promise<void> {
    for (let done = 0; done < length;) {
      const index = Math.floor((fileAt + done) / PAGE);
      let page = this.#pages.get(index);
      if (page === undefined) {
        const offset = index * PAGE;
        const size = Math.min(PAGE, this.#reader.size - offset);
        let spare: Uint8Array | undefined;
        if (this.#pages.size >= PAGES) {
          const [oldest, bytes] = this.#pages.entries().next().value as [number, Uint8Array];
          this.#pages.delete(oldest);
          spare = bytes;
        }
        page = await this.#page(offset, size, spare);
        this.#pages.set(index, page);
      }
      const inside = fileAt + done - index * PAGE;
      const n = Math.min(length - done, page.length - inside);
      out.set(page.subarray(inside, inside + n), at + done);
      done += n;
    }
  }

  /** Reads a page, where the reader can into the bytes of one that has to go. */
  async #page(offset: number, size: number, spare: Uint8Array | undefined): Promise<Uint8Array> {
    if (this.#reader.readInto === undefined) return this.#reader.read(offset, size);
    const page = spare?.length === size ? spare : new Uint8Array(size);
    await this.#reader.readInto(offset, page);
    return page;
  }

  async #open(index: number, segment: Segment): Promise<Uint8Array> {
    this.#budget -= segment.viewSize;
    if (this.#budget < 0) {
      throw new OtaError("FORGE_DAMAGED", {
        what: "the patch unpacks parts of old again and again, far more often than it needs to",
        where: `old ${hexOffset(segment.fileAt)}`,
      });
    }
    while (this.#unpackedBytes > KEPT_UNPACKED) {
      const [oldest, bytes] = this.#unpacked.entries().next().value as [number, Uint8Array];
      this.#unpacked.delete(oldest);
      this.#unpackedBytes -= bytes.length;
    }
    let data: Uint8Array;
    try {
      data = await this.#unpack(segment, () => this.#reader.read(segment.fileAt, segment.fileSize));
    } catch (e) {
      if (!(e instanceof OtaError) || !e.code.startsWith("CODEC_")) throw e;
      const what = "a packed part of old does not unpack";
      throw new OtaError("FORGE_BASE", { what, where: hexOffset(segment.fileAt) }, e);
    }
    this.#unpacked.set(index, data);
    this.#unpackedBytes += data.length;
    return data;
  }
}

/** Strips may unpack this many times their size of old, and some more: covers that jump about are refused. */
const UNPACK_FACTOR = 32;

/** Contents a strip of a block may unpack on the device, bytes. `share`: 1 there; making a patch keeps to half of it. */
export function unpackBudget(stripViewSize: number, oldSegments: SegmentList, share = 1): number {
  let largest = 0;
  for (const s of oldSegments.items) if (s.repacker !== 0) largest = Math.max(largest, s.viewSize);
  return share * (UNPACK_FACTOR * stripViewSize + 8 * KEPT_UNPACKED + 4 * largest);
}
