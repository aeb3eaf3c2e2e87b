/**
 * Joins bzip2 blocks into one stream. Blocks are strings of bits; one behind the other, between a header and an end mark
 * with the combined checksum, they are what one encoder would have written. (Streams one behind the other are not: bspatch
 * reads only the first.)
 */

/** A block's bits, the first in the top bit of the first byte, and its checksum. */
export interface Bzip2Block {
  readonly bytes: Uint8Array;
  readonly bits: number;
  readonly crc: number;
}

export class Bzip2Joiner {
  #out = new Uint8Array(4096);
  #length = 4;
  /** Bits of the last byte that are used, 0 to 7; that byte is at #length. */
  #bits = 0;
  #crc = 0;

  constructor() {
    this.#out.set([0x42, 0x5a, 0x68, 0x39]); // BZh9
  }

  #room(bytes: number): void {
    if (this.#length + bytes + 8 <= this.#out.length) return;
    const larger = new Uint8Array(Math.max(this.#out.length * 2, this.#length + bytes + 4096));
    larger.set(this.#out.subarray(0, this.#length + 1));
    this.#out = larger;
  }

  #append(bytes: Uint8Array, bits: number): void {
    const count = Math.ceil(bits / 8);
    this.#room(count + 1);
    const out = this.#out;
    const shift = this.#bits;
    if (shift === 0) out.set(bytes.subarray(0, count), this.#length);
    else {
      let carry = out[this.#length] as number;
      for (let i = 0; i < count; i++) {
        const b = bytes[i] as number;
        out[this.#length + i] = carry | (b >>> shift);
        carry = (b << (8 - shift)) & 255;
      }
      out[this.#length + count] = carry;
    }
    const total = shift + bits;
    this.#length += Math.floor(total / 8);
    this.#bits = total % 8;
    if (this.#bits === 0) out[this.#length] = 0;
  }

  add(block: Bzip2Block): void {
    this.#crc = ((this.#crc << 1) | (this.#crc >>> 31)) ^ block.crc;
    this.#append(block.bytes, block.bits);
  }

  /** The whole stream. */
  finish(): Uint8Array {
    const c = this.#crc;
    const end = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90, c >>> 24, c >>> 16, c >>> 8, c].map((b) => b & 255);
    this.#append(Uint8Array.from(end), 80);
    return this.#out.slice(0, this.#length + (this.#bits > 0 ? 1 : 0));
  }
}
