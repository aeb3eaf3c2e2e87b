/**
 * The progress screen of an upgrade: a background picture, two bars, two texts, on any {@link Surface}.
 *
 * Redrawing follows section 7.5: the background comes back under the bars and texts of before, the new ones are drawn, and
 * the part that holds both is shown. A screen that fails never stops an upgrade: it goes dark and says so once.
 */
import type { ProgressSink } from "../../core/ports.ts";
import { clip, copyRect, drawText, fillRect, newPicture, stretch, union } from "../../device/canvas.ts";
import type { Picture, Rect, Surface } from "../../device/canvas.ts";
import { FONT_HEIGHT, FONT_WIDTH } from "../../device/font.ts";
import { screenItems } from "./geometry.ts";
import type { ScreenStyle } from "./geometry.ts";
import { FIRST_PROGRESS, failedProgress, nextProgress } from "./vendor-progress.ts";
import type { VendorProgress } from "./vendor-progress.ts";

export interface ScreenOptions {
  /** Drawn once over the whole layer, stretched to it. Without it the layer is black. */
  readonly background?: Picture;
  readonly style?: ScreenStyle;
}

export interface Screen {
  /** Draws a state. */
  show(progress: VendorProgress): Promise<void>;
  /** What is on the layer now. */
  readonly picture: Picture;
}

/** Dots of the layer for one of the font's: 1 up to 999 rows, 2 up to 1499, and so on. */
export function fontScale(height: number): number {
  return Math.max(1, Math.floor(height / 500));
}

/** Draws the background and gives the screen. */
export async function openScreen(surface: Surface, options: ScreenOptions = {}): Promise<Screen> {
  const { width, height } = surface;
  const scale = fontScale(height);
  const shape = { width, height, fontWidth: FONT_WIDTH * scale, fontHeight: FONT_HEIGHT * scale };
  const background =
    options.background === undefined ? newPicture(width, height) : stretch(options.background, width, height);
  const picture: Picture = { width, height, pixels: background.pixels.slice() };
  let before: Rect[] = [];
  await surface.show(picture, { x: 0, y: 0, width, height });
  return {
    picture,
    async show(progress) {
      for (const rect of before) copyRect(picture, background, rect);
      const items = screenItems(shape, progress, options.style);
      for (const item of items) {
        if (item.kind === "bar") fillRect(picture, item.rect, item.colour);
        else drawText(picture, item.rect, item.text, item.colour, scale);
      }
      const now = items.map((item) => clip(picture, item.rect));
      await surface.show(picture, union([...before, ...now]));
      before = now;
    },
  };
}

/** A progress sink that paints, and what the command tells it at the end. */
export interface ScreenProgress extends ProgressSink {
  /** Paints the failure in red. */
  failed(message: string): Promise<void>;
  /** Waits until everything told so far is on the screen. */
  finish(): Promise<void>;
}

/**
 * Paints the events of an installer. Only a state that looks different is drawn, and while one is being drawn newer ones
 * wait as one: a slow panel never slows the upgrade.
 */
export function screenProgress(screen: Screen, onTrouble: (text: string) => void = () => {}): ScreenProgress {
  let state: VendorProgress = FIRST_PROGRESS;
  let shown: VendorProgress | undefined;
  let painting: Promise<void> | undefined;
  let dark = false;
  const differs = (a: VendorProgress | undefined, b: VendorProgress): boolean =>
    a === undefined || (Object.keys(b) as (keyof VendorProgress)[]).some((key) => a[key] !== b[key]);
  async function paint(): Promise<void> {
    try {
      while (!dark && differs(shown, state)) {
        shown = state;
        await screen.show(state);
      }
    } catch (e) {
      dark = true;
      onTrouble(`the screen is switched off: ${(e as Error).message}`);
    } finally {
      painting = undefined;
    }
  }
  const kick = (): void => {
    if (!dark && differs(shown, state)) painting ??= paint();
  };
  const finish = async (): Promise<void> => {
    kick();
    while (painting !== undefined) await painting;
  };
  return {
    progress(event) {
      state = nextProgress(state, event);
      kick();
    },
    note() {},
    async failed(message) {
      state = failedProgress(state, message);
      await finish();
    },
    finish,
  };
}
