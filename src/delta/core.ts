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

/** The TypeScript core over `buffer` (length a multiple of 4), or over a new one of `size` bytes. */
export function createCore(buffer: ArrayBufferLike | number): Core {
  const memory = typeof buffer === "number" ? new ArrayBuffer(Math.ceil(buffer / 8) * 8) : buffer;
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
