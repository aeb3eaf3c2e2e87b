/** Runs inside the laboratory's machine: our screen on the real framebuffer, one state of progress. */
import { openFramebuffer } from "/app/dist/device/framebuffer.js";
import { readPicture } from "/app/dist/device/picture.js";
import { openScreen } from "/app/dist/sigmastar/index.js";

export async function draw({ picture, states }) {
  const surface = await openFramebuffer("/dev/fb0");
  const screen = await openScreen(surface, { background: await readPicture(picture) });
  for (const state of states) await screen.show(state);
  await surface.close();
  return { width: surface.width, height: surface.height };
}
