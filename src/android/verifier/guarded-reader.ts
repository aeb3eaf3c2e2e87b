/**
 * A reader whose bytes cannot change under the hands of whoever checked them: every piece is digested when it is read first, and
 * must have the same digest whenever it is read again. What was verified is what is installed, even when somebody writes into
 * the file in between.
 */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Digests, RandomReader } from "../../core/ports.ts";
import { checkRange } from "../../core/streams.ts";

/** Bytes of one piece: 64 KiB of digests for a package of 2 GiB. */
const PIECE = 1024 * 1024;
/** Pieces kept, for the many small reads of a zip directory. */
const KEPT = 4;

/** @throws OtaError (when read) PACKAGE_CHANGED */
export function guardReader(reader: RandomReader, digests: Pick<Digests, "create">): RandomReader {
  const known: Uint8Array[] = [];
  const kept = new Map<number, Uint8Array>();

  const piece = async (index: number): Promise<Uint8Array> => {
    const there = kept.get(index);
    if (there !== undefined) return there;
    const at = index * PIECE;
    const bytes = await reader.read(at, Math.min(PIECE, reader.size - at));
    const digest = digests.create("sha256");
    digest.update(bytes);
    const value = digest.digest();
    const before = known[index];
    if (before === undefined) known[index] = value;
    else if (!equalBytes(before, value)) {
      throw new OtaError("PACKAGE_CHANGED", {
        what: "the package was changed after it was checked",
        where: `offset ${hexOffset(at)}`,
      });
    }
    kept.set(index, bytes);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value as number);
    return bytes;
  };

  return {
    size: reader.size,
    async read(offset, length) {
      checkRange(reader.size, offset, length);
      const first = Math.floor(offset / PIECE);
      if (length === 0) return new Uint8Array(0);
      if (offset + length <= (first + 1) * PIECE) {
        return (await piece(first)).subarray(offset - first * PIECE, offset - first * PIECE + length);
      }
      const out = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const index = Math.floor((offset + done) / PIECE);
        const inside = offset + done - index * PIECE;
        const part = (await piece(index)).subarray(inside, inside + length - done);
        out.set(part, done);
        done += part.length;
      }
      return out;
    },
  };
}
