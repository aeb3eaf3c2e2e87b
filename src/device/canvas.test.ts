import { describe, expect, it } from "vitest";
import { clip, copyRect, drawText, fillRect, newPicture, stretch, union } from "./canvas.ts";
import { FONT_HEIGHT, FONT_WIDTH, glyphRows } from "./font.ts";

const RED = 0xffff0000;

describe("canvas", () => {
  it("clips rectangles that leave the picture on any side", () => {
    const layer = { width: 10, height: 8 };
    expect(clip(layer, { x: -3, y: -2, width: 5, height: 4 })).toEqual({ x: 0, y: 0, width: 2, height: 2 });
    expect(clip(layer, { x: 8, y: 7, width: 5, height: 4 })).toEqual({ x: 8, y: 7, width: 2, height: 1 });
    expect(clip(layer, { x: 50, y: 50, width: 5, height: 4 })).toMatchObject({ width: 0, height: 0 });
  });

  it("joins rectangles and ignores empty ones", () => {
    expect(union([])).toMatchObject({ width: 0, height: 0 });
    const a = { x: 2, y: 3, width: 4, height: 1 };
    expect(union([a, { x: 0, y: 0, width: 0, height: 9 }])).toEqual(a);
    expect(union([a, { x: 5, y: 0, width: 3, height: 2 }])).toEqual({ x: 2, y: 0, width: 6, height: 4 });
  });

  it("fills and restores exactly the pixels of a rectangle", () => {
    const picture = newPicture(6, 4);
    fillRect(picture, { x: 1, y: 1, width: 3, height: 2 }, RED);
    expect([...picture.pixels].filter((p) => p === RED)).toHaveLength(6);
    expect(picture.pixels[1 * 6 + 1]).toBe(RED);
    expect(picture.pixels[1 * 6 + 4]).toBe(0xff000000);
    copyRect(picture, newPicture(6, 4), { x: 0, y: 0, width: 6, height: 4 });
    expect([...picture.pixels].every((p) => p === 0xff000000)).toBe(true);
  });

  it("draws text inside its cells and nowhere else, at every scale", () => {
    for (const scale of [1, 2, 3]) {
      const picture = newPicture(60 * scale, 30 * scale);
      drawText(picture, { x: 4, y: 5 }, "Ag%", RED, scale);
      const cell = { x: 4, y: 5, width: 3 * FONT_WIDTH * scale, height: FONT_HEIGHT * scale };
      let inside = 0;
      picture.pixels.forEach((p, i) => {
        const [x, y] = [i % picture.width, Math.floor(i / picture.width)];
        const isIn = x >= cell.x && x < cell.x + cell.width && y >= cell.y && y < cell.y + cell.height;
        if (p === RED) expect(isIn).toBe(true);
        if (p === RED && isIn) inside++;
      });
      expect(inside).toBeGreaterThan(40 * scale * scale);
    }
  });

  it("draws 95 different characters, and a question mark for all others", () => {
    const seen = new Set(Array.from({ length: 95 }, (_, i) => glyphRows(0x20 + i).join()));
    expect(seen.size).toBe(95);
    for (const strange of [0, 0x1f, 0x7f, 0x4e2d]) expect(glyphRows(strange)).toEqual(glyphRows(0x3f));
  });

  it("stretches to any size and keeps a picture of the right size as it is", () => {
    const two = { width: 2, height: 1, pixels: Uint32Array.of(0xff000000, 0xffffffff) };
    expect([...stretch(two, 4, 2).pixels]).toEqual([
      0xff000000, 0xff000000, 0xffffffff, 0xffffffff, 0xff000000, 0xff000000, 0xffffffff, 0xffffffff,
    ]);
    expect([...stretch(two, 1, 1).pixels]).toEqual([0xff808080]);
    expect(stretch(two, 2, 1)).toBe(two);
  });
});
