/** Old as pages: most reads of a patch are near one another, and a call to the system for each would cost more than the rest. */
import type { RandomReader } from "../../core/ports.ts";
import type { Core } from "../core-calls.ts";

const PAGE_SIZE = 32768;
const PAGES = 8;

/** Bytes of core memory for the pages. */
export const PAGES_SIZE = PAGE_SIZE * PAGES;

export class PagedReader {
  readonly #reader: RandomReader;
  readonly #core: Core;
  readonly #base: number;
  readonly #memory: Uint8Array;
  /** Slot of each page that is there, the one read first in front. */
  readonly #slots = new Map<number, number>();
  #index = -1;
  #address = 0;

  /** `base`: address of {@link PAGES_SIZE} bytes in the core's memory. */
  constructor(reader: RandomReader, core: Core, base: number) {
    this.#reader = reader;
    this.#core = core;
    this.#base = base;
    this.#memory = new Uint8Array(core.buffer, base, PAGES_SIZE);
  }

  /**
   * Adds up to `length` bytes at `from` to those at address `to`, modulo 256. Outside the reader everything is 0.
   * @returns how many bytes are done; 0 when {@link load} of `from` has to be awaited first
   */
  addTo(to: number, from: number, length: number): number {
    if (from < 0) return Math.min(length, -from);
    if (from >= this.#reader.size) return length;
    const index = Math.floor(from / PAGE_SIZE);
    if (index !== this.#index) {
      const slot = this.#slots.get(index);
      if (slot === undefined) return 0;
      this.#index = index;
      this.#address = this.#base + slot * PAGE_SIZE;
    }
    const start = from - index * PAGE_SIZE;
    const n = Math.min(length, PAGE_SIZE - start, this.#reader.size - from);
    this.#core.addBytes(to, this.#address + start, n);
    return n;
  }

  /** Reads the page of `from` in. */
  async load(from: number): Promise<void> {
    const index = Math.floor(from / PAGE_SIZE);
    const offset = index * PAGE_SIZE;
    const size = Math.min(PAGE_SIZE, this.#reader.size - offset);
    let slot = this.#slots.size;
    if (slot === PAGES) {
      const [oldest, its] = this.#slots.entries().next().value as [number, number];
      this.#slots.delete(oldest);
      slot = its;
    }
    const target = this.#memory.subarray(slot * PAGE_SIZE, slot * PAGE_SIZE + size);
    if (this.#reader.readInto === undefined) target.set(await this.#reader.read(offset, size));
    else await this.#reader.readInto(offset, target);
    this.#slots.set(index, slot);
    this.#index = -1;
  }
}
