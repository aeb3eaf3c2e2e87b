/** What difference streams of programs look like before anything is known: probabilities in 1/65,536. */
import type { Prior } from "./prices.ts";

/** Of p bits. */
const bits = (p: number): number => Math.round(65536 * 2 ** -p);

/** Constants for the first of two passes: rough ones do, as the second pass learns its prices from the first. */
export const ROUGH_PRIOR: Prior = Object.freeze<Prior>({
  zeroAfterZeros: [1.0, 0.6, 0.5, 0.5, 0.4, 0.4, 0.4, 0.3, 0.2, 0.2, 0.2, 0.15, 0.1, 0.1, 0.1, 0.05].map(bits),
  zeroAfterChanges: [2.5, 1.5, 1.2].map((p) => [bits(p), bits(p), bits(p)] as const),
  changes: new Array<number>(256).fill(1),
  literal: 6 * 256,
  flatChanges: [10 * 256, 7.5 * 256, 7 * 256],
});

/** For a single pass. */
export const PROGRAM_PRIOR: Prior = ROUGH_PRIOR;
