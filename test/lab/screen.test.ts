/** The progress screen on framebuffers of a real kernel, compared pixel by pixel with what QEMU's display shows. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { afterAll, expect, test } from "vitest";
import type { Picture, Surface } from "../../src/device/canvas.ts";
import { readPicture } from "../../src/device/picture.ts";
import { openScreen, PROGRESS_STATE, type VendorProgress } from "../../src/sigmastar/index.ts";
import { report } from "./counts.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import { workFolder } from "./machine.ts";

const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A picture in which every pixel differs from its neighbours, so that a shift by one shows. */
function testPicture(): string {
  const png = new PNG({ width: 160, height: 120 });
  for (let i = 0; i < png.width * png.height; i++) {
    png.data.set([(i * 7) & 0xff, (i * 13 + 50) & 0xff, (i * 29 + 100) & 0xff, 255], i * 4);
  }
  const path = join(folder, "picture.png");
  writeFileSync(path, PNG.sync.write(png));
  return path;
}

const base = { totalSteps: 4, currentStep: 2, message: "/dev/mtd5" };
const STATES: readonly VendorProgress[] = [
  { ...base, mainPercent: 80, state: PROGRESS_STATE.update, subPercent: 95 },
  { ...base, mainPercent: 35, state: PROGRESS_STATE.update, subPercent: 60 },
];

/** What our canvas says is on the screen. */
async function expected(width: number, height: number, background: string): Promise<Picture> {
  const surface: Surface = { width, height, show: async () => undefined, close: async () => undefined };
  const screen = await openScreen(surface, { background: await readPicture(background) });
  for (const state of STATES) await screen.show(state);
  return screen.picture;
}

/** A colour as the display shows it: 16 bits a pixel keep 5, 6 and 5 bits, which QEMU spreads over 8 again. */
function shown(argb: number, depth: number): number {
  const channel = (shift: number, bits: number): number => {
    const value = (argb >>> shift) & 0xff;
    return depth === 16 ? (value >>> (8 - bits)) << (8 - bits) : value;
  };
  return channel(16, 5) * 0x10000 + channel(8, 6) * 0x100 + channel(0, 5);
}

interface Screen {
  readonly depth: 16 | 24 | 32;
  readonly what: string;
  readonly options: GuestOptions;
}

const SCREENS: readonly Screen[] = [
  {
    depth: 32,
    what: "bochs-drm",
    options: {
      arguments: ["-vga", "none", "-device", "bochs-display,xres=640,yres=480"],
      before: "modprobe bochs",
    },
  },
  { depth: 24, what: "vesafb", options: { arguments: ["-vga", "std"], bzImageWords: "vga=0x312" } },
  { depth: 16, what: "vesafb", options: { arguments: ["-vga", "std"], bzImageWords: "vga=0x311" } },
];

test.each(SCREENS)(
  "$depth bits a pixel ($what): the display shows what our canvas says",
  async ({ depth, what, options }) => {
    const picture = testPicture();
    const guest = await Guest.boot({ ...options, files: { "picture.png": new Uint8Array(readFileSync(picture)) } });
    // The kernel's console would draw its cursor on the picture.
    await guest.sh(
      "for c in /sys/class/vtconsole/vtcon*; do grep -q 'frame buffer' $c/name && echo 0 >$c/bind; done; true",
    );
    expect((await guest.sh("cat /sys/class/graphics/fb0/bits_per_pixel")).out.trim()).toBe(String(depth));
    const size = await guest.call<{ width: number; height: number }>("/lab/draw.mjs", "draw", {
      picture: "/lab/picture.png",
      states: STATES,
    });
    expect(size).toEqual({ width: 640, height: 480 });
    const dump = join(folder, `${depth}.png`);
    await guest.machine.qmp("screendump", { filename: dump, format: "png" });
    await guest.kill();
    const png = PNG.sync.read(readFileSync(dump));
    expect([png.width, png.height]).toEqual([size.width, size.height]);
    const canvas = await expected(size.width, size.height, picture);
    let wrong = 0;
    let first = "";
    const colours = new Set<number>();
    for (let i = 0; i < canvas.pixels.length; i++) {
      const [red, green, blue] = png.data.subarray(i * 4, i * 4 + 3) as unknown as [number, number, number];
      const found = red * 0x10000 + green * 0x100 + blue;
      const mask = depth === 16 ? 0xf8fcf8 : 0xffffff;
      const wanted = shown(canvas.pixels[i] as number, depth);
      colours.add(wanted);
      if ((found & mask) === wanted) continue;
      wrong++;
      first ||= `pixel ${i % png.width},${Math.floor(i / png.width)}: ${found.toString(16)} instead of ${wanted.toString(16)}`;
    }
    report(`screen, ${depth} bits (${what}): ${canvas.pixels.length} pixels compared, ${wrong} differ`);
    expect(wrong, first).toBe(0);
    // An empty screen that matches an empty canvas proves nothing.
    expect(colours.size).toBeGreaterThan(100);
  },
);
