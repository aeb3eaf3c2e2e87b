/**
 * How a framebuffer lays a colour out in memory: 16, 24 or 32 bits a pixel, channels in a configurable order.
 *
 * The order is spelled as the bytes lie in memory for 24 and 32 bits (`bgra`: blue first, what Linux calls ARGB8888 on a
 * little-endian board), and from the high bits down for 16 bits (`rgb` is RGB565, `bgr` is BGR565, `argb` and `rgba` are
 * the 1555 and 5551 forms).
 */
import { OtaError } from "../core/errors.ts";
import type { Picture, Rect } from "./canvas.ts";
import { clip } from "./canvas.ts";

/** Depths a framebuffer can have, bits a pixel. */
export const DEPTHS = Object.freeze([16, 24, 32] as const);
export type Depth = (typeof DEPTHS)[number];

export interface PixelFormat {
  readonly depth: Depth;
  /** `rgb`, `bgr`; with 16 and 32 bits also `argb`, `rgba`, `abgr`, `bgra`; `x` may stand for `a`. */
  readonly order: string;
}

/** The order of most Linux framebuffers. */
export function defaultOrder(depth: Depth): string {
  return depth === 16 ? "rgb" : depth === 24 ? "bgr" : "bgra";
}

type Channel = "r" | "g" | "b" | "a";

function channels({ depth, order }: PixelFormat): Channel[] {
  const letters = order.toLowerCase().replace("x", "a").split("") as Channel[];
  const sorted = [...letters].sort().join("");
  const good = sorted === "bgr" ? depth !== 32 : sorted === "abgr" ? depth !== 24 : false;
  if (!good) {
    throw new OtaError("USAGE", {
      what: "channel order does not fit the depth",
      where: `${depth} bits a pixel`,
      expected: depth === 24 ? "rgb or bgr" : depth === 32 ? "argb, rgba, abgr or bgra" : "rgb, bgr, or one with a",
      found: order,
    });
  }
  return letters;
}

const SHIFT: Readonly<Record<Channel, number>> = { a: 24, r: 16, g: 8, b: 0 };

/** Packs one row after another; gives a function that writes `count` pixels from `from` to `out` at byte `at`. */
export function pixelPacker(
  format: PixelFormat,
): (pixels: Uint32Array, from: number, count: number, to: { out: Uint8Array; at: number }) => void {
  const order = channels(format);
  if (format.depth !== 16) {
    const shifts = order.map((c) => SHIFT[c]);
    return (pixels, from, count, { out, at }) => {
      let n = at;
      for (let i = from; i < from + count; i++) {
        const p = pixels[i] as number;
        for (const shift of shifts) out[n++] = p >>> shift;
      }
    };
  }
  const bits = order.map((c) => (c === "a" ? 1 : c === "g" && order.length === 3 ? 6 : 5));
  const fields = order.map((c, i) => ({
    shift: SHIFT[c] + 8 - (bits[i] as number),
    mask: 2 ** (bits[i] as number) - 1,
    at: bits.slice(i + 1).reduce((a, b) => a + b, 0),
  }));
  return (pixels, from, count, { out, at }) => {
    let n = at;
    for (let i = from; i < from + count; i++) {
      const p = pixels[i] as number;
      let value = 0;
      for (const f of fields) value |= ((p >>> f.shift) & f.mask) << f.at;
      out[n++] = value;
      out[n++] = value >>> 8;
    }
  };
}

/** The bytes of a part of a picture, row after row without gaps. */
export function packRect(picture: Picture, part: Rect, format: PixelFormat): Uint8Array {
  const { x, y, width, height } = clip(picture, part);
  const rowBytes = (width * format.depth) / 8;
  const out = new Uint8Array(rowBytes * height);
  const pack = pixelPacker(format);
  for (let row = 0; row < height; row++) {
    pack(picture.pixels, (y + row) * picture.width + x, width, { out, at: row * rowBytes });
  }
  return out;
}
