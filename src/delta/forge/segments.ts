/** Segments: how a file is made of plain and packed parts, and its view, in which the packed parts are unpacked. */
import { OtaError } from "../../core/errors.ts";
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
