/**
 * A picture in memory and what is drawn on it: rectangles, text, pictures. Pure; where the pixels go is {@link Surface}'s part.
 *
 * Colours are ARGB numbers (0xffrrggbb). Everything is opaque: the layer lies alone on its display.
 */
import { FONT_HEIGHT, FONT_WIDTH, glyphRows } from "./font.ts";

/** A part of a layer, pixels. */
export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Pixels of a picture, row after row, one ARGB number each. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}

/** Where finished pixels go: a framebuffer, a plain file, a test's array. */
export interface Surface {
  readonly width: number;
  readonly height: number;
  /** Shows a part of `picture`, which has the surface's size. */
  show(picture: Picture, part: Rect): Promise<void>;
  close(): Promise<void>;
}

/** An empty picture in one colour. */
export function newPicture(width: number, height: number, argb = 0xff000000): Picture {
  return { width, height, pixels: new Uint32Array(width * height).fill(argb >>> 0) };
}

/** The part of `rect` that lies on the picture; its sides are 0 when nothing does. */
export function clip(picture: { readonly width: number; readonly height: number }, rect: Rect): Rect {
  const x = Math.min(Math.max(0, rect.x), picture.width);
  const y = Math.min(Math.max(0, rect.y), picture.height);
  const right = Math.min(Math.max(x, rect.x + rect.width), picture.width);
  const bottom = Math.min(Math.max(y, rect.y + rect.height), picture.height);
  return { x, y, width: right - x, height: bottom - y };
}

/** The smallest rectangle around all that are not empty. */
export function union(rects: readonly Rect[]): Rect {
  const real = rects.filter((r) => r.width > 0 && r.height > 0);
  if (real.length === 0) return { x: 0, y: 0, width: 0, height: 0 };
  const x = Math.min(...real.map((r) => r.x));
  const y = Math.min(...real.map((r) => r.y));
  return {
    x,
    y,
    width: Math.max(...real.map((r) => r.x + r.width)) - x,
    height: Math.max(...real.map((r) => r.y + r.height)) - y,
  };
}

export function fillRect(picture: Picture, rect: Rect, argb: number): void {
  const { x, y, width, height } = clip(picture, rect);
  for (let row = y; row < y + height; row++) {
    picture.pixels.fill(argb >>> 0, row * picture.width + x, row * picture.width + x + width);
  }
}

/** Copies a part of `from` to the same place of `to`; both have the same size. */
export function copyRect(to: Picture, from: Picture, rect: Rect): void {
  const { x, y, width, height } = clip(to, rect);
  for (let row = y; row < y + height; row++) {
    const start = row * to.width + x;
    to.pixels.set(from.pixels.subarray(start, start + width), start);
  }
}

/** Draws one line of text with its upper left corner at (x, y); `scale` pixels for each of the font's. */
export function drawText(picture: Picture, at: { x: number; y: number }, text: string, argb: number, scale = 1): void {
  let x = at.x;
  for (const ch of text) {
    const rows = glyphRows(ch.codePointAt(0) as number);
    for (let row = 0; row < FONT_HEIGHT; row++) {
      const bits = rows[row] as number;
      for (let column = 0; bits !== 0 && column < FONT_WIDTH; column++) {
        if ((bits & (0x80 >>> column)) === 0) continue;
        fillRect(picture, { x: x + column * scale, y: at.y + row * scale, width: scale, height: scale }, argb);
      }
    }
    x += FONT_WIDTH * scale;
  }
}

/**
 * A picture stretched to a layer. Each target pixel is the mean of the source pixels it covers (shrinking) or the nearest
 * one (growing), in whole numbers, so the result is the same everywhere.
 */
export function stretch(source: Picture, width: number, height: number): Picture {
  if (source.width === width && source.height === height) return source;
  const out = newPicture(width, height);
  for (let y = 0; y < height; y++) {
    const y0 = Math.floor((y * source.height) / height);
    const y1 = Math.max(y0 + 1, Math.floor(((y + 1) * source.height) / height));
    for (let x = 0; x < width; x++) {
      const x0 = Math.floor((x * source.width) / width);
      const x1 = Math.max(x0 + 1, Math.floor(((x + 1) * source.width) / width));
      out.pixels[y * width + x] = meanColour(source, [x0, x1], [y0, y1]);
    }
  }
  return out;
}

function meanColour(source: Picture, [x0, x1]: readonly [number, number], [y0, y1]: readonly [number, number]): number {
  let red = 0;
  let green = 0;
  let blue = 0;
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const p = source.pixels[y * source.width + x] as number;
      red += (p >>> 16) & 0xff;
      green += (p >>> 8) & 0xff;
      blue += p & 0xff;
    }
  }
  const n = (x1 - x0) * (y1 - y0);
  const mean = (sum: number): number => Math.floor((sum + n / 2) / n);
  return (0xff000000 | (mean(red) << 16) | (mean(green) << 8) | mean(blue)) >>> 0;
}
