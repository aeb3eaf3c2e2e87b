/** Byte helpers over `Uint8Array`: no `Buffer`, no `DataView`, exact beyond 4 GiB. */

/** One array holding all parts in order. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Whether both hold the same bytes. Not constant-time: never for secrets. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Ascending order of bytes, a prefix before what it begins. For sorting names as the vendor tools do. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    const d = (a[i] as number) - (b[i] as number);
    if (d !== 0) return d;
  }
  return a.length - b.length;
}

export function isAllByte(bytes: Uint8Array, value: number): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== value) return false;
  return true;
}

const HEX = "0123456789abcdef";

/** Lower-case hex, two digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const b of bytes) text += HEX.charAt(b >>> 4) + HEX.charAt(b & 15);
  return text;
}

/** Bytes of a hex text of even length; undefined when it is none. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const out = new Uint8Array(text.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** `0x` and lower-case hex, exact to 2^53-1: how offsets are printed everywhere. */
export function hexOffset(n: number): string {
  return `0x${n.toString(16)}`;
}

export function readU16(b: Uint8Array, at: number): number {
  return (b[at] as number) | ((b[at + 1] as number) << 8);
}

export function readU32(b: Uint8Array, at: number): number {
  return (
    (((b[at] as number) | ((b[at + 1] as number) << 8) | ((b[at + 2] as number) << 16)) >>> 0) +
    (b[at + 3] as number) * 0x1000000
  );
}

export function readU32be(b: Uint8Array, at: number): number {
  return (
    (b[at] as number) * 0x1000000 +
    ((((b[at + 1] as number) << 16) | ((b[at + 2] as number) << 8) | (b[at + 3] as number)) >>> 0)
  );
}

/** u64 as a number; NaN when it is beyond 2^53-1, so that a caller cannot overlook it. */
export function readU64(b: Uint8Array, at: number): number {
  const high = readU32(b, at + 4);
  return high > 0x1fffff ? Number.NaN : high * 0x100000000 + readU32(b, at);
}

export function writeU16(b: Uint8Array, at: number, v: number): void {
  b[at] = v;
  b[at + 1] = v >>> 8;
}

export function writeU32(b: Uint8Array, at: number, v: number): void {
  b[at] = v;
  b[at + 1] = v >>> 8;
  b[at + 2] = v >>> 16;
  b[at + 3] = v >>> 24;
}

export function writeU32be(b: Uint8Array, at: number, v: number): void {
  b[at] = v >>> 24;
  b[at + 1] = v >>> 16;
  b[at + 2] = v >>> 8;
  b[at + 3] = v;
}

/** Writes a safe integer as u64. */
export function writeU64(b: Uint8Array, at: number, v: number): void {
  writeU32(b, at, v % 0x100000000);
  writeU32(b, at + 4, Math.floor(v / 0x100000000));
}
