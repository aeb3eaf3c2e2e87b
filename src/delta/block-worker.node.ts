/** A thread that codes strips of `otaforge` deltas and decodes blocks. Messages: {@link BlockRequest} in, {@link BlockReply} out. */
import { parentPort } from "node:worker_threads";
import { isOtaError, type ErrorCode, type ErrorDetails } from "../core/errors.ts";
import { decodeHeld, encodeHeld, type HeldStrip, type HeldTask } from "./forge/block-encoder.ts";
import { BlockOutput, type BlockShape } from "./forge/block-output.ts";
import { RepackerSet } from "./forge/repack.ts";

/** A strip to code; or a strip to decode from its stored bytes, which is packed as well when it is a whole block. */
export type BlockJob =
  | { readonly kind: "encode"; readonly strip: HeldTask }
  | { readonly kind: "decode"; readonly strip: HeldStrip; readonly stored: Uint8Array; readonly block?: BlockShape };

export interface BlockRequest {
  readonly id: number;
  readonly job: BlockJob;
}

export interface BlockReply {
  readonly id: number;
  readonly bytes?: Uint8Array;
  readonly error?: { readonly message: string; readonly code?: ErrorCode; readonly details?: ErrorDetails };
}

let repackers: RepackerSet | undefined;

async function bytesOf(job: BlockJob): Promise<Uint8Array> {
  if (job.kind === "encode") return encodeHeld(job.strip);
  const view = await decodeHeld(job.strip, job.stored);
  if (job.block === undefined) return view;
  repackers ??= new RepackerSet((await import("./repackers.node.ts")).allRepackers());
  const out = new BlockOutput(job.block, repackers);
  await out.add(view);
  return out.finish();
}

async function answer({ id, job }: BlockRequest): Promise<BlockReply> {
  try {
    return { id, bytes: await bytesOf(job) };
  } catch (e) {
    const message = e instanceof Error ? e.message : String(e);
    return { id, error: isOtaError(e) ? { message, code: e.code, details: e.details } : { message } };
  }
}

parentPort?.on("message", (request: BlockRequest) => {
  void answer(request).then((reply) => {
    parentPort?.postMessage(reply, reply.bytes === undefined ? [] : [reply.bytes.buffer as ArrayBuffer]);
  });
});
