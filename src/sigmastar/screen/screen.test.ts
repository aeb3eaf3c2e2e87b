import { describe, expect, it } from "vitest";
import { newPicture } from "../../device/canvas.ts";
import type { Picture, Rect, Surface } from "../../device/canvas.ts";
import { screenItems } from "./geometry.ts";
import { fontScale, openScreen, screenProgress } from "./screen.ts";
import { FIRST_PROGRESS, failedProgress, mainText, nextProgress, plainLine, subText } from "./vendor-progress.ts";
import type { VendorProgress } from "./vendor-progress.ts";

const shape = { width: 801, height: 479, fontWidth: 8, fontHeight: 16 };
const at = (change: Partial<VendorProgress>): VendorProgress => ({ ...FIRST_PROGRESS, ...change });

describe("geometry of section 7.5", () => {
  it("cuts every division at once", () => {
    // W*618/1000 = 495, (801-495)/2 = 153, H*750/1000 = 359
    const items = screenItems(
      shape,
      at({ mainPercent: 33, subPercent: 67, currentStep: 1, totalSteps: 3, state: 3, message: "/dev/mtd5" }),
    );
    expect(items.map((i) => [i.rect.x, i.rect.y, i.rect.width, i.rect.height, i.colour.toString(16)])).toEqual([
      [153, 359, 495, 32, "ff00aeef"],
      [153, 359, 163, 32, "ff00ff00"],
      [153, 323, 495, 32, "ff00aeef"],
      [153, 323, 331, 32, "ff00ff00"],
      [153, 363, 8 * "(33%)(1/3)".length, 16, "ff000000"],
      [153, 339, 8 * "(67%)Updating(/dev/mtd5)".length, 16, "ff000000"],
    ]);
  });

  it("turns both bars red in failed and unknown states, and the text as well in the oldest style", () => {
    for (const state of [4, 5, 6, 8, 99]) {
      const colours = screenItems(shape, at({ state })).map((i) => i.colour);
      expect(colours).toEqual([0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000, 0xff000000, 0xff000000]);
    }
    const old = screenItems(shape, at({ state: 6, message: "x" }), "one-bar");
    expect(old.map((i) => [i.rect.y, i.colour])).toEqual([
      [296, 0xffff0000],
      [296, 0xffff0000],
      [300, 0xffff0000],
      [280, 0xffffffff],
    ]);
    expect(screenItems(shape, FIRST_PROGRESS, "one-bar").map((i) => i.colour)).toEqual([
      0xffffffff, 0xff00ff00, 0xff000000, 0xffffffff,
    ]);
  });
});

describe("texts of section 7.4", () => {
  it.each([
    [0, "(40%)Start"],
    [1, "(40%)Verifying(m)"],
    [2, "(40%)Erasing(m)"],
    [3, "(40%)Updating(m)"],
    [4, "Verify fail: m"],
    [5, "Erase fail: m"],
    [6, "Upgrade fail: m"],
    [7, "(100%)Success"],
    [8, "Unknown fail"],
  ])("state %i reads %s", (state, text) => {
    expect(subText(at({ state, subPercent: 40, message: "m" }))).toBe(text);
  });

  it("says main percent and steps, and all of it on one plain line", () => {
    const p = at({ mainPercent: 7, currentStep: 2, totalSteps: 9, subPercent: 50 });
    expect(mainText(p)).toBe("(7%)(2/9)");
    expect(plainLine(p)).toBe("(7%)(2/9)(state sub 50)");
  });

  it("cuts texts at 127 bytes, never inside a character, and prints control characters as text", () => {
    const long = subText(at({ state: 6, message: "é".repeat(200) }));
    expect(new TextEncoder().encode(long).length).toBeLessThanOrEqual(127);
    expect(long.endsWith("é")).toBe(true);
    expect(subText(at({ state: 6, message: "a\u001b[2J" }))).toBe("Upgrade fail: a\\x1b[2J");
  });
});

