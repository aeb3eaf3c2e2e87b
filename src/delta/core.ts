/**
 * The core as a value: its functions bound to a memory. Two kinds exist with the same results: this one, plain TypeScript
 * over an ArrayBuffer, and the WebAssembly one of `core.node.ts`.
 */
import * as functions from "./core/main.ts";
import { attach } from "./core/memory.ts";

type Functions = typeof functions;

/** Functions of the core that work on {@link Core.buffer}; addresses are offsets in it. */
export type Core = {
  readonly [K in keyof Functions as Functions[K] extends (...args: never[]) => unknown ? K : never]: Functions[K];
} & { readonly buffer: ArrayBufferLike };

/**
 * Smallest memory of a core. From 32 MiB on the C library maps fresh pages, which cost nothing until they are touched;
 * below, memory is taken from what was freed and has to be cleared: 15 ms for each small patch.
 */
const LEAST_SIZE = 33 * 1024 * 1024;

/** The TypeScript core over `buffer` (length a multiple of 8), or over a new one of that many bytes. */
export function createCore(buffer: ArrayBufferLike | number): Core {
  const memory = typeof buffer === "number" ? new ArrayBuffer(Math.max(LEAST_SIZE, Math.ceil(buffer / 8) * 8)) : buffer;
  const core: Record<string, unknown> = { buffer: memory };
  for (const [name, value] of Object.entries(functions)) {
    if (typeof value !== "function") continue;
    const f = value as (...args: number[]) => unknown;
    core[name] = (...args: number[]) => {
      attach(memory);
      return f(...args);
    };
  }
  return core as Core;
}

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
