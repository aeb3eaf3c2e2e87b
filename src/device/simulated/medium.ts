/** What all simulated media have in common. */
import type { Random } from "./random.ts";
import type { SimulatedWrite } from "./operations.ts";

/** What becomes of writes that were not flushed when the power goes: all lost, all there, or a seeded part of each. */
export type Unflushed = "dropped" | "kept" | "some";

export interface Loss {
  readonly unflushed: Unflushed;
  readonly random: Random;
  /** The write that was under way, if it was on this medium: it ends up torn. */
  readonly torn?: SimulatedWrite;
}

/**
 * A medium with two faces: what a reader sees now and what would be left after a power cut. Writes reach the first at once and
 * the second by a flush, or when {@link Medium.lose} decides so.
 */
export interface Medium {
  /** Does one write. The port has checked that it is allowed. */
  apply(op: SimulatedWrite): void;
  /** The power goes and comes back. */
  lose(loss: Loss): void;
  /** An independent copy; cheap. */
  fork(): Medium;
}
