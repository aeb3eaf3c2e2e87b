/** Writes one partition of the target slot and the version blocks, on block media and on flash. */
import { OtaError } from "../core/errors.ts";
import { equalBytes, hexOffset } from "../core/bytes.ts";
import type { BlockTarget } from "../core/ports.ts";
import { SECTOR_SIZE } from "./layouts.ts";
import { writeBytes } from "./sector-io.ts";

/** Bytes gathered before they are written: large enough for any medium, small enough for any board. */
const WRITE_SIZE = 1024 * 1024;

const up = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Writes a content in order; what was pushed is on its way when `push` returns and written when `finish` returns. */
export interface ContentWriter {
  push(bytes: Uint8Array): Promise<void>;
  finish(): Promise<void>;
}

/** A writer for `size` bytes at `offset`. @throws OtaError DEVICE_BAD_BLOCK before anything is written */
export async function contentWriter(target: BlockTarget, offset: number, size: number): Promise<ContentWriter> {
  if (target.erase === undefined)
    return new GatheringWriter(Math.min(WRITE_SIZE, up(size, SECTOR_SIZE)), blockWrite(target, offset));
  const eraseSize = target.eraseSize ?? SECTOR_SIZE;
  for (let at = offset; target.isBad !== undefined && at < offset + size; at += eraseSize) {
    if (await target.isBad(at)) {
      throw new OtaError("DEVICE_BAD_BLOCK", {
        what: "an erase block of the target is bad, and the loader does not skip bad blocks",
        where: `${target.path}, offset ${hexOffset(at)}`,
      });
    }
  }
  return new GatheringWriter(up(WRITE_SIZE, eraseSize), flashWrite(target, offset));
}

type Write = (at: number, bytes: Uint8Array, last: boolean) => Promise<void>;

function blockWrite(target: BlockTarget, offset: number): Write {
  return (at, bytes, last) => (last ? writeBytes(target, offset + at, bytes) : target.write(offset + at, bytes));
}

function flashWrite(target: BlockTarget, offset: number): Write {
  const eraseSize = target.eraseSize ?? SECTOR_SIZE;
  const writeSize = target.writeSize ?? 1;
  return async (at, bytes) => {
    await target.erase?.(offset + at, up(bytes.length, eraseSize));
    const padded = new Uint8Array(up(bytes.length, writeSize)).fill(0xff);
    padded.set(bytes);
    await target.write(offset + at, padded);
  };
}

/** Gathers pieces to whole units; one unit is written while the next is gathered. */
class GatheringWriter implements ContentWriter {
  readonly #unit: number;
  readonly #write: Write;
  #filling: Uint8Array;
  #spare: Uint8Array | undefined;
  #have = 0;
  #at = 0;
  #pending: Promise<void> = Promise.resolve();

  constructor(unit: number, write: Write) {
    this.#unit = unit;
    this.#write = write;
    this.#filling = new Uint8Array(unit);
  }

  async push(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#have === 0 && rest.length >= this.#unit) {
        // Whole units need no copy; the caller's bytes are free again when this returns.
        const whole = rest.subarray(0, rest.length - (rest.length % this.#unit));
        await this.#pending;
        await this.#write(this.#at, whole, false);
        this.#at += whole.length;
        rest = rest.subarray(whole.length);
        continue;
      }
      const n = Math.min(rest.length, this.#unit - this.#have);
      this.#filling.set(rest.subarray(0, n), this.#have);
      this.#have += n;
      rest = rest.subarray(n);
      if (this.#have === this.#unit) await this.#send();
    }
  }

  async #send(): Promise<void> {
    await this.#pending;
    const full = this.#filling;
    this.#filling = this.#spare ?? new Uint8Array(this.#unit);
    this.#spare = full;
    this.#pending = this.#write(this.#at, full, false);
    // Its failure is reported by whoever awaits it next.
    this.#pending.catch(() => undefined);
    this.#at += full.length;
    this.#have = 0;
  }

  async finish(): Promise<void> {
    await this.#pending;
    if (this.#have > 0) await this.#write(this.#at, this.#filling.subarray(0, this.#have), true);
    this.#at += this.#have;
    this.#have = 0;
  }
}

/**
 * Puts 512 bytes at a version block's place, flushes, and reads them back.
 * On block media it is one write of one sector; on flash the erase block is erased first.
 * @throws OtaError K230_READ_BACK, DEVICE_*
 */
export async function writeMetaSector(target: BlockTarget, at: number, sector: Uint8Array): Promise<void> {
  if (target.erase === undefined) await target.write(at, sector);
  else await flashWrite(target, at)(0, sector, true);
  await target.flush();
  const found = await target.read(at, SECTOR_SIZE);
  if (equalBytes(found, sector)) return;
  throw new OtaError("K230_READ_BACK", {
    what: "the version block reads back differently from what was written",
    where: `${target.path}, offset ${hexOffset(at)}`,
  });
}
