/** What a payload's data are packed with: ports, because xz is a program and the others may use threads. */

/** Compressors of the building side. Each gives the same bytes for the same input on one machine. */
export interface PayloadPackers {
  /** How many operations may be worked on at once. */
  readonly jobs: number;
  bzip2(bytes: Uint8Array): Promise<Uint8Array>;
  brotli(bytes: Uint8Array): Promise<Uint8Array>;
  /** Checked by nothing or CRC-32, as update engines read it. Absent: the machine has no xz. */
  readonly xz?: (bytes: Uint8Array) => Promise<Uint8Array>;
}
