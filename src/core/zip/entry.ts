/** What is known of one zip entry, and its date and mode in plain numbers. */

/** Compression methods that are read and written (APPNOTE 4.4.5). */
export const ZIP_METHODS = Object.freeze({ stored: 0, deflated: 8 });
export type ZipMethod = 0 | 8;

/** A date and time of a zip entry, without a time zone: years 1980 to 2107, even seconds. */
export interface ZipTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

/** One entry as the archive states it. Offsets and sizes are bytes. */
export interface ZipEntry {
  readonly name: string;
  readonly method: ZipMethod;
  readonly flags: number;
  /** MS-DOS time and date, 16 bits each. */
  readonly time: number;
  readonly date: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly versionMadeBy: number;
  readonly versionNeeded: number;
  readonly internalAttributes: number;
  readonly externalAttributes: number;
  /** Extra field of the central directory. */
  readonly extra: Uint8Array;
  readonly comment: Uint8Array;
  /** Of the local header. */
  readonly offset: number;
  /** Of the first byte of data. */
  readonly dataOffset: number;
}

/** Upper half of the external attributes: the Unix mode with its file type. */
export function unixMode(entry: Pick<ZipEntry, "externalAttributes">): number {
  return entry.externalAttributes >>> 16;
}

/** Whether the name marks a folder. */
export function isFolder(entry: Pick<ZipEntry, "name">): boolean {
  return entry.name.endsWith("/");
}

/** MS-DOS time and date of a {@link ZipTime}; odd seconds round down. */
export function toDosTime(t: ZipTime): { time: number; date: number } {
  return {
    time: (t.hour << 11) | (t.minute << 5) | (t.second >>> 1),
    date: ((t.year - 1980) << 9) | (t.month << 5) | t.day,
  };
}

/** The inverse of {@link toDosTime}; fields are what the bits say, sensible or not. */
export function fromDosTime({ time, date }: { time: number; date: number }): ZipTime {
  return {
    year: 1980 + (date >>> 9),
    month: (date >>> 5) & 15,
    day: date & 31,
    hour: time >>> 11,
    minute: (time >>> 5) & 63,
    second: (time & 31) * 2,
  };
}
