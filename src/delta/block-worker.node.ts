/** A thread that codes strips of `otaforge` deltas and decodes blocks. Jobs: {@link BlockJob}. */
import { decodeHeld, encodeHeld, type HeldStrip, type HeldTask } from "./forge/block-encoder.ts";
import { BlockOutput, type BlockShape } from "./forge/block-output.ts";
import { RepackerSet } from "./forge/repack.ts";
import { answerJobs } from "./job-thread.node.ts";

/** A strip to code; or a strip to decode from its stored bytes, which is packed as well when it is a whole block. */
export type BlockJob =
  | { readonly kind: "encode"; readonly strip: HeldTask }
  | { readonly kind: "decode"; readonly strip: HeldStrip; readonly stored: Uint8Array; readonly block?: BlockShape };

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

answerJobs(bytesOf);
