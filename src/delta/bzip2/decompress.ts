/** Decompression of whole bzip2 files. */
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { createCore } from "../core.ts";
import { BZIP2_READER_SIZE, BZIP2_WORK_SIZE, Bzip2Reader, sourceFrom } from "./reader.ts";

/** Size of the chunks that {@link decompressBzip2} gives, bytes. */
const OUT_SIZE = 65536;
const OUT_AT = BZIP2_READER_SIZE + BZIP2_WORK_SIZE;

/**
 * Decompresses bzip2 data, one or more streams as the bzip2 program reads them. Blocks of bzip2 0.9.0 and older
 * ("randomised") are refused.
 * @throws OtaError CODEC_DAMAGED; CODEC_BOMB when more than `maxBytes` come out
 */
export async function* decompressBzip2(stream: ByteStream, maxBytes: number): ByteStream {
  const core = createCore(BZIP2_READER_SIZE + BZIP2_WORK_SIZE + OUT_SIZE);
  const reader = new Bzip2Reader(core, 0, BZIP2_READER_SIZE, sourceFrom(stream), { concatenated: true });
  const bytes = new Uint8Array(core.buffer);
  let total = 0;
  while (await reader.ready()) {
    const n = reader.take(OUT_AT, OUT_SIZE);
    if (n === 0) continue;
    total += n;
    if (total > maxBytes) {
      throw new OtaError("CODEC_BOMB", {
        what: "bzip2: more data than allowed",
        expected: `at most ${maxBytes} bytes`,
      });
    }
    yield bytes.slice(OUT_AT, OUT_AT + n);
  }
}
