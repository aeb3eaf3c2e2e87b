/** Covers: which stretches of new line up with which stretches of old. */

/** Covers in order of new, not overlapping there. Positions and sizes are bytes, exact to 2^53-1. */
export class CoverList {
  #values: Float64Array = new Float64Array(3 * 64);
  count = 0;

  add(newAt: number, oldAt: number, size: number): void {
    if (3 * (this.count + 1) > this.#values.length) {
      const grown = new Float64Array(2 * this.#values.length);
      grown.set(this.#values);
      this.#values = grown;
    }
    const at = 3 * this.count++;
    this.#values[at] = newAt;
    this.#values[at + 1] = oldAt;
    this.#values[at + 2] = size;
  }

  /** Like {@link add}, but a cover that goes on where the last one ends makes that one longer. */
  append(newAt: number, oldAt: number, size: number): void {
    const last = this.count - 1;
    if (last >= 0 && this.newEnd(last) === newAt && this.oldAt(last) + this.size(last) === oldAt) {
      const at = 3 * last + 2;
      this.#values[at] = (this.#values[at] as number) + size;
    } else this.add(newAt, oldAt, size);
  }

  newAt(i: number): number {
    return this.#values[3 * i] as number;
  }

  oldAt(i: number): number {
    return this.#values[3 * i + 1] as number;
  }

  size(i: number): number {
    return this.#values[3 * i + 2] as number;
  }

  newEnd(i: number): number {
    return this.newAt(i) + this.size(i);
  }

  /** Index of the first cover that ends behind `at`. */
  firstEndingBehind(at: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.newEnd(middle) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The covers of a block and its neighbours, one on each side: all that coding the block looks at. */
  around(from: number, to: number): CoverList {
    const out = new CoverList();
    const first = Math.max(0, this.firstEndingBehind(from) - 1);
    for (let i = first; i < this.count; i++) {
      out.add(this.newAt(i), this.oldAt(i), this.size(i));
      if (this.newAt(i) >= to) break;
    }
    return out;
  }

  /** All covers as triples of new position, old position and size. */
  triples(): Float64Array {
    return this.#values.slice(0, 3 * this.count);
  }

  static of(triples: Float64Array): CoverList {
    const out = new CoverList();
    out.#values = triples;
    out.count = triples.length / 3;
    return out;
  }

  /** What of the covers lies in `[from, to)` of new, cut at its ends. */
  between(from: number, to: number): CoverList {
    const out = new CoverList();
    for (let i = this.firstEndingBehind(from); i < this.count && this.newAt(i) < to; i++) {
      const start = Math.max(from, this.newAt(i));
      out.add(start, this.oldAt(i) + start - this.newAt(i), Math.min(to, this.newEnd(i)) - start);
    }
    return out;
  }
}
