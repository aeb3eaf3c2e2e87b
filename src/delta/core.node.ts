/**
 * The WebAssembly core. `npm ci` compiles it beside the compiled form of this file; from the sources there is none, and
 * callers go on with the TypeScript core, whose results are the same.
 */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import type { Core } from "./core-calls.ts";

// The types of Node leave WebAssembly to the browser's; this is all the engine needs of it.
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
export type WasmModule = object;
interface WasmInterface {
  Module: new (bytes: Uint8Array) => WasmModule;
  Instance: new (module: WasmModule, imports: object) => { readonly exports: object };
  Memory: new (limits: { initial: number; maximum: number; shared: true }) => WasmMemory;
}
const wasm = (globalThis as unknown as { WebAssembly?: WasmInterface }).WebAssembly;

const PAGE = 65536;

/** The bytes of the compiled core, or undefined where there is none. `file`: another place to look, for tests. */
export function readCore(file: string | URL = new URL("./core.wasm", import.meta.url)): Uint8Array | undefined {
  if (wasm === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

function moduleOf(bytes: Uint8Array): WasmModule {
  if (wasm === undefined) throw new Error("no WebAssembly here");
  return new wasm.Module(bytes);
}

/**
 * The core with all functions compiled and optimized, by all processors: 0.05 processor seconds. Left alone, V8 optimizes a function
 * while its baseline form runs and never replaces that, and the core's loops run once for each range: they would stay slow for
 * their whole life (15 % of a diff's time). Compiled when they are called, they would be compiled by every thread.
 */
export function compileCore(bytes: Uint8Array): WasmModule {
  setFlagsFromString("--no-liftoff");
  setFlagsFromString("--no-wasm-lazy-compilation");
  try {
    return moduleOf(bytes);
  } finally {
    setFlagsFromString("--wasm-lazy-compilation");
    setFlagsFromString("--liftoff");
  }
}

/** The core, or undefined where there is none. Its functions are optimized when they are first called: few of them will be. */
export function loadCoreModule(file?: string | URL): WasmModule | undefined {
  const bytes = readCore(file);
  if (bytes === undefined) return undefined;
  setFlagsFromString("--no-liftoff");
  return moduleOf(bytes);
}

/** Memory that workers can share. Pages cost nothing until they are touched. */
export function createMemory(bytes: number): WasmMemory {
  if (wasm === undefined) throw new Error("no WebAssembly here");
  const pages = Math.ceil(bytes / PAGE);
  return new wasm.Memory({ initial: pages, maximum: pages, shared: true });
}

/** The core of `module` over `memory`. */
export function createWasmCore(module: WasmModule, memory: WasmMemory): Core {
  if (wasm === undefined) throw new Error("no WebAssembly here");
  const { exports } = new wasm.Instance(module, { env: { memory } });
  return { ...(exports as Core), buffer: memory.buffer };
}
