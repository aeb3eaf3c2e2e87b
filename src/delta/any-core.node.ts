/** The best core there is. */
import { createCore, type Core } from "./core.ts";
import { createMemory, createWasmCore, loadCoreModule } from "./core.node.ts";

/** The compiled core over a memory of its own, or the TypeScript core where there is none. */
export function createAnyCore(size: number): Core {
  const module = loadCoreModule();
  return module === undefined ? createCore(size) : createWasmCore(module, createMemory(size));
}
