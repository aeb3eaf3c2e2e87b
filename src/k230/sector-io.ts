/** Byte writes on a sector medium, in the driver's order of device writes (specification section 4.5). */
import { OtaError } from "../core/errors.ts";
import { concatBytes, hexOffset } from "../core/bytes.ts";
import type { BlockTarget } from "../core/ports.ts";
import { SECTOR_SIZE } from "./layouts.ts";

async function writeSectors(target: BlockTarget, offset: number, bytes: Uint8Array): Promise<void> {
  if (offset + bytes.length > target.size) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "write reaches past the end of the medium",
      where: `offset ${hexOffset(offset)}`,
      expected: `at most ${Math.max(0, target.size - offset)} bytes`,
      found: bytes.length,
    });
  }
  await target.write(offset, bytes);
}

/** Reads the sector at `at`, replaces bytes from `within` on, writes it back. */
async function patchSector(target: BlockTarget, at: number, within: number, bytes: Uint8Array): Promise<void> {
  if (at + SECTOR_SIZE > target.size) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "sector lies past the end of the medium",
      where: `offset ${hexOffset(at)}`,
    });
  }
  const sector = concatBytes(await target.read(at, SECTOR_SIZE));
  sector.set(bytes, within);
  await target.write(at, sector);
}

/**
 * Writes bytes anywhere: an unaligned head sector is read, changed and written, then whole sectors in one write, then an
 * incomplete tail sector like the head.
 * @throws OtaError DEVICE_* , DEVICE_TOO_SMALL past the end of the medium
 */
export async function writeBytes(target: BlockTarget, offset: number, bytes: Uint8Array): Promise<void> {
  let at = offset;
  let rest = bytes;
  const within = at % SECTOR_SIZE;
  if (within !== 0) {
    const n = Math.min(SECTOR_SIZE - within, rest.length);
    await patchSector(target, at - within, within, rest.subarray(0, n));
    at += n;
    rest = rest.subarray(n);
  }
  const whole = rest.length - (rest.length % SECTOR_SIZE);
  if (whole > 0) await writeSectors(target, at, rest.subarray(0, whole));
  if (whole < rest.length) await patchSector(target, at + whole, 0, rest.subarray(whole));
}
