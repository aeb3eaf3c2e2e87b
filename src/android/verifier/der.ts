/**
 * A cursor over DER. Total: what is no DER gives undefined, never an exception, and nothing outside the given bytes is read.
 */

/** Tag numbers with their class and constructed bits. */
export const DER = Object.freeze({
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
});

export interface DerItem {
  readonly tag: number;
  readonly content: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

/** Walks the items of one DER content. */
export class DerCursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Tag of the next item. */
  get tag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** The next item, of the given tag when one is given. Indefinite lengths are no DER. */
  next(tag?: number): DerItem | undefined {
    const b = this.#bytes;
    const start = this.#at;
    const found = b[start];
    const short = b[start + 1];
    if (found === undefined || short === undefined || (tag !== undefined && found !== tag)) return undefined;
    if ((found & 0x1f) === 0x1f) return undefined;
    let size = short;
    let at = start + 2;
    if (short >= 0x80) {
      const count = short & 0x7f;
      if (count === 0 || count > 4 || at + count > b.length) return undefined;
      size = 0;
      for (let i = 0; i < count; i++) size = size * 256 + (b[at + i] as number);
      at += count;
    }
    if (at + size > b.length) return undefined;
    this.#at = at + size;
    return { tag: found, content: b.subarray(at, at + size), whole: b.subarray(start, at + size) };
  }

  /** A cursor into the next item, which must have the tag. */
  enter(tag: number): DerCursor | undefined {
    const item = this.next(tag);
    return item === undefined ? undefined : new DerCursor(item.content);
  }
}

/** Dotted text of an object identifier's content. */
export function oidText(content: Uint8Array): string {
  const parts: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
    }
  }
  const first = parts.shift() ?? 0;
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - 40 * top, ...parts].join(".");
}

/** Big-endian bytes as an integer. */
export function toInteger(bytes: Uint8Array): bigint {
  let hex = "";
  for (const b of bytes) hex += b.toString(16).padStart(2, "0");
  return hex === "" ? 0n : BigInt(`0x${hex}`);
}

/** An integer as big-endian bytes of exactly `size`; undefined when it does not fit. */
export function toBytes(value: bigint, size: number): Uint8Array | undefined {
  const hex = value.toString(16).padStart(2 * size, "0");
  if (hex.length > 2 * size) return undefined;
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) out[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}
