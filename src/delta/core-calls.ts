/** The core as callers see it, whichever kind it is. Free of the core itself: threads and boards bring the compiled one. */
import type * as functions from "./core/main.ts";

type Functions = typeof functions;

/** Functions of the core that work on {@link Core.buffer}; addresses are offsets in it. */
export type Core = {
  readonly [K in keyof Functions as Functions[K] extends (...args: never[]) => unknown ? K : never]: Functions[K];
} & { readonly buffer: ArrayBufferLike };

/** A call of a core function: its name and arguments. */
export type CoreCall = readonly [name: CoreFunction, ...args: number[]];
/** Names of the core's functions. */
export type CoreFunction = Exclude<keyof Core, "buffer">;

/** Work as a sequence of core calls, so that it runs alike on the caller's thread and on a worker's. */
export type Steps<T> = Generator<CoreCall, T, number>;

/** Calls a core function by name. */
export function callCore(core: Core, [name, ...args]: CoreCall): number {
  const f = core[name] as (...args: number[]) => number | boolean | undefined;
  return Number(f(...args) ?? 0);
}

/** Runs steps to their end on the caller's thread. */
export function runSteps<T>(core: Core, steps: Steps<T>): T {
  let next = steps.next();
  while (next.done !== true) next = steps.next(callCore(core, next.value));
  return next.value;
}
