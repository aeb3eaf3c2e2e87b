/** Seeded randomness: the same seed gives the same rehearsal on every machine. */

function mix(h: number): number {
  let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** One seed of several numbers, so that every cut has its own stream whatever was drawn before. */
export function mixSeed(...parts: readonly number[]): number {
  let h = 0x9e3779b9;
  for (const part of parts) h = mix((h + Math.imul(part >>> 0, 0x9e3779b1) + 0x7f4a7c15) >>> 0);
  return h;
}

/** A small generator (mulberry32). Not for secrets. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to 2^32-1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to `count`-1. */
  below(count: number): number {
    return this.next() % count;
  }

  chance(): boolean {
    return this.next() >= 0x80000000;
  }
}
