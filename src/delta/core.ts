/**
 * The core as a value: its functions bound to a memory. Two kinds exist with the same results: this one, plain TypeScript
 * over an ArrayBuffer, and the WebAssembly one of `core.node.ts`.
 */
import type { Core } from "./core-calls.ts";
import * as functions from "./core/main.ts";
import { attach } from "./core/memory.ts";

export { callCore, runSteps, type Core, type CoreCall, type CoreFunction, type Steps } from "./core-calls.ts";

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
