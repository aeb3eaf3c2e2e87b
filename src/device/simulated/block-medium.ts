/** Block devices: a volatile cache in front of sectors that are each written whole or not at all. */
import type { Loss, Medium } from "./medium.ts";
import { eachPiece } from "./operations.ts";
import type { SimulatedWrite } from "./operations.ts";
import type { PagedBytes } from "./paged-bytes.ts";

/** Unit that a power cut never splits, bytes. */
export const SECTOR = 512;

type Write = Extract<SimulatedWrite, { kind: "write" }>;

export class BlockMedium implements Medium {
  readonly #sector: number;
  #visible: PagedBytes;
  #durable: PagedBytes;
  #pending: Write[];

  constructor(content: PagedBytes, sector = SECTOR, durable = content.fork(), pending: Write[] = []) {
    this.#sector = sector;
    this.#visible = content;
    this.#durable = durable;
    this.#pending = pending;
  }

  get content(): PagedBytes {
    return this.#visible;
  }

  apply(op: SimulatedWrite): void {
    if (op.kind === "write") {
      this.#visible.write(op.offset, op.bytes);
      this.#pending.push(op);
    } else if (op.kind === "flush") {
      // Everything pending becomes durable together, so the visible pages are the durable ones.
      for (const { offset, bytes } of this.#pending) this.#durable.adopt(this.#visible, offset, bytes.length);
      this.#pending = [];
    }
  }

  lose({ unflushed, random, torn }: Loss): void {
    const keep = (op: Write, sectorStays: () => boolean): void => {
      eachPiece(op.offset, op.bytes.length, this.#sector, (at, size) => {
        if (sectorStays()) this.#durable.write(at, op.bytes.subarray(at - op.offset, at - op.offset + size));
      });
    };
    if (unflushed === "kept") for (const op of this.#pending) keep(op, () => true);
    if (unflushed === "some") {
      // Half of the writes lose or keep everything, the others are split: both kinds of reordering are seen often.
      for (const op of this.#pending) {
        const style = random.below(4);
        keep(op, () => (style === 0 ? false : style === 1 ? true : random.chance()));
      }
    }
    if (torn?.kind === "write") {
      if (unflushed === "some") keep(torn, () => random.chance());
      else {
        let left = random.below(Math.ceil(torn.bytes.length / this.#sector)) + 1;
        keep(torn, () => --left >= 0);
      }
    }
    this.#pending = [];
    this.#visible = this.#durable.fork();
  }

  fork(): BlockMedium {
    return new BlockMedium(this.#visible.fork(), this.#sector, this.#durable.fork(), this.#pending.slice());
  }
}
