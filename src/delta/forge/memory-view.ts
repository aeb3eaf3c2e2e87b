/** Views held in memory, for making patches. */
import type { ViewSource } from "./block-coder.ts";
import type { SegmentList } from "./segments.ts";
import type { OpenedPair, Stretches } from "./views.ts";

interface Part {
  readonly at: number;
  readonly bytes: Uint8Array;
}

export class MemoryView implements ViewSource {
  readonly parts: readonly Part[];

  constructor(parts: readonly Part[]) {
    this.parts = parts;
  }

  /** A view whose packed segments have the given contents. */
  static ofContents(
    segments: SegmentList,
    contents: readonly (Uint8Array | undefined)[],
    file: Uint8Array,
  ): MemoryView {
    return new MemoryView(
      segments.items.map((s, i) => ({
        at: s.viewAt,
        bytes: contents[i] ?? file.subarray(s.fileAt, s.fileAt + s.fileSize),
      })),
    );
  }

  /** Old's view: its stretches, and the parts that stay packed between them. */
  static ofStretches(stretches: Stretches, pair: OpenedPair, file: Uint8Array): MemoryView {
    const contents = pair.oldSegments.items.map((s) => (s.repacker === 0 ? undefined : stretches.at(s.viewAt)));
    return MemoryView.ofContents(pair.oldSegments, contents, file);
  }

  #find(at: number): number {
    let low = 0;
    let high = this.parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.parts[middle] as Part).at <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** A copy of `size` bytes at `at`; outside the view zeros. */
  slice(at: number, size: number): Uint8Array {
    const out = new Uint8Array(size);
    this.#copy(out, 0, at, size);
    return out;
  }

  #copy(out: Uint8Array, to: number, from: number, length: number): void {
    let done = 0;
    if (from < 0) done = Math.min(length, -from);
    out.fill(0, to, to + done);
    for (let i = this.parts.length === 0 ? 1 : this.#find(from + done); done < length && i < this.parts.length; i++) {
      const part = this.parts[i] as Part;
      const inside = from + done - part.at;
      if (inside >= part.bytes.length) break;
      const n = Math.min(length - done, part.bytes.length - inside);
      out.set(part.bytes.subarray(inside, inside + n), to + done);
      done += n;
    }
    out.fill(0, to + done, to + length);
  }

  async copy(out: Uint8Array, at: number, from: number, length: number): Promise<void> {
    this.#copy(out, at, from, length);
  }
}
