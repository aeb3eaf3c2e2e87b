/**
 * A lane's thread: answers core calls over the shared memory. Messages: {@link LaneMessage} in, {@link LaneReply} out, the first of
 * them when the thread has begun. It imports nothing of ours: each module is a millisecond or two before the first call.
 */
import { parentPort } from "node:worker_threads";
import type { CoreCall } from "./core-calls.ts";

/** The core to work on from now on, or a call of it. */
export type LaneMessage =
  { readonly module: object; readonly memory: object } | { readonly id: number; readonly call: CoreCall };

export type LaneReply =
  "begun" | { readonly id: number; readonly result: number } | { readonly id: number; readonly error: string };

type Functions = Readonly<Record<string, (...args: number[]) => number | boolean | undefined>>;
interface WasmInterface {
  readonly Instance: new (module: object, imports: object) => { readonly exports: Functions };
}
const { Instance } = (globalThis as unknown as { WebAssembly: WasmInterface }).WebAssembly;

const reply = (message: LaneReply): void => parentPort?.postMessage(message);
let functions: Functions = {};

parentPort?.on("message", (message: LaneMessage) => {
  if (!("id" in message)) {
    functions = new Instance(message.module, { env: { memory: message.memory } }).exports;
    return;
  }
  const {
    id,
    call: [name, ...args],
  } = message;
  try {
    reply({ id, result: Number(functions[name]?.(...args) ?? 0) });
  } catch (e) {
    reply({ id, error: e instanceof Error ? e.message : String(e) });
  }
});
reply("begun");
