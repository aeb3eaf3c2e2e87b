/** Makes BSDIFF40 patches on one thread in plain TypeScript. */
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { composePatch, type Cover } from "./write.ts";

/** How much time a patch may cost. */
export type Effort = "fast" | "default" | "max";

export interface MakeOptions {
  readonly effort?: Effort;
  readonly signal?: Cancel;
}

const SEED = 8;

/**
 * A BSDIFF40 patch that turns `old` into `fresh`; stock bspatch 4.3 applies it.
 * @throws OtaError CANCELLED
 */
export function makeBsdiff40(old: Uint8Array, fresh: Uint8Array, options: MakeOptions = {}): Uint8Array {
  return composePatch(old, fresh, findCovers(old, fresh, options));
}

function hashAt(b: Uint8Array, i: number, bits: number): number {
  const low =
    (b[i] as number) | ((b[i + 1] as number) << 8) | ((b[i + 2] as number) << 16) | ((b[i + 3] as number) << 24);
  const high =
    (b[i + 4] as number) | ((b[i + 5] as number) << 8) | ((b[i + 6] as number) << 16) | ((b[i + 7] as number) << 24);
  return (Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca77)) >>> (32 - bits);
}

/** Exact matches of seeds, grown both ways while at least half of the bytes agree. */
function findCovers(old: Uint8Array, fresh: Uint8Array, options: MakeOptions): Cover[] {
  const covers: Cover[] = [];
  if (old.length < SEED || fresh.length < SEED) return covers;
  const bits = Math.min(24, Math.max(8, Math.ceil(Math.log2(old.length))));
  const table = new Int32Array(2 ** bits).fill(-1);
  for (let i = old.length - SEED; i >= 0; i--) table[hashAt(old, i, bits)] = i;
  let done = 0;
  let shift = 0;
  for (let i = 0; i + SEED <= fresh.length;) {
    if (i % 65536 === 0) checkCancel(options.signal);
    let from = i + shift;
    if (!matches(old, from, fresh, i)) from = table[hashAt(fresh, i, bits)] as number;
    if (!matches(old, from, fresh, i)) {
      i++;
      continue;
    }
    let start = i;
    for (let k = 1, score = 0, best = 0; i - k >= done && from - k >= 0 && k < 4096; k++) {
      score += old[from - k] === fresh[i - k] ? 1 : -1;
      if (score > best) {
        best = score;
        start = i - k;
      }
      if (score < best - 16) break;
    }
    let end = i + SEED;
    for (let k = SEED, score = 0, best = 0; i + k < fresh.length && from + k < old.length; k++) {
      score += old[from + k] === fresh[i + k] ? 1 : -1;
      if (score > best) {
        best = score;
        end = i + k + 1;
      }
      if (score < best - 16) break;
    }
    covers.push({ newAt: start, oldAt: from - (i - start), length: end - start });
    shift = from - i;
    done = end;
    i = end;
  }
  return covers;
}

function matches(old: Uint8Array, from: number, fresh: Uint8Array, i: number): boolean {
  if (from < 0 || from + SEED > old.length) return false;
  for (let k = 0; k < SEED; k++) if (old[from + k] !== fresh[i + k]) return false;
  return true;
}
