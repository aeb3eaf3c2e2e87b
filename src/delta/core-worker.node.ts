/** A lane's thread: answers core calls over the shared memory. Messages: {@link LaneRequest} in, {@link LaneReply} out. */
import { parentPort, workerData } from "node:worker_threads";
import { createWasmCore, type WasmMemory, type WasmModule } from "./core.node.ts";
import { callCore, type CoreCall } from "./core-calls.ts";

export interface LaneRequest {
  readonly id: number;
  readonly call: CoreCall;
}

export interface LaneReply {
  readonly id: number;
  readonly result?: number;
  readonly error?: string;
}

const { module, memory } = workerData as { module: WasmModule; memory: WasmMemory };
const core = createWasmCore(module, memory);

parentPort?.on("message", ({ id, call }: LaneRequest) => {
  let reply: LaneReply;
  try {
    reply = { id, result: callCore(core, call) };
  } catch (e) {
    reply = { id, error: e instanceof Error ? e.message : String(e) };
  }
  parentPort?.postMessage(reply);
});
