/**
 * Raw targets seen as a run of bytes: block devices and image files as they are, flash with its erase blocks, NAND without
 * its bad blocks.
 *
 * On NAND logical block n lies on the n-th good erase block, as nandwrite and every loader that skips bad blocks place it. A
 * block that fails to erase, to program or to read back is marked bad and its content goes to the next good one.
 */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { BlockTarget, NodeKind, OpenFile, RandomReader } from "../../core/ports.ts";

/** A raw target for writing from its beginning. `size` is what fits, bad blocks left out. */
export interface RawTarget extends RandomReader {
  /** Flash: bytes that are erased and written at once; `put` takes exactly that many, fewer at the end. */
  readonly unit?: number;
  /** Writes the next bytes behind those of the last call, at `offset`. */
  put(offset: number, bytes: Uint8Array): Promise<void>;
  /** Flash: erases everything behind `offset`, which lies at the end of what was put. */
  eraseRest?(offset: number): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** A block device, or a file that stands for one. */
function plainTarget(target: BlockTarget | (OpenFile & { readonly path: string })): RawTarget {
  return {
    size: target.size,
    read: (offset, length) => target.read(offset, length),
    ...(target.readInto === undefined ? {} : { readInto: target.readInto.bind(target) }),
    put: (offset, bytes) => target.write(offset, bytes),
    flush: () => ("sync" in target ? target.sync() : target.flush()),
    close: () => target.close(),
  };
}

/** The offsets of the erase blocks that are good. */
async function goodBlocks(target: BlockTarget, eraseSize: number): Promise<number[]> {
  const good: number[] = [];
  for (let at = 0; at + eraseSize <= target.size; at += eraseSize) {
    if (target.isBad === undefined || !(await target.isBad(at))) good.push(at);
  }
  return good;
}

/** Failures that mean that this one block is worn out. */
function isBlockFailure(e: unknown): boolean {
  return e instanceof OtaError && (e.code === "DEVICE_BAD_BLOCK" || e.code === "DEVICE_IO");
}

/** Blocks that may fail in a row before the chip, not the blocks, is to blame. */
const MAX_FAILURES_IN_A_ROW = 4;

async function flashTarget(target: BlockTarget, eraseSize: number): Promise<RawTarget> {
  const blocks = await goodBlocks(target, eraseSize);
  const writeSize = target.writeSize ?? 1;
  const erase = target.erase?.bind(target);
  const markBad = target.markBad?.bind(target);
  let size = blocks.length * eraseSize;

  async function program(physical: number, bytes: Uint8Array): Promise<void> {
    await erase?.(physical, eraseSize);
    const padded = Math.ceil(bytes.length / writeSize) * writeSize;
    let whole = bytes;
    if (padded !== bytes.length) {
      whole = new Uint8Array(padded).fill(0xff);
      whole.set(bytes);
    }
    await target.write(physical, whole);
    if (!equalBytes(await target.read(physical, bytes.length), bytes)) {
      throw new OtaError("DEVICE_BAD_BLOCK", {
        what: "the erase block does not keep what is written",
        where: `${target.path}, offset ${hexOffset(physical)}`,
      });
    }
  }

  /** Runs `work` on logical block `n`; when its block fails, marks it bad and goes on with the next one. */
  async function onGoodBlock(n: number, work: (physical: number) => Promise<void>): Promise<void> {
    for (let failures = 1; ; failures++) {
      const physical = blocks[n];
      if (physical === undefined) {
        throw new OtaError("DEVICE_NO_SPACE", {
          what: "too many erase blocks went bad: the image no longer fits",
          where: target.path,
          expected: `${(n + 1) * eraseSize} good bytes`,
          found: blocks.length * eraseSize,
        });
      }
      try {
        await work(physical);
        return;
      } catch (e) {
        if (markBad === undefined || !isBlockFailure(e) || failures >= MAX_FAILURES_IN_A_ROW) throw e;
        await markBad(physical);
        blocks.splice(n, 1);
        size -= eraseSize;
      }
    }
  }

  return {
    get size() {
      return size;
    },
    unit: eraseSize,
    async read(offset, length) {
      const out = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const n = Math.floor((offset + done) / eraseSize);
        const inside = (offset + done) % eraseSize;
        const take = Math.min(eraseSize - inside, length - done);
        const physical = blocks[n];
        if (physical === undefined) {
          throw new OtaError("READ_PAST_END", {
            what: "read reaches past the last good erase block",
            where: `${target.path}, offset ${hexOffset(offset + done)}`,
          });
        }
        out.set(await target.read(physical + inside, take), done);
        done += take;
      }
      return out;
    },
    put: (offset, bytes) => onGoodBlock(offset / eraseSize, (physical) => program(physical, bytes)),
    async eraseRest(offset) {
      for (let n = Math.ceil(offset / eraseSize); n < blocks.length; n++) {
        if (erase !== undefined) await erase(blocks[n] as number, eraseSize);
      }
    },
    flush: () => target.flush(),
    close: () => target.close(),
  };
}

/** An open node (or file standing for one) as a raw target. */
export async function rawTarget(
  target: BlockTarget | (OpenFile & { readonly path: string }),
  kind: NodeKind,
): Promise<RawTarget> {
  if (!("sync" in target) && target.eraseSize !== undefined && (kind === "nand" || kind === "nor")) {
    return flashTarget(target, target.eraseSize);
  }
  return plainTarget(target);
}
