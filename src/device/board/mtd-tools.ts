/** Flash of a board through mtd-utils: Node has no ioctl, and these programs know every driver's habits. */
import { OtaError, decodeText, hexOffset } from "../../core/index.ts";
import type { BlockTarget } from "../../core/index.ts";
import { checkInside, openRawFile } from "../disk/raw-file.ts";
import type { RunProgram } from "../run-program.ts";
import type { SysNode } from "../sysfs.ts";

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function need(
  run: RunProgram,
  where: string,
  program: string,
  args: readonly string[],
  input?: Uint8Array,
): Promise<Uint8Array> {
  const result = await run(program, args, input === undefined ? {} : { input: one(input) });
  // nandwrite goes on in the next block after a failed write and ends with success: content would lie at the wrong place.
  if (result.exitCode !== 0 || /failed|cannot|error/i.test(result.stderr)) {
    throw new OtaError("DEVICE_IO", {
      what: `${program} failed`,
      where,
      found: result.stderr.trim().split("\n").pop() ?? `exit code ${result.exitCode}`,
    });
  }
  return result.stdout;
}

/**
 * Erase blocks of a partition that are bad, from the map that `mtdinfo -M` prints (`  3: 00060000    BAD`); one call for all of
 * them, because asking for each takes minutes on a large chip.
 */
async function badBlockMap(run: RunProgram, path: string, character: string): Promise<ReadonlySet<number>> {
  const printed = decodeText(await need(run, path, "mtdinfo", ["-M", character]));
  const bad = new Set<number>();
  const map = printed.slice(Math.max(0, printed.indexOf("Eraseblock map")));
  for (const [, number, state] of map.matchAll(/(\d+): [0-9a-f]{8,16}(?:[ \t]+(BAD|RO)\b)?/g)) {
    if (state === "BAD") bad.add(Number(number));
  }
  return bad;
}

/** The character device of an MTD partition, whatever node it was named by: `/dev/mtdblock4` must not be written. */
export function mtdCharacterNode(node: SysNode): string {
  return `/dev/${node.name}`;
}

/**
 * An MTD partition as a raw target. Reads go through the node (the kernel corrects with ECC), erases and writes through
 * flash_erase and nandwrite; NOR is written through the node as flashcp does. @throws OtaError DEVICE_TOOL_MISSING, DEVICE_IO
 */
export async function openMtd(
  node: SysNode,
  path: string,
  access: "read" | "write",
  run: RunProgram,
  character = mtdCharacterNode(node),
): Promise<BlockTarget> {
  const raw = await openRawFile({ file: character, path, size: node.size, access });
  const eraseSize = node.eraseSize ?? 1;
  const writeSize = node.writeSize ?? 1;
  const nand = node.kind === "nand";
  let bad: ReadonlySet<number> | undefined;
  const whole = (offset: number, length: number, unit: number): void => {
    if (offset % unit === 0 && length % unit === 0) return;
    throw new OtaError("DEVICE_NOT_ERASED", {
      what: "flash is written and erased in whole units only",
      where: `${path}, offset ${hexOffset(offset)}`,
      expected: `multiples of ${unit}`,
      found: length,
    });
  };
  const isBad = async (offset: number): Promise<boolean> => {
    bad ??= await badBlockMap(run, path, character);
    return bad.has(Math.floor(offset / eraseSize));
  };
  const refuseBad = async (offset: number, length: number): Promise<void> => {
    for (let at = offset - (offset % eraseSize); nand && at < offset + length; at += eraseSize) {
      if (!(await isBad(at))) continue;
      throw new OtaError("DEVICE_BAD_BLOCK", { what: "the erase block is bad", where: `${path}, ${hexOffset(at)}` });
    }
  };
  return {
    path,
    size: node.size,
    eraseSize,
    writeSize,
    read: (offset, length) => raw.read(offset, length),
    async write(offset, bytes) {
      checkInside(path, node.size, offset, bytes.length);
      whole(offset, bytes.length, writeSize);
      if (bytes.length === 0) return;
      if (!nand) return raw.write(offset, bytes);
      await refuseBad(offset, bytes.length);
      await need(run, path, "nandwrite", ["-q", "-N", "-s", String(offset), character, "-"], bytes);
    },
    async erase(offset, length) {
      checkInside(path, node.size, offset, length);
      whole(offset, length, eraseSize);
      // A count of 0 would mean "to the end".
      if (length === 0) return;
      await refuseBad(offset, length);
      await need(run, path, "flash_erase", ["-q", character, String(offset), String(length / eraseSize)]);
    },
    ...(nand ? { isBad } : {}),
    // The MTD character device writes through, and answers fsync with EINVAL.
    async flush() {},
    close: () => raw.close(),
  };
}
