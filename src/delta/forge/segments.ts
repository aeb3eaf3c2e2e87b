/** Segments: how a file is made of plain and packed parts, and its view, in which the packed parts are unpacked. */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import type { RepackerSet } from "./repack.ts";
import type { VarintReader, VarintWriter } from "./varint.ts";

/** A part of a file. Plain: `repacker` 0 and both sizes the same. */
export interface Segment {
  readonly fileAt: number;
  readonly fileSize: number;
  readonly viewAt: number;
  readonly viewSize: number;
  readonly repacker: number;
  readonly parameters: readonly number[];
}

/** A packed part no larger than this, unpacked, may be opened: a device holds one at once. */
export const MAX_SEGMENT = 512 * 1024 * 1024;

/** Segments of one file in order; positions are kept by it. */
export class SegmentList {
  readonly items: Segment[] = [];
  fileSize = 0;
  viewSize = 0;

  plain(size: number): void {
    if (size === 0) return;
    const last = this.items.at(-1);
    if (last?.repacker === 0) {
      this.items.pop();
      this.#push({ ...last, fileSize: last.fileSize + size, viewSize: last.viewSize + size });
      this.fileSize += size;
      this.viewSize += size;
      return;
    }
    this.#push({
      fileAt: this.fileSize,
      fileSize: size,
      viewAt: this.viewSize,
      viewSize: size,
      repacker: 0,
      parameters: [],
    });
    this.fileSize += size;
    this.viewSize += size;
  }

  packed(fileSize: number, viewSize: number, repacker: number, parameters: readonly number[] = []): void {
    this.#push({ fileAt: this.fileSize, fileSize, viewAt: this.viewSize, viewSize, repacker, parameters });
    this.fileSize += fileSize;
    this.viewSize += viewSize;
  }

  #push(segment: Segment): void {
    this.items.push(segment);
  }

  /** Index of the segment that holds a view position. */
  find(viewAt: number): number {
    let low = 0;
    let high = this.items.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.items[middle] as Segment).viewAt <= viewAt) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Stores a list: count, then repacker, file size and, for packed parts, view size and parameters. */
export function writeSegments(out: VarintWriter, list: SegmentList): void {
  out.number(list.items.length);
  for (const { repacker, fileSize, viewSize, parameters } of list.items) {
    out.number(repacker);
    out.number(fileSize);
    if (repacker === 0) continue;
    out.number(viewSize);
    out.number(parameters.length);
    for (const p of parameters) out.number(p);
  }
}

/** Most parameters a re-packer has. */
const MAX_PARAMETERS = 16;

/** @throws OtaError FORGE_DAMAGED */
export function readSegments(input: VarintReader, fileSize: number, viewSize: number): SegmentList {
  const list = new SegmentList();
  const count = input.number();
  if (count > input.left) throw new OtaError("FORGE_DAMAGED", "more segments than the table can hold");
  for (let i = 0; i < count; i++) {
    const repacker = input.number();
    const size = input.number();
    if (size === 0 && repacker === 0) throw new OtaError("FORGE_DAMAGED", "an empty segment");
    if (repacker === 0) {
      list.items.push({
        fileAt: list.fileSize,
        fileSize: size,
        viewAt: list.viewSize,
        viewSize: size,
        repacker,
        parameters: [],
      });
      list.fileSize += size;
      list.viewSize += size;
      continue;
    }
    const expanded = input.number();
    const parameterCount = input.number();
    if (expanded > MAX_SEGMENT || parameterCount > MAX_PARAMETERS) {
      throw new OtaError("FORGE_DAMAGED", { what: "a packed segment is beyond the limits", where: `segment ${i}` });
    }
    list.packed(
      size,
      expanded,
      repacker,
      Array.from({ length: parameterCount }, () => input.number()),
    );
  }
  if (list.fileSize !== fileSize || list.viewSize !== viewSize) {
    throw new OtaError("FORGE_DAMAGED", {
      what: "the segments do not add up to the file",
      expected: `${fileSize} bytes, view ${viewSize}`,
      found: `${list.fileSize} bytes, view ${list.viewSize}`,
    });
  }
  return list;
}

/** Bytes of the view read and kept at once. */
const PAGE = 64 * 1024;
/** Plain pages kept: 2 MiB. */
const PAGES = 32;
/** Unpacked segments kept, bytes, beside the newest one. */
export const KEPT_UNPACKED = 8 * 1024 * 1024;
/** How often, on average, all packed parts may be unpacked: covers that jump about are refused when made or applied. */
const UNPACK_FACTOR = 24;

/** Reads the view of old. */
export class ViewReader {
  readonly #reader: RandomReader;
  readonly #segments: SegmentList;
  readonly #repackers: RepackerSet;
  readonly #pages = new Map<number, Uint8Array>();
  readonly #unpacked = new Map<number, Uint8Array>();
  #unpackedBytes = 0;
  #budget: number;

  constructor(reader: RandomReader, segments: SegmentList, repackers: RepackerSet) {
    this.#reader = reader;
    this.#segments = segments;
    this.#repackers = repackers;
    let packedBytes = 0;
    for (const s of segments.items) if (s.repacker !== 0) packedBytes += s.viewSize;
    this.#budget = UNPACK_FACTOR * packedBytes + KEPT_UNPACKED;
  }

  /** Copies `length` bytes at `from` to `out` at `at`; outside the view everything is 0. */
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
    while (left > 0 && position < this.#segments.viewSize) {
      const index = this.#segments.find(position);
      const segment = this.#segments.items[index] as Segment;
      const inside = position - segment.viewAt;
      const n = Math.min(left, segment.viewSize - inside);
      if (segment.repacker === 0) await this.#plain(out, to, segment.fileAt + inside, n);
      else {
        const data = this.#unpacked.get(index) ?? (await this.#unpack(index, segment));
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
        page = await this.#reader.read(offset, Math.min(PAGE, this.#reader.size - offset));
        if (this.#pages.size >= PAGES) this.#pages.delete(this.#pages.keys().next().value as number);
        this.#pages.set(index, page);
      }
      const inside = fileAt + done - index * PAGE;
      const n = Math.min(length - done, page.length - inside);
      out.set(page.subarray(inside, inside + n), at + done);
      done += n;
    }
  }

  async #unpack(index: number, segment: Segment): Promise<Uint8Array> {
    this.#budget -= segment.viewSize;
    if (this.#budget < 0) {
      throw new OtaError(
        "FORGE_DAMAGED",
        "the patch unpacks parts of old again and again, far more often than it needs to",
      );
    }
    const packed = await this.#reader.read(segment.fileAt, segment.fileSize);
    let data: Uint8Array;
    try {
      data = await this.#repackers.get(segment.repacker).unpack(packed, segment.viewSize);
    } catch (e) {
      if (!(e instanceof OtaError) || !e.code.startsWith("CODEC_")) throw e;
      const what = "a packed part of old does not unpack";
      throw new OtaError("FORGE_BASE", { what, where: hexOffset(segment.fileAt) }, e);
    }
    while (this.#unpackedBytes > KEPT_UNPACKED) {
      const [oldest, bytes] = this.#unpacked.entries().next().value as [number, Uint8Array];
      this.#unpacked.delete(oldest);
      this.#unpackedBytes -= bytes.length;
    }
    this.#unpacked.set(index, data);
    this.#unpackedBytes += data.length;
    return data;
  }
}
