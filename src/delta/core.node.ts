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

/**
 * Whether functions of cores that are called for the first time from now on are optimized at once, in the whole process. V8 never
 * replaces a baseline function while it runs, and the core's loops run once for each range: left alone, they stay slow for their
 * whole life (15 % of a diff's time).
 */
export function optimizeCores(on: boolean): void {
  setFlagsFromString(on ? "--no-liftoff" : "--liftoff");
}

/**
 * The compiled core, or undefined where there is none. Its functions are compiled when they are first called, by what
 * {@link optimizeCores} says then. `file`: another place to look, for tests.
 */
export function readCoreModule(file: string | URL = new URL("./core.wasm", import.meta.url)): WasmModule | undefined {
  if (wasm === undefined) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch {
    return undefined;
  }
  return new wasm.Module(bytes);
}

/** {@link readCoreModule}, to be optimized. */
export function loadCoreModule(): WasmModule | undefined {
  const module = readCoreModule();
  if (module !== undefined) optimizeCores(true);
  return module;
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
