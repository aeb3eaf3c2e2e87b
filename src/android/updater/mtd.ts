/** Reading and writing flash partitions as the update programs do: around bad blocks, the rest erased. */
import { OtaError } from "../../core/errors.ts";
import type { BlockTarget, ByteStream, Device } from "../../core/ports.ts";
import { StreamTaker } from "../../core/streams.ts";
import { nodeKind } from "./device-files.ts";

/** Offsets of the erase blocks that can be used, in order. */
async function goodBlocks(target: BlockTarget, eraseSize: number): Promise<number[]> {
  const out: number[] = [];
  for (let at = 0; at + eraseSize <= target.size; at += eraseSize) {
    if ((await target.isBad?.(at)) !== true) out.push(at);
  }
  return out;
}

/** Writes a whole flash partition from its beginning and erases what is behind. @throws OtaError DEVICE_* */
export async function writeMtd(device: Device, node: string, content: ByteStream): Promise<number> {
  const target = await device.nodes.open(node, "write");
  try {
    const taker = new StreamTaker(content);
    let written = 0;
    const { eraseSize, writeSize = 1 } = target;
    if (eraseSize === undefined || target.erase === undefined) {
      // A block device that stands for flash: what is behind the content looks erased.
      for await (const chunk of taker.pass(Number.MAX_SAFE_INTEGER)) {
        await target.write(written, chunk);
        written += chunk.length;
      }
      for (let at = written; at < target.size; at += 1 << 20) {
        await target.write(at, new Uint8Array(Math.min(1 << 20, target.size - at)).fill(0xff));
      }
    } else {
      for (const at of await goodBlocks(target, eraseSize)) {
        await target.erase(at, eraseSize);
        const piece = await taker.take(eraseSize);
        if (piece.length === 0) continue;
        const padded = new Uint8Array(Math.ceil(piece.length / writeSize) * writeSize).fill(0xff);
        padded.set(piece);
        await target.write(at, padded);
        written += piece.length;
      }
    }
    if (!(await taker.atEnd())) {
      throw new OtaError("DEVICE_TOO_SMALL", { what: "the content is larger than the partition", where: node });
    }
    await target.flush();
    return written;
  } finally {
    await target.close();
  }
}

/** The good blocks of a flash partition as one reader; a block device is read as it is. */
export async function openMtd(device: Device, node: string): Promise<BlockTarget> {
  const target = await device.nodes.open(node, "read");
  const { eraseSize } = target;
  if (eraseSize === undefined || target.isBad === undefined) return target;
  const blocks = await goodBlocks(target, eraseSize);
  return {
    path: target.path,
    size: blocks.length * eraseSize,
    async read(offset, length) {
      const out = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const at = offset + done;
        const block = blocks[Math.floor(at / eraseSize)];
        if (block === undefined) {
          throw new OtaError("READ_PAST_END", { what: "read reaches past the end of the flash", where: node });
        }
        const inside = at % eraseSize;
        const n = Math.min(eraseSize - inside, length - done);
        out.set(await target.read(block + inside, n), done);
        done += n;
      }
      return out;
    },
    write: (offset, bytes) => target.write(offset, bytes),
    flush: () => target.flush(),
    close: () => target.close(),
  };
}

/** The node a flash partition is mounted by: on a board the block device beside the character device. */
export async function mountableNode(device: Device, node: string): Promise<string> {
  const number = device.kind === "board" ? /\/mtd(\d+)$/.exec(node)?.[1] : undefined;
  if (number === undefined) return node;
  for (const path of [`/dev/block/mtdblock${number}`, `/dev/mtdblock${number}`]) {
    if ((await nodeKind(device, path)) !== undefined) return path;
  }
  return node;
}

/**
 * Erases a flash partition: an empty file system of those made for flash. False when `node` is none, or a folder or an image stands
 * for its files: the device formats it its own way. @throws OtaError DEVICE_BUSY when it is mounted
 */
export async function formatFlash(device: Device, node: string): Promise<boolean> {
  if ((await nodeKind(device, node)) === undefined || (await device.mounts.known?.(node)) !== undefined) return false;
  const names = new Set([node, await mountableNode(device, node)]);
  if ((await device.mounts.list()).some((mount) => names.has(mount.node))) {
    throw new OtaError("DEVICE_BUSY", { what: "is mounted", where: node });
  }
  await writeMtd(
    device,
    node,
    (async function* () {
      // Nothing is written: all of it is erased.
    })(),
  );
  return true;
}
