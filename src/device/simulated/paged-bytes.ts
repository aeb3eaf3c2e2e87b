/**
 * Content in pages that many device states share: a fork costs nothing until one side writes, and then one page.
 * A rehearsal forks a device at every write, so this is what its speed stands on.
 */

/** Bytes of a page. */
export const PAGE = 4096;

type Page = Uint8Array | undefined;

export class PagedBytes {
  /** What a page that was never written holds. */
  readonly fill: number;
  #size: number;
  #table: Page[];
  #tableShared = false;
  /** 1 for pages only this object refers to, which may be written in place. */
  #owned: Uint8Array | undefined;

  constructor(size: number, fill = 0) {
    this.fill = fill;
    this.#size = size;
    this.#table = [];
  }

  /** Content of `size` bytes that begins with `bytes`. The array is kept and must not change any more. */
  static from(bytes: Uint8Array, size = bytes.length, fill = 0): PagedBytes {
    const out = new PagedBytes(size, fill);
    out.write(0, bytes);
    return out;
  }

  get size(): number {
    return this.#size;
  }

  /** The page that holds the byte at `offset`; undefined when it was never written. Not to be changed. */
  page(offset: number): Uint8Array | undefined {
    return this.#table[Math.floor(offset / PAGE)];
  }

  fork(): PagedBytes {
    const twin = new PagedBytes(this.#size, this.fill);
    twin.#table = this.#table;
    twin.#tableShared = this.#tableShared = true;
    this.#owned = undefined;
    return twin;
  }

  #own(): void {
    if (!this.#tableShared) return;
    this.#table = this.#table.slice();
    this.#tableShared = false;
  }

  /** A copy of `length` bytes at `offset`; the caller has checked the range. */
  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const at = offset + done;
      const inPage = at % PAGE;
      const n = Math.min(PAGE - inPage, length - done);
      const page = this.#table[Math.floor(at / PAGE)];
      if (page !== undefined) out.set(page.subarray(inPage, inPage + n), done);
      else if (this.fill !== 0) out.fill(this.fill, done, done + n);
      done += n;
    }
    return out;
  }

  /** Whether all bytes of a range are `value`. */
  isAll(value: number, offset: number, length: number): boolean {
    for (let done = 0; done < length;) {
      const at = offset + done;
      const inPage = at % PAGE;
      const n = Math.min(PAGE - inPage, length - done);
      const page = this.#table[Math.floor(at / PAGE)];
      if (page === undefined) {
        if (this.fill !== value) return false;
      } else {
        for (let i = inPage; i < inPage + n; i++) if (page[i] !== value) return false;
      }
      done += n;
    }
    return true;
  }

  /** Writes and grows when needed. Whole pages of `bytes` are referred to, not copied: the array must not change any more. */
  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#own();
    for (let done = 0; done < bytes.length;) {
      const at = offset + done;
      const inPage = at % PAGE;
      const n = Math.min(PAGE - inPage, bytes.length - done);
      const index = Math.floor(at / PAGE);
      if (n === PAGE) {
        this.#table[index] = bytes.subarray(done, done + PAGE);
        if (this.#owned !== undefined && index < this.#owned.length) this.#owned[index] = 0;
      } else {
        this.#writablePage(index).set(bytes.subarray(done, done + n), inPage);
      }
      done += n;
    }
    this.#size = Math.max(this.#size, offset + bytes.length);
  }

  #writablePage(index: number): Uint8Array {
    const page = this.#table[index];
    if (page !== undefined && this.#owned?.[index] === 1) return page;
    const copy = new Uint8Array(PAGE);
    if (page !== undefined) copy.set(page);
    else if (this.fill !== 0) copy.fill(this.fill);
    this.#table[index] = copy;
    if (this.#owned === undefined || index >= this.#owned.length) {
      const grown = new Uint8Array(Math.max(index + 1, this.#table.length));
      if (this.#owned !== undefined) grown.set(this.#owned);
      this.#owned = grown;
    }
    this.#owned[index] = 1;
    return copy;
  }

  /** Sets a range back to the fill value, by whole pages where possible. */
  clear(offset: number, length: number): void {
    this.#own();
    for (let done = 0; done < length;) {
      const at = offset + done;
      const inPage = at % PAGE;
      const n = Math.min(PAGE - inPage, length - done);
      const index = Math.floor(at / PAGE);
      if (n === PAGE) this.#table[index] = undefined;
      else if (this.#table[index] !== undefined) this.#writablePage(index).fill(this.fill, inPage, inPage + n);
      done += n;
    }
  }

  resize(size: number): void {
    if (size < this.#size) {
      this.#own();
      const pages = Math.ceil(size / PAGE);
      if (size % PAGE !== 0 && this.#table[pages - 1] !== undefined) {
        this.#writablePage(pages - 1).fill(this.fill, size % PAGE);
      }
      if (this.#table.length > pages) this.#table.length = pages;
    }
    this.#size = size;
  }

  /** Takes the bytes of `other` in a range, page by page without copying; pages that reach beyond the range come whole. */
  adopt(other: PagedBytes, offset: number, length: number): void {
    if (length === 0) return;
    this.#own();
    const last = Math.floor((offset + length - 1) / PAGE);
    for (let index = Math.floor(offset / PAGE); index <= last; index++) {
      this.#table[index] = other.#table[index];
      if (this.#owned !== undefined && index < this.#owned.length) this.#owned[index] = 0;
      if (other.#owned !== undefined && index < other.#owned.length) other.#owned[index] = 0;
    }
  }
}

/** Whether both hold the same bytes in a range. Pages that are shared are equal without a look. */
export function samePages(a: PagedBytes, b: PagedBytes, offset: number, length: number): boolean {
  for (let done = 0; done < length;) {
    const at = offset + done;
    const inPage = at % PAGE;
    const n = Math.min(PAGE - inPage, length - done);
    const [x, y] = [a.page(at), b.page(at)];
    if (x !== y || (x === undefined && a.fill !== b.fill)) {
      if (!sameRange(x, y, a.fill, b.fill, inPage, n)) return false;
    }
    done += n;
  }
  return true;
}

function sameRange(x: Page, y: Page, fillX: number, fillY: number, from: number, length: number): boolean {
  const whole = x !== undefined && y !== undefined && from % 4 === 0 && length % 4 === 0;
  if (whole && x.byteOffset % 4 === 0 && y.byteOffset % 4 === 0) {
    const a = new Uint32Array(x.buffer, x.byteOffset + from, length / 4);
    const b = new Uint32Array(y.buffer, y.byteOffset + from, length / 4);
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
    return true;
  }
  for (let i = from; i < from + length; i++) if ((x?.[i] ?? fillX) !== (y?.[i] ?? fillY)) return false;
  return true;
}
