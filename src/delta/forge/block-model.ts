/**
 * The model of a block's bytes: what is probable given old, the covers and everything coded before.
 *
 * A *cover* says that a stretch of new lines up with a stretch of old. Inside one, a decision says whether the byte is the
 * expected one, and only when it is not the byte itself is coded, as its difference to old. Between covers lie literals, coded
 * from what was before them and from old as it continues behind the last cover and before the next one.
 */
import type { BinaryCoder } from "./arithmetic.ts";
import { ByteMixer, FlagMixer, hash2, hash3 } from "./mixing.ts";
import { NO_REFERENCE, type References } from "./references.ts";

/** Bytes of old a piece brings along before its first and behind its last byte; what contexts look at. */
export const MARGIN = 16;

/** After so many expected bytes in a row, whole stretches are asked about. */
const LONG_RUN = 256;
const STRETCH_SIZE = 32;

const RUN_CLASS = Uint8Array.from({ length: 257 }, (_, n) =>
  n < 4 ? n : n < 6 ? 4 : n < 8 ? 5 : n < 12 ? 6 : n < 16 ? 7 : n < 32 ? 8 : n < 64 ? 9 : n < 256 ? 10 : 11,
);

function logClass(n: number): number {
  return n === 0 ? 0 : 32 - Math.clz32(n);
}

/** Base 2 logarithm of the literals kept for finding repeats, at most. */
const HISTORY_BITS = 20;

/** Base 2 logarithms of a block's tables: no larger than the block gives reason to, so that small blocks start quickly. */
function tableSizes(blockSize: number, tableBits: number) {
  const size = Math.max(8, logClass(Math.min(blockSize, 2 ** 30)));
  const bytes = Math.max(10, Math.min(tableBits, size + 3));
  return {
    bytes,
    flags: Math.max(8, Math.min(18, bytes - 3)),
    history: Math.min(HISTORY_BITS, size),
    repeats: Math.min(16, size),
  };
}

export class BlockModel {
  readonly #coder: BinaryCoder;
  readonly #references: References;
  readonly #flags: FlagMixer;
  readonly #misses: ByteMixer;
  readonly #literals: ByteMixer;
  readonly #stretchSlots: FlagMixer;

  // State of the running cover.
  #run = 0;
  #missRow = 0;
  #gap = 0;
  #lastGap = 0;
  #age = 0;
  #missRate = 0;
  readonly #diffs = new Uint8Array(64);
  #diffAt = 0;
  #d1 = 0;
  #d2 = 0;
  #d3 = 0;
  #carry = 0;
  #coverClass = 0;
  #stretches = 0;
  /** Differences of the last changed fields, by position in the field. */
  readonly #lastField = new Uint8Array(8);
  readonly #fieldBefore = new Uint8Array(8);

  // Literals.
  readonly #history: Uint8Array;
  #historySize = 0;
  readonly #repeats: Int32Array;
  readonly #repeatShift: number;
  #repeatFrom = -1;
  #repeatSize = 0;
  /** Last bytes of new, whether literal or covered. */
  #recent = 0;
  #older = 0;

  /** @param blockSize bytes the model will code; with `tableBits` it sets the size of its tables */
  constructor(coder: BinaryCoder, references: References, tableBits: number, blockSize: number) {
    const bits = tableSizes(blockSize, tableBits);
    this.#history = new Uint8Array(2 ** bits.history);
    this.#repeats = new Int32Array(2 ** bits.repeats).fill(-1);
    this.#repeatShift = 32 - bits.repeats;
    this.#coder = coder;
    this.#references = references;
    this.#flags = new FlagMixer(coder, 9, { bits: bits.flags, sets: 128, corrections: 1024 });
    this.#stretchSlots = new FlagMixer(coder, 3, { bits: 8, sets: 1, corrections: 1 });
    this.#misses = new ByteMixer(coder, 9, { bits: bits.bytes, sets: 32, limit: 60 });
    this.#literals = new ByteMixer(coder, 9, { bits: bits.bytes, sets: 16, limit: 120 });
  }

  /** A new cover of `size` bytes begins. */
  startCover(size: number): void {
    this.#run = 0;
    this.#missRow = 0;
    this.#gap = 0;
    this.#age = 0;
    this.#diffs.fill(0);
    this.#d1 = this.#d2 = this.#d3 = this.#carry = 0;
    this.#coverClass = logClass(size);
    this.#references.reset();
  }

