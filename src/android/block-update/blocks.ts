/** Blocks of a device, read and written by ranges. */
import { OtaError } from "../../core/errors.ts";
import { toHex } from "../../core/bytes.ts";
import type { BlockTarget, Device } from "../../core/ports.ts";
import { rangesEnd } from "./ranges.ts";
import type { RangeSet } from "./ranges.ts";

export const BLOCK_SIZE = 4096;

/** Most blocks of one command held in memory: a gigabyte. Real lists stay below 64 MiB. */
export const MAX_BLOCKS = 256 * 1024;

/** Largest single read or write, bytes. */
const PIECE = 1024 * 1024;

function checkInside(target: BlockTarget, set: RangeSet): void {
  if (rangesEnd(set) * BLOCK_SIZE > target.size) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "a block range reaches past the end of the device",
      where: target.path,
      expected: `at most block ${Math.floor(target.size / BLOCK_SIZE)}`,
      found: rangesEnd(set),
    });
  }
}

/** Calls `visit` with the pieces of a set: offset on the device, offset in the set's buffer, length. */
async function pieces(
  set: RangeSet,
  visit: (device: number, buffer: number, length: number) => Promise<void>,
): Promise<void> {
  let at = 0;
  for (const [start, end] of set.ranges) {
    const length = (end - start) * BLOCK_SIZE;
    for (let done = 0; done < length; done += PIECE) {
      const n = Math.min(PIECE, length - done);
      await visit(start * BLOCK_SIZE + done, at + done, n);
    }
    at += length;
  }
}

/** All blocks of a set in order. @throws OtaError DEVICE_* */
export async function readBlocks(target: BlockTarget, set: RangeSet): Promise<Uint8Array> {
  checkInside(target, set);
  if (set.blocks > MAX_BLOCKS) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "a command moves more blocks than fit in memory",
      found: set.blocks,
    });
  }
  const out = new Uint8Array(set.blocks * BLOCK_SIZE);
  await pieces(set, async (device, buffer, length) => out.set(await target.read(device, length), buffer));
  return out;
}

/** Writes a buffer of exactly the set's size. */
export async function writeBlocks(target: BlockTarget, set: RangeSet, bytes: Uint8Array): Promise<void> {
  checkInside(target, set);
  await pieces(set, (device, buffer, length) => target.write(device, bytes.subarray(buffer, buffer + length)));
}

/** Fills the blocks of a set from `next`, which gives exactly as many bytes as asked. */
export async function fillBlocks(
  target: BlockTarget,
  set: RangeSet,
  next: (length: number) => Promise<Uint8Array>,
): Promise<void> {
  checkInside(target, set);
  await pieces(set, async (device, _buffer, length) => target.write(device, await next(length)));
}

/** SHA-1 of the blocks of a set, hex, without holding them. */
export async function hashBlocks(device: Device, target: BlockTarget, set: RangeSet): Promise<string> {
  checkInside(target, set);
  const digest = device.digests.create("sha1");
  await pieces(set, async (at, _buffer, length) => digest.update(await target.read(at, length)));
  return toHex(digest.digest());
}

/** Puts blocks that stand one behind the other to the places `where` of a buffer. False when they do not fit. */
export function placeBlocks(buffer: Uint8Array, where: RangeSet, blocks: Uint8Array): boolean {
  if (rangesEnd(where) * BLOCK_SIZE > buffer.length || where.blocks * BLOCK_SIZE > blocks.length) return false;
  // The source may be the buffer itself.
  const from = blocks.slice(0, where.blocks * BLOCK_SIZE);
  let at = 0;
  for (const [start, end] of where.ranges) {
    const length = (end - start) * BLOCK_SIZE;
    buffer.set(from.subarray(at, at + length), start * BLOCK_SIZE);
    at += length;
  }
  return true;
}
