/** What a block reads of old: the same walk as `block-coder.ts`, without bytes. */
import type { CoverList } from "../cover-list.ts";
import { unionOf, type ByteRange } from "../ranges.ts";
import { MARGIN } from "./block-model.ts";
import type { ViewRange } from "./plan.ts";
import type { SegmentList } from "./segments.ts";

/** Ranges of the old file behind a range of its view; packed parts count whole. */
function fileRanges(segments: SegmentList, from: number, to: number): ByteRange[] {
  const out: ByteRange[] = [];
  for (let i = segments.find(from); i < segments.items.length; i++) {
    const s = segments.items[i];
    if (s === undefined || s.viewAt >= to) break;
    if (s.repacker !== 0) out.push({ at: s.fileAt, end: s.fileAt + s.fileSize });
    else {
      const a = Math.max(from, s.viewAt) - s.viewAt;
      const b = Math.min(to, s.viewAt + s.viewSize) - s.viewAt;
      out.push({ at: s.fileAt + a, end: s.fileAt + b });
    }
  }
  return out;
}

/** Ranges of old's view that coding a block reads. */
export function viewReadsOf(covers: CoverList, block: ViewRange, oldViewSize: number): ByteRange[] {
  const start = block.viewAt;
  const end = start + block.viewSize;
  const ranges: ByteRange[] = [];
  const view = (from: number, size: number): void => {
    const at = Math.max(0, from);
    const to = Math.min(oldViewSize, from + size);
    if (to > at) ranges.push({ at, end: to });
  };
  let at = start;
  let index = covers.firstEndingBehind(start);
  let oldEnd =
    index > 0 ? covers.oldAt(index - 1) + covers.size(index - 1) + (start - covers.newEnd(index - 1)) : start;
  const literals = (to: number, oldNext: number): void => {
    view(oldEnd, to - at);
    view(oldNext - (to - at), to - at);
    oldEnd += to - at;
    at = to;
  };
  for (; index < covers.count && covers.newAt(index) < end; index++) {
    const newAt = covers.newAt(index);
    const shift = newAt - covers.oldAt(index);
    if (newAt > at) literals(newAt, newAt - shift);
    const stop = Math.min(end, covers.newEnd(index));
    view(at - shift - MARGIN, stop - at + 2 * MARGIN);
    at = stop;
    oldEnd = stop - shift;
  }
  const next = index < covers.count ? covers.oldAt(index) - (covers.newAt(index) - end) : oldEnd + (end - at);
  if (end > at) literals(end, next);
  return unionOf(ranges);
}

/** Ranges of the old file that decoding a block reads; in-place installs must keep exactly these. */
export function readsOf(covers: CoverList, block: ViewRange, oldSegments: SegmentList): ByteRange[] {
  const ranges = viewReadsOf(covers, block, oldSegments.viewSize);
  return unionOf(ranges.flatMap(({ at, end }) => fileRanges(oldSegments, at, end)));
}
