import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PNG } from "pngjs";
import { encode as encodeJpeg } from "jpeg-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newPicture, fillRect } from "./canvas.ts";
import { openFramebuffer } from "./framebuffer.ts";
import { packRect } from "./pixel-format.ts";
import { decodePicture, readPicture } from "./picture.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "otaforge-fb-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("pixel formats", () => {
  const picture = newPicture(1, 1, 0xff123456);
  const whole = { x: 0, y: 0, width: 1, height: 1 };
  it.each([
    [32, "bgra", [0x56, 0x34, 0x12, 0xff]],
    [32, "bgrx", [0x56, 0x34, 0x12, 0xff]],
    [32, "rgba", [0x12, 0x34, 0x56, 0xff]],
    [32, "argb", [0xff, 0x12, 0x34, 0x56]],
    [24, "bgr", [0x56, 0x34, 0x12]],
    [24, "rgb", [0x12, 0x34, 0x56]],
    [16, "rgb", [0xaa, 0x11]],
    [16, "bgr", [0xa2, 0x51]],
    [16, "argb", [0xca, 0x88]],
    [16, "rgba", [0x95, 0x11]],
  ] as const)("packs %i bits %s", (depth, order, bytes) => {
    expect([...packRect(picture, whole, { depth, order })]).toEqual([...bytes]);
  });

  it.each([
    [32, "bgr"],
    [24, "bgra"],
    [16, "rgg"],
    [16, "zzz"],
  ] as const)("refuses %i bits %s", (depth, order) => {
    expect(() => packRect(picture, whole, { depth, order })).toThrow(/channel order/);
  });
});

describe("framebuffer", () => {
  it("draws a part of a picture into a plain file, row by row at the stride", async () => {
    const path = join(folder, "screen.raw");
    const surface = await openFramebuffer(path, { width: 4, height: 3, depth: 16, stride: 10 });
    const picture = newPicture(4, 3);
    fillRect(picture, { x: 1, y: 1, width: 2, height: 2 }, 0xffffffff);
    await surface.show(picture, { x: 1, y: 1, width: 2, height: 2 });
    await surface.close();
    const bytes = await readFile(path);
    expect(bytes.length).toBe(30);
    bytes.forEach((b, i) => {
      const [row, column] = [Math.floor(i / 10), i % 10];
      expect(b).toBe(row >= 1 && column >= 2 && column < 6 ? 0xff : 0);
    });
  });

  it("takes visible size, depth, stride and panning from sysfs", async () => {
    const sysfs = join(folder, "fb0");
    await mkdir(sysfs);
    for (const [name, text] of Object.entries({
      modes: "U:5x2p-60\n",
      virtual_size: "5,4\n",
      bits_per_pixel: "24\n",
      stride: "16\n",
      pan: "0,2\n",
    }))
      await writeFile(join(sysfs, name), text);
    const path = join(folder, "memory");
    const surface = await openFramebuffer(path, { sysfs });
    expect([surface.width, surface.height]).toEqual([5, 2]);
    await surface.show(newPicture(5, 2, 0xff010203), { x: 0, y: 0, width: 5, height: 2 });
    await surface.close();
    const bytes = await readFile(path);
    expect([...bytes.subarray(32, 38)]).toEqual([3, 2, 1, 3, 2, 1]);
    expect(bytes.subarray(0, 32).every((b) => b === 0)).toBe(true);
  });

  it.each([
    [{}, /size of the screen is not known/],
    [{ width: 0, height: 5 }, /screen cannot be used/],
    [{ width: 5, height: 5, depth: 8 }, /screen cannot be used/],
    [{ width: 50_000, height: 50_000 }, /screen cannot be used/],
    [{ width: 5, height: 5, stride: 3 }, /stride/],
    [{ width: 5, height: 5, order: "rgb" }, /channel order/],
  ])("refuses %j", async (options, message) => {
    await expect(openFramebuffer(join(folder, "none"), options)).rejects.toThrow(message);
  });
});

describe("pictures", () => {
  it("reads png with transparency on black, and jpeg", async () => {
    const png = new PNG({ width: 2, height: 1 });
    png.data.set([255, 128, 0, 255, 255, 255, 255, 0]);
    await writeFile(join(folder, "a.png"), PNG.sync.write(png));
    expect([...(await readPicture(join(folder, "a.png"))).pixels]).toEqual([0xffff8000, 0xff000000]);
    const grey = encodeJpeg({ width: 8, height: 8, data: Buffer.alloc(256, 0x80) }, 90).data;
    const picture = decodePicture(grey, "a.jpg");
    expect(picture.width).toBe(8);
    expect(Math.abs(((picture.pixels[0] as number) & 0xff) - 0x80)).toBeLessThan(3);
  });

  it("refuses what is no picture, is cut short, or would fill the memory", async () => {
    expect(() => decodePicture(new Uint8Array(100), "x")).toThrow(/cannot be read/);
    const png = PNG.sync.write(new PNG({ width: 40, height: 40 }));
    expect(() => decodePicture(png.subarray(0, 40), "x")).toThrow(/cannot be read/);
    const huge = Uint8Array.from(png);
    huge.set([0x7f, 0xff, 0xff, 0xff], 16);
    expect(() => decodePicture(huge, "x")).toThrow(/too large/);
    const jpeg = new Uint8Array(encodeJpeg({ width: 8, height: 8, data: Buffer.alloc(256) }, 90).data);
    const sof = jpeg.findIndex((b, i) => b === 0xff && jpeg[i + 1] === 0xc0);
    jpeg.set([0xff, 0xff, 0xff, 0xff], sof + 5);
    expect(() => decodePicture(jpeg, "x")).toThrow(/too large/);
    await expect(readPicture(join(folder, "none.png"))).rejects.toMatchObject({ code: "DEVICE_NOT_FOUND" });
  });
});
