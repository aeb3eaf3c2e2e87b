/** Little numbers in few bytes: seven bits a byte, lowest first, the top bit says that more follow. Exact to 2^53-1. */
import { OtaError } from "../../core/errors.ts";

export class VarintWriter {
  #bytes = new Uint8Array(256);
  #size = 0;

  #room(n: number): void {
    if (this.#size + n <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#size + n));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }

  number(value: number): void {
    this.#room(8);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#size++] = (rest % 128) + 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#size++] = rest;
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#size);
    this.#size += value.length;
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }
}

export class VarintReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** @throws OtaError FORGE_DAMAGED */
  number(): number {
    let value = 0;
    let unit = 1;
    for (;;) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new OtaError("FORGE_DAMAGED", "the table ends early");
      value += (byte & 127) * unit;
      if (byte < 128) break;
      unit *= 128;
      if (unit > 2 ** 49) throw new OtaError("FORGE_DAMAGED", "a number of the table is too large");
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new OtaError("FORGE_DAMAGED", "a number of the table is too large");
    return value;
  }

  bytes(size: number): Uint8Array {
    if (size > this.left) throw new OtaError("FORGE_DAMAGED", "the table ends early");
    this.#at += size;
    return this.#bytes.slice(this.#at - size, this.#at);
  }
}
