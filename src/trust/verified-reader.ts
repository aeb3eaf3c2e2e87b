/**
 * Readers and streams that give only bytes the manifest vouches for.
 *
 * The digest is checked each time a block is read, not once at the beginning: a file changed between the check and the use
 * gives an error, never a foreign byte.
 */
import { equalBytes, hexOffset } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Digests, RandomReader } from "../core/ports.ts";
import { checkRange, StreamTaker } from "../core/streams.ts";
import type { Manifest } from "./manifest.ts";

type Blocks = Pick<Manifest, "package" | "blockSize" | "blocks">;

function checkBlock(manifest: Blocks, index: number, block: Uint8Array, digests: Digests): void {
  const digest = digests.create("sha256");
  digest.update(block);
  if (!equalBytes(digest.digest(), manifest.blocks.subarray(index * 32, index * 32 + 32))) {
    throw new OtaError("TRUST_MISMATCH", {
      what: "the package differs from what was signed",
      where: `block ${index}, offset ${hexOffset(index * manifest.blockSize)}`,
      hint: "It was damaged or changed after signing; nothing of this block was used.",
    });
  }
}

/** @throws OtaError TRUST_MISMATCH when the sizes differ */
function checkSize(manifest: Blocks, size: number): void {
  if (size !== manifest.package.size) {
    throw new OtaError("TRUST_MISMATCH", {
      what: "the package has another size than what was signed",
      expected: `${manifest.package.size} bytes`,
      found: `${size} bytes`,
    });
  }
}

/** `reader`, block by block against the manifest; holds one block. */
export function verifiedReader(reader: RandomReader, manifest: Blocks, digests: Digests): RandomReader {
  checkSize(manifest, reader.size);
  const { blockSize } = manifest;
  let heldIndex = -1;
  let held: Uint8Array = new Uint8Array(0);
  const block = async (index: number): Promise<Uint8Array> => {
    if (index !== heldIndex) {
      const offset = index * blockSize;
      const bytes = await reader.read(offset, Math.min(blockSize, reader.size - offset));
      checkBlock(manifest, index, bytes, digests);
      held = bytes;
      heldIndex = index;
    }
    return held;
  };
  return {
    size: reader.size,
    async read(offset, length) {
      checkRange(reader.size, offset, length);
      const out = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const index = Math.floor((offset + done) / blockSize);
        const from = offset + done - index * blockSize;
        const part = (await block(index)).subarray(from, from + length - done);
        out.set(part, done);
        done += part.length;
      }
      return out;
    },
  };
}

/** `stream`, block by block against the manifest; a block is passed on only when its digest fits. */
export async function* verifiedStream(stream: ByteStream, manifest: Blocks, digests: Digests): ByteStream {
  const taker = new StreamTaker(stream);
  const { size } = manifest.package;
  try {
    for (let i = 0; i * manifest.blockSize < size; i++) {
      const length = Math.min(manifest.blockSize, size - i * manifest.blockSize);
      const block = await taker.take(length);
      if (block.length < length) checkSize(manifest, taker.offset);
      checkBlock(manifest, i, block, digests);
      yield block;
    }
    if (!(await taker.atEnd())) {
      throw new OtaError("TRUST_MISMATCH", {
        what: "bytes follow the signed package",
        where: `offset ${hexOffset(size)}`,
      });
    }
  } finally {
    await taker.close();
  }
}
