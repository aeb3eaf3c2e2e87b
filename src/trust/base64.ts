/** Base64 with padding, strict: exactly one text for any bytes. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const n =
      ((bytes[i] as number) << 16) |
      ((left > 1 ? (bytes[i + 1] as number) : 0) << 8) |
      (left > 2 ? (bytes[i + 2] as number) : 0);
    text += ALPHABET.charAt(n >>> 18) + ALPHABET.charAt((n >>> 12) & 63);
    text += left > 1 ? ALPHABET.charAt((n >>> 6) & 63) : "=";
    text += left > 2 ? ALPHABET.charAt(n & 63) : "=";
  }
  return text;
}

/** Bytes of a base64 text; undefined when it is none or not the one text of its bytes (stray bits, missing padding, spaces). */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  let at = 0;
  for (let i = 0; i < text.length; i += 4) {
    let n = 0;
    for (let k = 0; k < 4; k++) {
      const ch = text.charAt(i + k);
      const isPadding = ch === "=" && i + k >= text.length - padding;
      const v = isPadding ? 0 : ALPHABET.indexOf(ch);
      if (v < 0) return undefined;
      n = (n << 6) | v;
    }
    for (let k = 0; k < 3; k++) {
      const byte = (n >>> (16 - 8 * k)) & 255;
      if (at < out.length) out[at++] = byte;
      else if (byte !== 0) return undefined;
    }
  }
  return out;
}
