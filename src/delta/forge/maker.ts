/** `otaforge` deltas by way of a {@link DeltaMaker}: its BSDIFF40 engine finds the covers, with whatever threads it has. */
import type { Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import type { DeltaMaker, DeltaOptions } from "../maker.ts";
import { coversOfBsdiff40 } from "./bsdiff-covers.ts";
import { makeForge } from "./make.ts";
import type { Repacker } from "./repack.ts";
import type { PartFinder } from "./scan.ts";

export interface OtaforgeOptions {
  readonly digests: Digests;
  /** Default: those inside the toolkit; empty: nothing is opened. */
  readonly repackers?: readonly Repacker[];
  readonly finders?: readonly PartFinder[];
  readonly effort?: DeltaOptions["effort"];
  readonly blockSize?: number;
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** Models' size by effort: `fast` fits small boards. */
const TABLE_BITS = Object.freeze({ fast: 16, default: 18, max: 20 });

/**
 * An `otaforge` delta from old to new; the same bytes for the same inputs and options.
 * @throws OtaError DELTA_TOO_LARGE, CANCELLED
 */
export async function makeOtaforge(
  maker: Pick<DeltaMaker, "bsdiff40">,
  old: RandomReader,
  fresh: RandomReader,
  options: OtaforgeOptions,
): Promise<Uint8Array> {
  const { effort = "default", signal, ...rest } = options;
  const cancel = signal === undefined ? {} : { signal };
  return makeForge(await old.read(0, old.size), await fresh.read(0, fresh.size), {
    ...rest,
    ...cancel,
    tableBits: TABLE_BITS[effort],
    covers: async (oldBytes, newBytes) =>
      coversOfBsdiff40(await maker.bsdiff40(memoryReader(oldBytes), memoryReader(newBytes), { effort, ...cancel })),
  });
}
