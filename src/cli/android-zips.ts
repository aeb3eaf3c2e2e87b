/** Target files that are open while a package is made. */
import { openZip, type ZipArchive } from "../core/zip/index.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../device/index.ts";

/** Target files and what must be closed when they are done with. */
export class OpenFiles {
  readonly #readers: { close(): Promise<void> }[] = [];

  async zip(path: string): Promise<ZipArchive> {
    const reader = await openFileReader(path);
    this.#readers.push(reader);
    return openZip(reader, { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) });
  }

  async close(): Promise<void> {
    for (const reader of this.#readers) await reader.close();
  }
}
