/** Takes the ranges of a search in order and keeps their covers alone: what formats other than BSDIFF40 are made of. */
import { CoverList } from "../cover-list.ts";
import type { RangeResult } from "./steps.ts";

/** Where results of ranges go, in order of new. */
export interface RangeSink {
  /** Whether it wants difference and extra bytes as well as covers. */
  readonly takesBytes: boolean;
  /** Adds the range at `newAt`; alignments count from `windowAt` in old and from the range's beginning in new. */
  addRange(newAt: number, size: number, windowAt: number, result: RangeResult): void;
}

export class CoverSink implements RangeSink {
  readonly takesBytes = false;
  readonly covers = new CoverList();

  addRange(newAt: number, _size: number, windowAt: number, { covers }: RangeResult): void {
    for (let k = 0; k < covers.length; k += 3) {
      const start = covers[k] as number;
      this.covers.append(newAt + start, windowAt + start + (covers[k + 2] as number), covers[k + 1] as number);
    }
  }
}
