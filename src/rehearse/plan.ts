/** Which cuts a rehearsal makes: all of them, or a seeded sample, and how many more in the reruns. */
import { Random, mixSeed } from "../device/simulated/index.ts";
import type { SimulatedWrite } from "../device/simulated/index.ts";
import { kindsOf } from "./cuts.ts";

/** Up to this many writes, every write of every rerun is cut, too: the number of such cuts grows with the square. */
const ALL_PAIRS = 128;
/** Cuts of reruns that larger packages get, in seeded chains. */
const SAMPLED_REPEATS = 3000;
/** Faults (an error instead of a write) that are tried at most. */
const MOST_FAULTS = 1000;

/** What is done at one write of the first run. */
export interface WritePlan {
  readonly write: number;
  /** Numbers of the kinds of cut. */
  readonly kinds: readonly number[];
  /** Cuts of the reruns: at all writes of one, or so many in seeded chains of two to five cuts. */
  readonly deeper: "all" | number;
  /** Input and output errors: `DEVICE_IO` once, `DEVICE_NO_SPACE` from here on. */
  readonly faults: boolean;
}

export interface PlanOptions {
  /** All cuts, or how many. */
  readonly cuts: "all" | number;
  readonly seed: number;
  /** Cuts of reruns: `auto` by the size of the package, or none. */
  readonly deeper: "auto" | "none";
  readonly faults: boolean;
}

/** `count` different numbers below `total`, the same for the same seed. */
function sample(total: number, count: number, seed: number): Set<number> {
  const random = new Random(seed);
  const chosen = new Set<number>();
  // Floyd's method: as many draws as numbers wanted.
  for (let i = total - Math.min(count, total); i < total; i++) {
    const t = random.below(i + 1);
    chosen.add(chosen.has(t) ? i : t);
  }
  return chosen;
}

/** The plan for a run that made `log`. */
export function planCuts(log: readonly SimulatedWrite[], { cuts, seed, deeper, faults }: PlanOptions): WritePlan[] {
  const all = log.map((write) => kindsOf(write));
  const singles = all.reduce((sum, kinds) => sum + kinds.length, 0);
  const pairs = deeper === "auto" && cuts === "all" && log.length <= ALL_PAIRS;
  // One cut, that at the end, is always made; a quarter of a sample are cuts of reruns.
  const wanted = cuts === "all" ? singles : Math.max(0, cuts - 1);
  const wantedSingles = Math.min(singles, deeper === "none" || cuts === "all" ? wanted : Math.ceil(wanted * 0.75));
  const repeats = deeper === "none" || pairs ? 0 : cuts === "all" ? SAMPLED_REPEATS : wanted - wantedSingles;
  const chosen = wantedSingles === singles ? undefined : sample(singles, wantedSingles, mixSeed(seed, 1));
  const repeatsAt = new Map<number, number>();
  const random = new Random(mixSeed(seed, 2));
  for (let i = 0; log.length > 0 && i < repeats; i++) {
    const at = random.below(log.length);
    repeatsAt.set(at, (repeatsAt.get(at) ?? 0) + 1);
  }
  const faultsAt = sample(log.length, MOST_FAULTS, mixSeed(seed, 3));
  let number = 0;
  return all.map((kinds, write) => ({
    write,
    kinds: kinds.filter(() => chosen === undefined || chosen.has(number++)),
    deeper: pairs ? "all" : (repeatsAt.get(write) ?? 0),
    faults: faults && faultsAt.has(write),
  }));
}
