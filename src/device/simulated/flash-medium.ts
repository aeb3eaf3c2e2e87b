/**
 * Raw flash: programmed in pages after an erase, without a cache. A cut inside a page leaves it unreadable on NAND (its ECC
 * does not fit) and half-programmed on NOR; a cut inside an erase leaves a block of which nothing is known.
 */
import type { Loss, Medium } from "./medium.ts";
import { eachPiece } from "./operations.ts";
import type { SimulatedWrite } from "./operations.ts";
import type { PagedBytes } from "./paged-bytes.ts";
import type { Random } from "./random.ts";

export interface FlashGeometry {
  readonly nand: boolean;
  readonly eraseSize: number;
  readonly writeSize: number;
}

export class FlashMedium implements Medium {
  readonly geometry: FlashGeometry;
  readonly content: PagedBytes;
  /** Numbers of bad erase blocks. */
  readonly bad: Set<number>;
  /** Offsets of pages that cannot be read until their block is erased. */
  readonly unreadable: Set<number>;

  constructor(geometry: FlashGeometry, content: PagedBytes, bad: Iterable<number>, unreadable: Iterable<number> = []) {
    this.geometry = geometry;
    this.content = content;
    this.bad = new Set(bad);
    this.unreadable = new Set(unreadable);
  }

  apply(op: SimulatedWrite): void {
    if (op.kind === "program") this.content.write(op.offset, op.bytes);
    else if (op.kind === "mark-bad") this.bad.add(Math.floor(op.offset / this.geometry.eraseSize));
    else if (op.kind === "erase") {
      this.content.clear(op.offset, op.length);
      for (const page of this.unreadable) {
        if (page >= op.offset && page < op.offset + op.length) this.unreadable.delete(page);
      }
    }
  }

  lose({ random, torn }: Loss): void {
    if (torn?.kind === "program") this.#tearProgram(torn.offset, torn.bytes, random);
    if (torn?.kind === "erase") this.#tearErase(torn.offset, torn.length, random);
  }

  #tearProgram(offset: number, bytes: Uint8Array, random: Random): void {
    const { nand, writeSize } = this.geometry;
    // Pages are programmed in order; on NOR the smallest unit is a byte, torn units are counted in 16.
    const unit = nand ? writeSize : 16;
    let whole = random.below(Math.ceil(bytes.length / unit));
    eachPiece(offset, bytes.length, unit, (at, size) => {
      const part = bytes.subarray(at - offset, at - offset + size);
      if (whole > 0) this.content.write(at, part);
      else if (whole === 0) this.#damage(at, part, random);
      whole--;
    });
  }

  /** A unit in which some bits have gone to zero and others have not yet. */
  #damage(at: number, bytes: Uint8Array, random: Random): void {
    const before = this.content.read(at, bytes.length);
    this.content.write(
      at,
      bytes.map((b, i) => (b | random.next()) & (before[i] as number) & 0xff),
    );
    if (this.geometry.nand) this.unreadable.add(at);
  }

  #tearErase(offset: number, length: number, random: Random): void {
    const { eraseSize, writeSize } = this.geometry;
    let whole = random.below(Math.ceil(length / eraseSize));
    eachPiece(offset, length, eraseSize, (block) => {
      if (whole > 0) this.apply({ kind: "erase", offset: block, length: eraseSize, medium: 0, where: "", timeMs: 0 });
      else if (whole === 0) {
        eachPiece(block, eraseSize, writeSize, (at, size) => {
          const before = this.content.read(at, size);
          this.content.write(
            at,
            before.map((b) => (b | random.next()) & 0xff),
          );
          if (this.geometry.nand) this.unreadable.add(at);
        });
      }
      whole--;
    });
  }

  fork(): FlashMedium {
    return new FlashMedium(this.geometry, this.content.fork(), this.bad, this.unreadable);
  }
}
