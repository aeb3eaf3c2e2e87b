/** The master boot record a card image carries (specification section 6.1). */
import { OtaError } from "../core/errors.ts";
import { MBR_ENTRY, MBR_TAIL, SECTOR_SIZE } from "./layouts.ts";

/** Where signature and entries begin in sector 0; the bytes before it are boot code. */
export const MBR_TAIL_OFFSET = 440;
const SIGNATURE = 0xaa55;

export interface MbrPartition {
  /** 0 to 255. */
  readonly type: number;
  readonly bootable: boolean;
  readonly startLba: number;
  readonly sectors: number;
}

/** Head, sector, cylinder of a sector number as the packer counts them: 255 heads, 63 sectors, cylinder cut to 10 bits. */
export function encodeChs(lba: number): Uint8Array {
  const s = lba % 63;
  const t = Math.floor(lba / 63);
  const cylinder = Math.floor(t / 255) & 0x3ff;
  return Uint8Array.of(t % 255, ((cylinder & 0x300) >> 2) | (s === 0 ? 0 : s + 1), cylinder & 0xff);
}

/**
 * Bytes 440 to 511 of sector 0.
 * @throws OtaError K230_PACK_MBR for more than four partitions or sectors beyond 32 bits
 */
export function encodeMbrTail(partitions: readonly MbrPartition[], diskSignature: number): Uint8Array {
  if (partitions.length > 4) {
    throw new OtaError("K230_PACK_MBR", {
      what: "too many partitions for a master boot record",
      expected: "at most 4",
      found: partitions.length,
      hint: "Give the others `in-partition-table = false`.",
    });
  }
  const entries = new Uint8Array(64);
  partitions.forEach((p, i) => {
    entries.set(
      MBR_ENTRY.encode({
        status: p.bootable ? 0x80 : 0,
        firstChs: encodeChs(p.startLba),
        type: p.type,
        lastChs: encodeChs(p.startLba + p.sectors - 1),
        startLba: p.startLba,
        sectors: p.sectors,
      }),
      16 * i,
    );
  });
  return MBR_TAIL.encode({ diskSignature, zero: 0, entries, signature: SIGNATURE });
}

/** The partitions of sector 0 that have a length; undefined when it is no master boot record. */
export function decodeMbr(sector: Uint8Array): MbrPartition[] | undefined {
  if (sector.length < SECTOR_SIZE) return undefined;
  const tail = MBR_TAIL.decode(sector, MBR_TAIL_OFFSET);
  if (tail.signature !== SIGNATURE) return undefined;
  const found: MbrPartition[] = [];
  for (let i = 0; i < 4; i++) {
    const { status, type, startLba, sectors } = MBR_ENTRY.decode(tail.entries, 16 * i);
    if (sectors > 0) found.push({ type, bootable: status === 0x80, startLba, sectors });
  }
  return found;
}
