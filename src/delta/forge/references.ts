/**
 * References: words of old that point somewhere in old. When code moves, they change, and how they change follows from where
 * the covers say that their targets went.
 *
 * At each byte of a cover the next four bytes are taken as a displacement from their end, as x86 branches and data accesses
 * have them. In a program few such words point into the file by chance, so no disassembly is needed. Tables of absolute
 * addresses are followed likewise on 4-byte borders.
 */

/** No reference covers the byte. */
export const NO_REFERENCE = 0;
/** Displacement from the end of the word. */
const RELATIVE = 1;
/** Address in the file. */
const ABSOLUTE = 2;

/** A grain nothing is known of. No cover of a window has this shift: views end below 2^53 and shifts are kept modulo 2^32. */
const UNKNOWN = -0x80000000;

/** A table that threads share instead of copying it, where the surroundings have such. */
function sharedTable(length: number): Int32Array {
  const bytes = 4 * length;
  return new Int32Array(
    typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes),
  );
}

/** A {@link ShiftMap} as plain data. */
export interface ShiftMapData {
  readonly mapAt: number;
  readonly mapSize: number;
  readonly grainBits: number;
  readonly shifts: Int32Array;
}

/** Where each part of a stretch of old went: new minus old, modulo 2^32, by grain of 2^grainBits bytes. */
export class ShiftMap {
  readonly #shifts: Int32Array;
  readonly #grainBits: number;
  readonly at: number;
  readonly size: number;

  /** @param shifts the table of a map made elsewhere, to share it between threads */
  constructor(range: { readonly mapAt: number; readonly mapSize: number }, grainBits: number, shifts?: Int32Array) {
    this.at = range.mapAt;
    this.size = range.mapSize;
    this.#grainBits = grainBits;
    this.#shifts = shifts ?? sharedTable(Math.ceil(range.mapSize / 2 ** grainBits) + 1).fill(UNKNOWN);
  }

  /** The map as plain data, for another thread. */
  get data(): ShiftMapData {
    return { mapAt: this.at, mapSize: this.size, grainBits: this.#grainBits, shifts: this.#shifts };
  }

  static of({ grainBits, shifts, ...range }: ShiftMapData): ShiftMap {
    return new ShiftMap(range, grainBits, shifts);
  }

  /** A cover: `size` bytes at `oldAt` went to `newAt`. Longer covers must come later to win. */
  add(oldAt: number, newAt: number, size: number): void {
    const start = Math.max(0, oldAt - this.at);
    const end = Math.min(this.size, oldAt - this.at + size);
    if (end <= start) return;
    const shift = (newAt - oldAt) & -1;
    this.#shifts.fill(
      shift === UNKNOWN ? UNKNOWN + 1 : shift,
      start >>> this.#grainBits,
      ((end - 1) >>> this.#grainBits) + 1,
    );
  }

  /** Shift of the grain at a position counted from the map's beginning; NaN when nothing covers it. */
  shift(position: number): number {
    const shift = this.#shifts[position >>> this.#grainBits] as number;
    return shift === UNKNOWN ? Number.NaN : shift;
  }
}

/** Base 2 logarithm of the learned targets kept, at most. */
const LEARNED_BITS = 16;

export class References {
  readonly #map: ShiftMap | undefined;
  readonly #absoluteBase: number;
  /** Targets whose shift turned out otherwise than the map says (another segment, a symbol that moved). */
  readonly #learned: Int32Array;
  readonly #learnedKey: Int32Array;
  readonly #learnedShift: number;
  /** How often following a reference was right (high) or wrong, by kind and the byte before the word. */
  readonly #trust = new Int16Array(4 * 256);
  /** Kind of the reference the current byte belongs to. */
  kind = NO_REFERENCE;
  /** What the byte is expected to be, with the reference followed or not, as trust has it. */
  choice = 0;
  /** The expectation not chosen. */
  other = 0;
  /** 0 to 31: kind, byte in the word, whether the reference changes and is followed. */
  stateClass = 0;
  #left = 0;
  #word = 0;
  #predicted = 0;
  #actual = 0;
  #target = 0;
  #shiftHere = 0;
  #from = 0;
  #trustAt = 0;
  #isLearned = 0;

