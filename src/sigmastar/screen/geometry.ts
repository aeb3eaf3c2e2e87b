/**
 * Where bars and texts lie (specification section 7.5), in pixels, with the vendor's whole-number arithmetic: every division
 * is cut at once, from left to right. Colours are ARGB.
 */
import type { Rect } from "../../device/canvas.ts";
import { isFailed, mainText, subText } from "./vendor-progress.ts";
import type { VendorProgress } from "./vendor-progress.ts";

/** Size of the layer and of one character. */
export interface LayerShape {
  readonly width: number;
  readonly height: number;
  readonly fontWidth: number;
  readonly fontHeight: number;
}

export interface Bar {
  readonly kind: "bar";
  readonly rect: Rect;
  readonly colour: number;
}

export interface Caption {
  readonly kind: "text";
  readonly rect: Rect;
  readonly text: string;
  readonly colour: number;
}

/** `two-bars`: the current front end; `one-bar`: the oldest one. */
export type ScreenStyle = "two-bars" | "one-bar";

const BLUE = 0xff00aeef;
const GREEN = 0xff00ff00;
const RED = 0xffff0000;
const BLACK = 0xff000000;
const WHITE = 0xffffffff;
const BAR_HEIGHT = 32;

const div = (a: number, b: number): number => Math.trunc(a / b);

/**
 * What is drawn for a state, in drawing order: bar backgrounds and bars (main, then sub), main text, sub text. The oldest
 * front end (`one-bar`) has one bar, higher up on a white ground, with a white sub text above it.
 */
export function screenItems(
  shape: LayerShape,
  progress: VendorProgress,
  style: ScreenStyle = "two-bars",
): (Bar | Caption)[] {
  const { width: W, height: H, fontWidth, fontHeight } = shape;
  const full = div(W * 618, 1000);
  const x = div(W - full, 2);
  const failed = isFailed(progress.state);
  const bar = (y: number, width: number, colour: number): Bar => ({
    kind: "bar",
    rect: { x, y, width, height: BAR_HEIGHT },
    colour,
  });
  const caption = (y: number, text: string, colour: number): Caption => ({
    kind: "text",
    rect: { x, y, width: fontWidth * [...text].length, height: fontHeight },
    text,
    colour,
  });
  const main = div(div(W * 618, 1000) * progress.mainPercent, 100);
  const sub = div(div(W * 618, 1000) * progress.subPercent, 100);
  const front = failed ? RED : GREEN;
  if (style === "one-bar") {
    const y = div(H * 618, 1000);
    return [
      bar(y, full, failed ? RED : WHITE),
      bar(y, main, front),
      caption(y + 4, mainText(progress), failed ? RED : BLACK),
      caption(y - fontHeight, subText(progress), WHITE),
    ];
  }
  const y = div(H * 750, 1000);
  return [
    bar(y, full, failed ? RED : BLUE),
    bar(y, main, front),
    bar(y - 36, full, failed ? RED : BLUE),
    bar(y - 36, sub, front),
    caption(y + 4, mainText(progress), BLACK),
    caption(y - fontHeight - 4, subText(progress), BLACK),
  ];
}
