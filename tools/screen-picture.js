// Renders docs/images/screen.png: the update screen in its four faces. Run `npm run build` first.
import { mkdir, writeFile } from "node:fs/promises";
import { PNG } from "pngjs";
import { newPicture } from "../dist/device/canvas.js";
import { openScreen } from "../dist/sigmastar/screen/screen.js";
import { FIRST_PROGRESS } from "../dist/sigmastar/screen/vendor-progress.js";

const WIDTH = 640;
const HEIGHT = 360;

/** A quiet background: dusk over hills, computed, so that no picture file is needed. */
function background() {
  const picture = newPicture(WIDTH, HEIGHT);
  for (let y = 0; y < HEIGHT; y++) {
    for (let x = 0; x < WIDTH; x++) {
      const hill = 200 + Math.round(24 * Math.sin(x / 97) + 14 * Math.sin(x / 31 + 2));
      const near = 262 + Math.round(18 * Math.sin(x / 140 + 4));
      const t = y / HEIGHT;
      let colour = [250 - 120 * t, 214 - 60 * t, 190 + 20 * t];
      if (y > hill) colour = [126, 142, 168];
      if (y > near) colour = [190, 200, 214];
      const [r, g, b] = colour.map((c) => Math.round(c));
      picture.pixels[y * WIDTH + x] = ((0xff << 24) | (r << 16) | (g << 8) | b) >>> 0;
    }
  }
  return picture;
}

const faces = [
  { state: 1, mainPercent: 0, totalSteps: 4, currentStep: 0, subPercent: 62, message: "package" },
  { state: 3, mainPercent: 47, totalSteps: 4, currentStep: 2, subPercent: 81, message: "/dev/mtd5" },
  { state: 7, mainPercent: 100, totalSteps: 4, currentStep: 4, subPercent: 100, message: "" },
  { state: 6, mainPercent: 47, totalSteps: 4, currentStep: 2, subPercent: 12, message: "/dev/mtd5: no room is left" },
];

const GAP = 8;
const sheet = new PNG({ width: 2 * WIDTH + GAP, height: 2 * HEIGHT + GAP });
sheet.data.fill(0xff);
const back = background();
for (const [i, face] of faces.entries()) {
  const surface = { width: WIDTH, height: HEIGHT, show: async () => {}, close: async () => {} };
  const screen = await openScreen(surface, { background: back });
  await screen.show({ ...FIRST_PROGRESS, ...face });
  const [left, top] = [(i % 2) * (WIDTH + GAP), Math.floor(i / 2) * (HEIGHT + GAP)];
  screen.picture.pixels.forEach((p, n) => {
    const at = 4 * ((top + Math.floor(n / WIDTH)) * sheet.width + left + (n % WIDTH));
    sheet.data.set([(p >>> 16) & 0xff, (p >>> 8) & 0xff, p & 0xff, 0xff], at);
  });
}
const folder = new URL("../docs/images/", import.meta.url);
await mkdir(folder, { recursive: true });
await writeFile(new URL("screen.png", folder), PNG.sync.write(sheet, { deflateLevel: 9, colorType: 2 }));
