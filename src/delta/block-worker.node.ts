/** A thread that codes blocks of `otaforge` deltas. Messages: {@link BlockRequest} in, {@link BlockReply} out. */
import { parentPort } from "node:worker_threads";
import { encodeHeld, type HeldTask } from "./forge/block-encoder.ts";

export interface BlockRequest {
  readonly id: number;
  readonly task: HeldTask;
}

export interface BlockReply {
  readonly id: number;
  readonly bytes?: Uint8Array;
  readonly error?: string;
}

async function answer({ id, task }: BlockRequest): Promise<BlockReply> {
  try {
    return { id, bytes: await encodeHeld(task) };
  } catch (e) {
    return { id, error: e instanceof Error ? e.message : String(e) };
  }
}

parentPort?.on("message", (request: BlockRequest) => {
  void answer(request).then((reply) => parentPort?.postMessage(reply));
});
