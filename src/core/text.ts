/**
 * Text of binary formats: UTF-8 that loses nothing.
 *
 * Fields hold byte strings; nothing promises that they are UTF-8. A byte that is no part of a well-formed sequence becomes
 * the lone surrogate U+DC00 + byte, and is written back as that byte, so `encode(decode(b))` is `b` for any bytes.
 */

/** Text of any bytes; every byte string has exactly one text. */
export function decodeText(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = "";
  let i = start;
  while (i < end) {
    const b = bytes[i] as number;
    if (b < 0x80) {
      text += String.fromCharCode(b);
      i++;
      continue;
    }
    const length = b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
    let point = length === 2 ? b & 0x1f : length === 3 ? b & 0x0f : b & 0x07;
    let good = length > 0 && i + length <= end;
    for (let k = 1; good && k < length; k++) {
      const c = bytes[i + k] as number;
      if ((c & 0xc0) === 0x80) point = (point << 6) | (c & 0x3f);
      else good = false;
    }
    if (good && length === 3 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) good = false;
    if (good && length === 4 && (point < 0x10000 || point > 0x10ffff)) good = false;
    if (good) {
      text += String.fromCodePoint(point);
      i += length;
    } else {
      text += String.fromCharCode(0xdc00 + b);
      i++;
    }
  }
  return text;
}

/** Bytes of a text; the inverse of {@link decodeText}. */
export function encodeText(text: string): Uint8Array {
  const out = new Uint8Array(text.length * 3);
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    let c = text.charCodeAt(i);
    if (c >= 0xd800 && c < 0xdc00 && i + 1 < text.length) {
      const low = text.charCodeAt(i + 1);
      if (low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        i++;
      }
    }
    if (c < 0x80) out[n++] = c;
    else if (c < 0x800) {
      out[n++] = 0xc0 | (c >> 6);
      out[n++] = 0x80 | (c & 0x3f);
    } else if (c >= 0xdc80 && c < 0xdd00) out[n++] = c - 0xdc00;
    else if (c < 0x10000) {
      out[n++] = 0xe0 | (c >> 12);
      out[n++] = 0x80 | ((c >> 6) & 0x3f);
      out[n++] = 0x80 | (c & 0x3f);
    } else {
      out[n++] = 0xf0 | (c >> 18);
      out[n++] = 0x80 | ((c >> 12) & 0x3f);
      out[n++] = 0x80 | ((c >> 6) & 0x3f);
      out[n++] = 0x80 | (c & 0x3f);
    }
  }
  return out.slice(0, n);
}

/** Characters that change the order or lines of what stands around them: a name must not look like another. */
const DIRECTION = /[\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/** A text made safe for a terminal, a log line and a page: control characters and lone surrogates as `\xNN`, others as `\u{N}`. */
export function printable(text: string): string {
  let out = "";
  for (const ch of text) {
    const c = ch.codePointAt(0) as number;
    if (c < 0x20 || c === 0x7f || (c >= 0x80 && c < 0xa0)) out += `\\x${c.toString(16).padStart(2, "0")}`;
    else if (c >= 0xdc80 && c < 0xdd00) out += `\\x${(c - 0xdc00).toString(16)}`;
    else if (DIRECTION.test(ch) || (c >= 0xd800 && c < 0xe000)) out += `\\u{${c.toString(16)}}`;
    else out += ch;
  }
  return out;
}
