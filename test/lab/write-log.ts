/**
 * Reads what QEMU's `blklogwrites` recorded: the dm-log-writes format (Linux, Documentation/admin-guide/device-mapper/
 * log-writes.rst; little endian). The first log sector is the superblock; then an entry's head in a sector of its own, followed
 * by its data.
 *
 * The superblock's count of entries is not believed: it lags behind when QEMU is killed. Reading ends at the first head that is
 * all zero, or at the end of the file.
 */

const MAGIC = 0x6a736677736872n;
const HEAD_BYTES = 32;
const FLAG = { flush: 1n, fua: 2n, discard: 4n, mark: 8n } as const;

export interface LoggedWrite {
  /** Byte offset on the disk. */
  readonly offset: number;
  /** Empty for a flush alone. */
  readonly data: Uint8Array;
  /** The disk's cache is made durable, with all earlier writes. */
  readonly flush: boolean;
  /** This write is durable by itself when it ends. */
  readonly durable: boolean;
}

/** @throws Error when the file is no such log */
export function parseWriteLog(bytes: Uint8Array): LoggedWrite[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 32 || view.getBigUint64(0, true) !== MAGIC) throw new Error("no log of dm-log-writes");
  const sectorSize = view.getUint32(24, true);
  const writes: LoggedWrite[] = [];
  for (let at = sectorSize; at + HEAD_BYTES <= bytes.length;) {
    const [sector, count, flags] = [0, 8, 16].map((field) => view.getBigUint64(at + field, true)) as [
      bigint,
      bigint,
      bigint,
    ];
    const dataBytes = Number(view.getBigUint64(at + 24, true));
    if (sector === 0n && count === 0n && flags === 0n && dataBytes === 0) break;
    at += sectorSize;
    const size = Number(count) * sectorSize;
    // A discard has no data; what it makes of the sectors is not promised by any disk, so it is not replayed.
    const stored = (flags & FLAG.discard) === 0n && (flags & FLAG.mark) === 0n ? size : 0;
    // A kill may leave a head whose data was not written.
    if (at + stored > bytes.length) break;
    writes.push({
      offset: Number(sector) * sectorSize,
      data: bytes.subarray(at, at + stored),
      flush: (flags & FLAG.flush) !== 0n,
      durable: (flags & FLAG.fua) !== 0n,
    });
    at += stored + (stored === 0 ? Math.ceil(dataBytes / sectorSize) * sectorSize : 0);
  }
  return writes;
}
