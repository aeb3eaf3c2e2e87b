/** Old as pages: most reads of a patch are near one another, and a call to the system for each would cost more than the rest. */
import type { RandomReader } from "../../core/ports.ts";

const PAGE_SIZE = 65536;
/** Pages kept: 2 MiB. */
const PAGES = 32;

export class PagedReader {
  readonly #reader: RandomReader;
  readonly #pages = new Map<number, Uint8Array>();
  #page: Uint8Array = new Uint8Array(0);
  #index = -1;

  constructor(reader: RandomReader) {
    this.#reader = reader;
  }

  /**
   * Adds up to `length` bytes at `from` to `bytes` at `at`, modulo 256. Outside the reader everything is 0.
   * @returns how many bytes are done; 0 when {@link load} of `from` has to be awaited first
   */
  addTo(bytes: Uint8Array, at: number, from: number, length: number): number {
    if (from < 0) return Math.min(length, -from);
    if (from >= this.#reader.size) return length;
    const index = Math.floor(from / PAGE_SIZE);
    if (index !== this.#index) {
      const page = this.#pages.get(index);
      if (page === undefined) return 0;
      this.#page = page;
      this.#index = index;
    }
    const page = this.#page;
    const start = from - index * PAGE_SIZE;
    const n = Math.min(length, page.length - start);
    // A typed array keeps the low 8 bits of the sum.
    for (let i = 0; i < n; i++) bytes[at + i] = (bytes[at + i] as number) + (page[start + i] as number);
    return n;
  }

  /** Reads the page of `from` in. */
  async load(from: number): Promise<void> {
    const index = Math.floor(from / PAGE_SIZE);
    const offset = index * PAGE_SIZE;
    const page = await this.#reader.read(offset, Math.min(PAGE_SIZE, this.#reader.size - offset));
    if (this.#pages.size >= PAGES) {
      for (const oldest of this.#pages.keys()) {
        this.#pages.delete(oldest);
        break;
      }
    }
    this.#pages.set(index, page);
  }
}