  #note(byte: number): void {
    this.#older = ((this.#older << 8) | (this.#recent >>> 24)) >>> 0;
    this.#recent = ((this.#recent << 8) | byte) >>> 0;
  }

  /**
   * Codes bytes of a cover. `out[at..at+size)` are the bytes of new (read when encoding, written when decoding);
   * `old[MARGIN + i]` is what lines up with `out[at + i]`, with MARGIN bytes of old around. `oldAt` and `shift` (new minus
   * old) say where the piece lies.
   */
  codeCover(
    out: Uint8Array,
    [at, size]: readonly [number, number],
    old: Uint8Array,
    [oldAt, shift]: readonly [number, number],
  ) {
    for (let i = 0; i < size;) {
      if (this.#run >= LONG_RUN && size - i >= STRETCH_SIZE && this.#codeStretch(out, at + i, old, MARGIN + i)) {
        i += STRETCH_SIZE;
        continue;
      }
      this.#codeByte(out, at + i, old, MARGIN + i, oldAt + i, shift);
      i++;
    }
  }

  #codeStretch(out: Uint8Array, at: number, old: Uint8Array, o: number): boolean {
    const decoding = this.#coder.decoding;
    let same = 1;
    if (!decoding) {
      for (let k = 0; k < STRETCH_SIZE && same === 1; k++) if (out[at + k] !== old[o + k]) same = 0;
    }
    const stretch = this.#stretchSlots;
    stretch.contexts[0] = Math.min(this.#stretches, 100);
    stretch.contexts[1] = logClass(this.#run);
    stretch.contexts[2] = this.#coverClass;
    same = stretch.code(same, 0, 0);
    if (same === 0) {
      this.#run = 128;
      this.#stretches = 0;
      return false;
    }
    if (decoding) out.set(old.subarray(o, o + STRETCH_SIZE), at);
    this.#run += STRETCH_SIZE;
    this.#gap += STRETCH_SIZE;
    this.#age += STRETCH_SIZE;
    this.#stretches++;
    this.#diffs.fill(0);
    const end = o + STRETCH_SIZE;
    this.#recent =
      ((old[end - 1] as number) |
        ((old[end - 2] as number) << 8) |
        ((old[end - 3] as number) << 16) |
        ((old[end - 4] as number) << 24)) >>>
      0;
    this.#references.reset();
    return true;
  }

  #codeByte(out: Uint8Array, at: number, old: Uint8Array, o: number, oldAt: number, shift: number): void {
    const refs = this.#references;
    const p = old[o] as number;
    refs.advance(old, o, oldAt, shift);
    const kind = refs.kind;
    const expected = kind === NO_REFERENCE ? p : refs.choice;
    const run = this.#run;
    const runClass = RUN_CLASS[run > 256 ? 256 : run] as number;
    const dAt = this.#diffAt;
    const diffs = this.#diffs;
    const d8 = diffs[(dAt - 8) & 63] as number;
    const d24 = diffs[(dAt - 24) & 63] as number;
    const d16 = diffs[(dAt - 16) & 63] as number;
    const d4 = diffs[(dAt - 4) & 63] as number;
    const before = old[o - 1] as number;
    const missRow = this.#missRow;
    const stateClass = refs.stateClass;
    const word =
      ((old[o] as number) |
        ((old[o + 1] as number) << 8) |
        ((old[o + 2] as number) << 16) |
        ((old[o + 3] as number) << 24)) >>>
      0;
    const contexts = this.#flags.contexts;
    const run3 = run > 3 ? 3 : run;
    contexts[0] = ((stateClass * 12 + runClass) << 3) | (missRow > 3 ? 3 : missRow) | (this.#carry << 2);
    contexts[1] = hash3(before | (p << 8), (run > 2 ? 2 : run) | (stateClass << 2), missRow);
    contexts[2] = hash3(this.#d1 | (this.#d2 << 8) | (this.#d3 << 16), this.#carry | (runClass << 1), stateClass);
    contexts[3] = hash3(word, before | ((old[o - 2] as number) << 8), run3);
    contexts[4] = hash3(d8 | (d16 << 8) | (d24 << 16), (d4 === 0 ? 0 : 1) | (run3 << 1), stateClass);
    contexts[5] = hash3(word, run3, stateClass);
    contexts[6] = hash3(this.#gap > 63 ? 63 : this.#gap, this.#lastGap > 63 ? 63 : this.#lastGap, stateClass);
    contexts[7] = hash3(this.#coverClass | (logClass(this.#age) << 5), this.#missRate >> 11, stateClass);
    contexts[8] = hash3(before | ((old[o - 2] as number) << 8) | ((old[o - 3] as number) << 16), run3, stateClass);
    const set = (stateClass << 2) | run3;
    let hit = out[at] === expected ? 1 : 0;
    hit = this.#flags.code(hit, set, ((stateClass * 12 + runClass) * 2 + this.#carry) & 1023);
    let byte: number;
    if (hit === 1) byte = expected;
    else byte = this.#codeMiss(out[at] as number, p, expected, old, o, d8, d16, d24, d4);
    out[at] = byte;
    const d = (byte - p) & 255;
    refs.learn(byte, p);
    // State.
    diffs[dAt & 63] = d;
    this.#diffAt = (dAt + 1) & 63;
    this.#d3 = this.#d2;
    this.#d2 = this.#d1;
    this.#d1 = d;
    this.#carry = p + d + 0 > 255 ? 1 : 0;
    this.#note(byte);
    this.#age++;
    this.#missRate += ((d === 0 ? 0 : 65535) - this.#missRate) >> 5;
    if (d === 0) {
      this.#run++;
      this.#missRow = 0;
      this.#gap++;
    } else {
      const k = missRow & 7;
      if (k === 0) this.#fieldBefore.set(this.#lastField);
      this.#lastField[k] = d;
      this.#missRow = missRow + 1;
      if (run > 0) {
        this.#lastGap = this.#gap;
        this.#gap = 0;
      }
      this.#run = 0;
    }
  }

  #codeMiss(
    byte: number,
    p: number,
    expected: number,
    old: Uint8Array,
    o: number,
    d8: number,
    d16: number,
    d24: number,
    d4: number,
  ): number {
    const misses = this.#misses;
    const contexts = misses.contexts;
    const refs = this.#references;
    const row = this.#missRow > 3 ? 3 : this.#missRow;
    const excluded = (expected - p) & 255;
    const guess = refs.kind === NO_REFERENCE ? 0 : (refs.other - p) & 255;
    const run2 = this.#run > 2 ? 2 : this.#run;
    contexts[0] = hash3(guess | (refs.stateClass << 8), excluded, row);
    contexts[1] = hash3(this.#d1 | (this.#d2 << 8), row | (this.#carry << 3), 1);
    contexts[2] = hash3(p, this.#d1 | (this.#carry << 8) | (row << 9), 2);
    contexts[3] = hash3(d8 | (d16 << 8), d4, 3);
    contexts[4] = hash3(d24, d16 | (this.#d1 << 8), 4);
    contexts[5] = hash3(p | ((old[o - 1] as number) << 8) | ((old[o + 1] as number) << 16), run2, 5);
    contexts[6] = hash3(this.#recent & 0xffff, p, 6);
    contexts[7] = hash3(
      (this.#lastField[row] as number) | ((this.#fieldBefore[row] as number) << 8),
      row | (this.#d1 << 8),
      7,
    );
    contexts[8] = hash3(
      (old[o] as number) |
        ((old[o + 1] as number) << 8) |
        ((old[o + 2] as number) << 16) |
        ((old[o + 3] as number) << 24),
      row,
      8,
    );
    misses.expected = guess;
    misses.sureness = refs.kind === NO_REFERENCE ? 0 : 1 + (refs.stateClass & 7);
    const d = misses.code((byte - p) & 255, row * 3 + run2 + (refs.kind === NO_REFERENCE ? 0 : 12), row);
    return (p + d) & 255;
  }

  /**
   * Codes literals. `behind` holds old as it continues after the last cover, `ahead` old as it comes before the next one,
   * both lined up with `out[at..at+size)`.
   */
  codeLiterals(out: Uint8Array, [at, size]: readonly [number, number], behind: Uint8Array, ahead: Uint8Array): void {
    const literals = this.#literals;
    const contexts = literals.contexts;
    const history = this.#history;
    const mask = history.length - 1;
    for (let i = 0; i < size; i++) {
      const recent = this.#recent;
      const g1 = behind[i] ?? 0;
      const g2 = ahead[i] ?? 0;
      contexts[0] = hash2(recent & 0xff, 20);
      contexts[1] = hash2(recent & 0xffff, 21);
      contexts[2] = hash2(recent & 0xffffff, 22);
      contexts[3] = hash2(recent, 23);
      contexts[4] = hash3(recent, this.#older & 0xffff, 24);
      contexts[5] = hash3(g1, recent & 0xff, 25);
      contexts[6] = hash3(g2, recent & 0xff, 26);
      contexts[7] = hash3(g1, g2, 27);
      contexts[8] = hash2(recent & 0xf8ff00, 28);
      let repeat = this.#repeatSize;
      if (repeat > 0) literals.expected = history[this.#repeatFrom & mask] as number;
      literals.sureness =
        repeat === 0 ? 0 : repeat < 16 ? Math.min(15, 1 + (repeat >> 1)) : Math.min(15, 8 + (repeat >> 3));
      const byte = literals.code(
        out[at + i] as number,
        repeat === 0 ? 0 : Math.min(15, 1 + (repeat >> 1)),
        repeat === 0 ? 0 : 1,
      );
      out[at + i] = byte;
      if (repeat > 0 && literals.expected === byte) {
        repeat = Math.min(65535, repeat + 1);
        this.#repeatFrom++;
      } else repeat = 0;
      history[this.#historySize++ & mask] = byte;
      this.#note(byte);
      const key = hash2(this.#recent, this.#older & 0xff) >>> this.#repeatShift;
      if (repeat === 0) {
        const from = this.#repeats[key] as number;
        if (from >= 0 && this.#historySize - from <= mask) {
          while (
            repeat < 32 &&
            history[(from - 1 - repeat) & mask] === history[(this.#historySize - 1 - repeat) & mask] &&
            from - 1 - repeat >= 0
          )
            repeat++;
          if (repeat >= 4) this.#repeatFrom = from;
          else repeat = 0;
        }
      }
      this.#repeats[key] = this.#historySize;
      this.#repeatSize = repeat;
    }
  }
}