  /**
   * @param absoluteBase subtracted from addresses (modulo 2^32) to get offsets in old
   * @param blockSize bytes that will be coded
   */
  constructor(map: ShiftMap | undefined, absoluteBase: number, blockSize: number) {
    this.#map = map;
    const bits = Math.max(6, Math.min(LEARNED_BITS, 30 - Math.clz32(Math.min(blockSize, 2 ** 30))));
    this.#learned = new Int32Array(2 ** bits);
    this.#learnedKey = new Int32Array(2 ** bits).fill(-1);
    this.#learnedShift = 32 - bits;
    this.#absoluteBase = absoluteBase;
  }

  #slot(target: number): number {
    return Math.imul(target, 0x9e3779b1) >>> this.#learnedShift;
  }

  /** Forgets a word in work: the next byte is somewhere else. */
  reset(): void {
    this.#left = 0;
    this.kind = NO_REFERENCE;
    this.stateClass = 0;
  }

  /** Looks at the byte `old[o]`, which lies at `oldAt` in old and goes to `oldAt + shift` in new. */
  advance(old: Uint8Array, o: number, oldAt: number, shift: number): void {
    if (this.#left === 0) this.#begin(old, o, oldAt, shift);
    if (this.kind === NO_REFERENCE) return;
    const k = 4 - this.#left;
    const p = (this.#word >>> (8 * k)) & 255;
    const predicted = (this.#predicted >>> (8 * k)) & 255;
    const follow = (this.#trust[this.#trustAt] as number) >= 0;
    this.choice = follow ? predicted : p;
    this.other = follow ? p : predicted;
    const changes = this.#predicted === this.#word ? 0 : follow ? 1 : 2;
    this.stateClass = 1 + (((this.kind - 1) * 3 + changes) * 2 + this.#isLearned) * 2 + (k === 0 ? 0 : 1);
  }

  #begin(old: Uint8Array, o: number, oldAt: number, shift: number): void {
    const map = this.#map;
    if (map === undefined) return;
    const here = oldAt - map.at;
    if (!(here >= 0 && here < map.size)) return;
    const word =
      (old[o] as number) |
      ((old[o + 1] as number) << 8) |
      ((old[o + 2] as number) << 16) |
      ((old[o + 3] as number) << 24);
    let kind = RELATIVE;
    let target = here + 4 + word;
    if (!(target >= 0 && target < map.size) || word === 0) {
      if ((here & 3) !== 0) return;
      target = (word - this.#absoluteBase - map.at) >>> 0;
      if (target >= map.size || target < 256) return;
      kind = ABSOLUTE;
    }
    const key = this.#slot(target);
    let moved: number;
    if (this.#learnedKey[key] === target) {
      moved = this.#learned[key] as number;
      this.#isLearned = 1;
    } else {
      moved = map.shift(target);
      this.#isLearned = 0;
      if (Number.isNaN(moved)) return;
    }
    this.kind = kind;
    this.#word = word;
    this.#target = target;
    this.#shiftHere = shift & -1;
    this.#from = kind;
    this.#predicted = kind === RELATIVE ? (word + moved - shift) & -1 : (word + moved) & -1;
    this.#actual = 0;
    this.#left = 4;
    this.#trustAt = kind * 256 + (old[o - 1] as number);
  }

  /** Tells what the byte was: `byte` in new, `p` in old. */
  learn(byte: number, _p: number): void {
    if (this.#left === 0) return;
    const k = 4 - this.#left;
    this.#actual |= byte << (8 * k);
    this.#left--;
    if (this.#left > 0) return;
    if (this.#predicted !== this.#word) {
      const t = this.#trust[this.#trustAt] as number;
      if (this.#actual === this.#predicted) this.#trust[this.#trustAt] = Math.min(60, t + 4);
      else if (this.#actual === this.#word) this.#trust[this.#trustAt] = Math.max(-60, t - 4);
    }
    const delta = (this.#actual - this.#word) & -1;
    const moved = this.#from === RELATIVE ? delta + this.#shiftHere : delta;
    const key = this.#slot(this.#target);
    this.#learnedKey[key] = this.#target;
    this.#learned[key] = moved;
    this.kind = NO_REFERENCE;
    this.stateClass = 0;
  }
}
