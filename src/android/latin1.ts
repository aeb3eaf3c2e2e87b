/**
 * Byte strings as JavaScript strings with one character a byte.
 *
 * edify, transfer lists, command files and the pipe are byte formats of no encoding; this keeps every byte and lets the
 * ordinary string functions work on them.
 */

import { decodeText } from "../core/text.ts";

/** One character (U+0000 to U+00FF) for each byte. */
export function fromLatin1(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = "";
  for (let i = start; i < end; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, Math.min(end, i + 8192)));
  }
  return text;
}

/** Bytes of such a string; characters beyond U+00FF are written as UTF-8, which only text of ours can hold. */
export function toLatin1(text: string): Uint8Array {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 255) return toLatin1(utf8(text));
    out[i] = c;
  }
  return out;
}

/** The bytes of a text in UTF-8, as a byte string. */
export function utf8(text: string): string {
  let out = "";
  for (const ch of text) {
    const c = ch.codePointAt(0) as number;
    if (c < 0x80) out += ch;
    else if (c < 0x800) out += String.fromCharCode(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) out += String.fromCharCode(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else {
      out += String.fromCharCode(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    }
  }
  return out;
}

/** The text that a byte string is in UTF-8, for names of files and for readers; what is none is kept as {@link decodeText} does. */
export function unicode(text: string): string {
  return decodeText(toLatin1(text));
}
