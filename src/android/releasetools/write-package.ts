/** A plan as an unsigned zip. */
import type { Cancel, Codecs, Digests } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import { createZipWriter, type ZipSink } from "../../core/zip/write.ts";
import type { PackagePlan } from "./package-plan.ts";

export interface WriteOptions {
  readonly codecs: Pick<Codecs, "deflateRaw">;
  readonly digests: Pick<Digests, "crc32">;
  readonly cancel?: Cancel;
}

/** Writes the entries in order. Packed data of target files is copied after its content was checked. Gives the size. */
export async function writePlan(plan: PackagePlan, sink: ZipSink, options: WriteOptions): Promise<number> {
  const zip = createZipWriter(sink, { codecs: options.codecs, crc32: (b, c) => options.digests.crc32(b, c) });
  for (const entry of plan.entries) {
    checkCancel(options.cancel);
    if (entry.raw === undefined) await zip.add(entry.input, { size: entry.size, data: entry.content() });
    else {
      for await (const _ of entry.content());
      await zip.addRaw(entry.input, entry.raw());
    }
  }
  return (await zip.finish()).size;
}