describe("progress model", () => {
  it("follows an install's events and knows what failed", () => {
    const event = { phase: "verify", item: "package", count: 3, doneBytes: 50, totalBytes: 200 };
    let p = nextProgress(FIRST_PROGRESS, event);
    expect(p).toMatchObject({ state: 1, subPercent: 25, mainPercent: 0, totalSteps: 3, currentStep: 0 });
    expect(failedProgress(p, "bad").state).toBe(4);
    p = nextProgress(p, { phase: "update", item: "/dev/mtd4", index: 2, count: 3, doneBytes: 1, totalBytes: 2 });
    p = nextProgress(p, { phase: "all records", index: 2, count: 3, doneBytes: 3, totalBytes: 4 });
    expect(p).toMatchObject({ state: 3, subPercent: 50, mainPercent: 75, currentStep: 2, message: "/dev/mtd4" });
    expect(failedProgress(p, "bad").state).toBe(6);
    expect(failedProgress(nextProgress(p, { ...event, phase: "erase" }), "bad").state).toBe(5);
    expect(nextProgress(p, { phase: "done", doneBytes: 1, totalBytes: 1 })).toMatchObject({
      state: 7,
      mainPercent: 100,
    });
    expect(nextProgress(p, { phase: "of some other room", doneBytes: 1, totalBytes: 1 })).toBe(p);
  });
});

function recordingSurface(width: number, height: number): Surface & { parts: Rect[]; memory: Picture } {
  const memory = newPicture(width, height, 0);
  const parts: Rect[] = [];
  return {
    width,
    height,
    parts,
    memory,
    async show(picture, part) {
      parts.push(part);
      for (let y = part.y; y < part.y + part.height; y++) {
        const from = y * width + part.x;
        memory.pixels.set(picture.pixels.subarray(from, from + part.width), from);
      }
    },
    async close() {},
  };
}

describe("screen", () => {
  it("shows the background once, then only the parts that change, and ends with what is in memory", async () => {
    const surface = recordingSurface(400, 240);
    const screen = await openScreen(surface, { background: newPicture(20, 12, 0xff223344) });
    expect(surface.parts).toEqual([{ x: 0, y: 0, width: 400, height: 240 }]);
    await screen.show(
      at({ state: 3, mainPercent: 80, subPercent: 90, message: "a long message that reaches far to the right" }),
    );
    await screen.show(at({ state: 3, mainPercent: 20, subPercent: 10, message: "x" }));
    expect(surface.memory.pixels).toEqual(screen.picture.pixels);
    expect(surface.parts[1]?.height).toBeLessThan(120);
    const fresh = await openScreen(recordingSurface(400, 240), { background: newPicture(400, 240, 0xff223344) });
    await fresh.show(at({ state: 3, mainPercent: 20, subPercent: 10, message: "x" }));
    expect(fresh.picture.pixels).toEqual(screen.picture.pixels);
  });

  it("scales the font with the layer", () => {
    expect([240, 480, 999, 1000, 1080, 2160].map(fontScale)).toEqual([1, 1, 1, 2, 2, 4]);
  });

  it("paints what an installer tells, skips states nobody could see, and survives a broken panel", async () => {
    const surface = recordingSurface(400, 240);
    const sink = screenProgress(await openScreen(surface));
    for (let i = 0; i <= 1000; i++) {
      sink.progress({ phase: "update", item: "/x", index: 1, count: 1, doneBytes: i, totalBytes: 1000 });
    }
    await sink.failed("no room");
    expect(surface.parts.length).toBeLessThan(10);
    expect(surface.memory.pixels[180 * 400 + 100]).toBe(0xffff0000);

    const troubles: string[] = [];
    const broken = recordingSurface(400, 240);
    const screen = await openScreen(broken);
    broken.show = () => Promise.reject(new Error("EIO"));
    const dark = screenProgress(screen, (text) => troubles.push(text));
    dark.progress({ phase: "update", doneBytes: 1, totalBytes: 2 });
    await dark.finish();
    dark.progress({ phase: "update", doneBytes: 2, totalBytes: 2 });
    await dark.finish();
    expect(troubles).toHaveLength(1);
  });
});
