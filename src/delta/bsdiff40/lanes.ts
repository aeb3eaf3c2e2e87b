/** Lanes: threads (or the caller's own) that run steps over one shared memory. */
import { callCore, type Core, type CoreCall, type Steps } from "../core-calls.ts";

export interface Lane {
  /** One core call. */
  call(call: CoreCall): Promise<number>;
}

/** What the scheduler needs of its surroundings. */
export interface Machine {
  readonly lanes: readonly Lane[];
  /** A core of the scheduler's own over a memory of at least `size` bytes, which the lanes share. */
  core(size: number): Core;
}

export async function runOnLane<T>(lane: Lane, steps: Steps<T>): Promise<T> {
  let next = steps.next();
  while (next.done !== true) next = steps.next(await lane.call(next.value));
  return next.value;
}

/** A lane on the caller's thread. */
export function ownLane(core: () => Core): Lane {
  return { call: async (call) => callCore(core(), call) };
}

/** Hands out idle lanes, the urgent first; among equals in order of asking. */
export class LanePool<L> {
  readonly #idle: L[];
  readonly #waiting: [urgent: ((lane: L) => void)[], others: ((lane: L) => void)[]] = [[], []];

  constructor(lanes: readonly L[]) {
    this.#idle = [...lanes];
  }

  async #take(urgent: boolean): Promise<L> {
    const lane = this.#idle.shift();
    if (lane !== undefined) return lane;
    return new Promise((resolve) => this.#waiting[urgent ? 0 : 1].push(resolve));
  }

  #give(lane: L): void {
    const next = this.#waiting[0].shift() ?? this.#waiting[1].shift();
    if (next === undefined) this.#idle.push(lane);
    else next(lane);
  }

  /** Runs `work` on the next idle lane; the outer promise is fulfilled when it has begun. */
  async start<T>(urgent: boolean, work: (lane: L) => Promise<T>): Promise<{ readonly done: Promise<T> }> {
    const lane = await this.#take(urgent);
    const done = work(lane).finally(() => {
      this.#give(lane);
    });
    // Whoever asks for the result meets the failure; nobody asking must not end the process.
    done.catch(() => undefined);
    return { done };
  }
}
