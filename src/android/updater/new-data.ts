/** New blocks of a block update: an entry of the package, which some makers pack by brotli before it goes into the zip. */
import type { ByteStream, Device } from "../../core/ports.ts";
import type { ZipArchive, ZipEntry } from "../../core/zip/index.ts";

const isPacked = (entry: ZipEntry): boolean => entry.name.endsWith(".br");

/** Bytes of the blocks; undefined where only unpacking tells. */
export const newDataSize = (entry: ZipEntry): number | undefined => (isPacked(entry) ? undefined : entry.size);

/** The blocks one behind the other. */
export async function* newDataStream({ codecs }: Device, zip: ZipArchive, entry: ZipEntry): ByteStream {
  const content = zip.stream(entry);
  yield* isPacked(entry) ? codecs.brotliDecompress(content, Number.MAX_SAFE_INTEGER) : content;
}
