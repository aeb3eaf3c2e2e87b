/** `otaforge` deltas by way of a {@link DeltaMaker}: its engine finds the covers, with whatever threads it has. */
import { concatBytes } from "../../core/bytes.ts";
import type { Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import type { DeltaMaker, DeltaOptions } from "../maker.ts";
import { makeForge, type ForgeDelta } from "./make.ts";
import type { Repacker } from "./repack.ts";
import type { PartFinder } from "./scan.ts";

export interface OtaforgeOptions {
  readonly digests: Digests;
  /** Re-packers the device has; default: those inside the toolkit; empty: no container is opened. */
  readonly repackers?: readonly Repacker[];
  /** Finders of parts of re-packers beyond the toolkit. */
  readonly finders?: readonly PartFinder[];
  /** Time against size. Default `default`. */
  readonly effort?: DeltaOptions["effort"];
  /** Bytes of new in one block, which is what a device holds and what an interrupted apply repeats. Default: 1 to 8 MiB, by the size of new. */
  readonly blockSize?: number;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** From here on blocks are coded on threads, bytes of new. */
const WORTH_THREADS = 1024 * 1024;

/** Models' size by effort: `fast` fits small boards. */
const TABLE_BITS = Object.freeze({ fast: 16, default: 18, max: 20 });

/**
 * An `otaforge` delta from old to new, in parts: for files of any size. The same bytes for the same inputs and options, whatever
 * the number of threads.
 * @throws OtaError CANCELLED
 */
export async function makeOtaforgeDelta(
  maker: DeltaMaker,
  old: RandomReader,
  fresh: RandomReader,
  options: OtaforgeOptions,
): Promise<ForgeDelta> {
  const { effort = "default", signal, progress, ...rest } = options;
  // Threads begin while containers are looked for.
  if (fresh.size > WORTH_THREADS) maker.prepare?.();
  const shared = { ...(signal === undefined ? {} : { signal }), ...(progress === undefined ? {} : { progress }) };
  return makeForge(old, fresh, {
    ...rest,
    ...shared,
    tableBits: TABLE_BITS[effort],
    covers: (from, to) => maker.covers(from, to, { effort, ...shared }),
    ...(maker.blockEncoder === undefined ? {} : { encoder: maker.blockEncoder }),
  });
}

/** {@link makeOtaforgeDelta} as one array. @throws OtaError CANCELLED */
export async function makeOtaforge(
  maker: DeltaMaker,
  old: RandomReader,
  fresh: RandomReader,
  options: OtaforgeOptions,
): Promise<Uint8Array> {
  return concatBytes(...(await makeOtaforgeDelta(maker, old, fresh, options)).parts);
}
