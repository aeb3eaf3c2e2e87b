/** The first bytes behind gzip, without unpacking more than them: 64 KiB can hold 64 MiB of zeros. */
import { constants, createGunzip } from "node:zlib";

/**
 * At most `length` bytes of what `head`, the beginning of a gzip file, unpacks to; of a damaged one what can be read, at worst
 * nothing.
 */
export async function unpackHead(head: Uint8Array, length: number): Promise<Uint8Array> {
  // SYNC_FLUSH lets zlib give what the cut stream holds so far instead of failing at its end.
  const engine = createGunzip({ finishFlush: constants.Z_SYNC_FLUSH });
  const out = new Uint8Array(length);
  let have = 0;
  engine.end(head);
  try {
    for await (const chunk of engine as AsyncIterable<Uint8Array>) {
      const part = chunk.subarray(0, length - have);
      out.set(part, have);
      have += part.length;
      if (have === length) break;
    }
  } catch {
    // What came before the damage counts.
  } finally {
    engine.destroy();
  }
  return out.slice(0, have);
}
