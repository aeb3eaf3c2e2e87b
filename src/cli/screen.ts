/** The progress screen of a command: opened when asked for or described, never a reason to stop an update. */
import { resolve } from "node:path";
import { OtaError } from "../core/errors.ts";
import type { DeviceDescription } from "../device/description.ts";
import { openFramebuffer, type FramebufferOptions } from "../device/framebuffer.ts";
import { readPicture } from "../device/picture.ts";
import { openScreen, screenProgress, type ScreenProgress, type ScreenStyle } from "../sigmastar/index.ts";
import { wholeNumber } from "./options.ts";

/** What the user, or the device description, says of the screen. */
export interface ScreenChoice extends FramebufferOptions {
  /** Node or plain file; default `/dev/fb0`. */
  readonly path?: string;
  /** Background picture. */
  readonly picture?: string;
  readonly style?: ScreenStyle;
}

/** `800x480`. @throws OtaError USAGE */
export function parseScreenSize(text: string): { width: number; height: number } {
  const match = /^(\d{1,5})x(\d{1,5})$/.exec(text);
  if (match === null)
    throw new OtaError("USAGE", { what: "a screen size is WIDTHxHEIGHT", where: "--screen-size", found: text });
  return { width: Number(match[1]), height: Number(match[2]) };
}

export function parseScreenNumber(text: string, option: string): number {
  try {
    return wholeNumber(text);
  } catch {
    throw new OtaError("USAGE", { what: "expected a whole number", where: option, found: text });
  }
}

/** The screen a device description names. */
export function describedScreen(f: NonNullable<DeviceDescription["framebuffer"]>): ScreenChoice {
  const { file, width, height, bitsPerPixel, strideBytes, channelOrder } = f;
  // The description names the colour bytes from low to high; 32-bit pixels have one more behind them, 16-bit ones are words.
  const order =
    channelOrder === undefined
      ? undefined
      : bitsPerPixel === 32
        ? `${channelOrder}x`
        : bitsPerPixel === 16
          ? [...channelOrder].reverse().join("")
          : channelOrder;
  return {
    path: file,
    width,
    height,
    depth: bitsPerPixel,
    ...(strideBytes === undefined ? {} : { stride: strideBytes }),
    ...(order === undefined ? {} : { order }),
  };
}

export interface OpenScreen extends ScreenProgress {
  close(): Promise<void>;
}

/**
 * Opens the screen. A picture that cannot be read and wrong options are told at once; a framebuffer that is not there is a
 * warning, and the update goes on without it.
 */
export async function openProgressScreen(
  choice: ScreenChoice,
  cwd: string,
  warn: (text: string) => void,
): Promise<OpenScreen | undefined> {
  const background = choice.picture === undefined ? undefined : await readPicture(resolve(cwd, choice.picture));
  try {
    const surface = await openFramebuffer(resolve(cwd, choice.path ?? "/dev/fb0"), choice);
    const screen = await openScreen(surface, {
      ...(background === undefined ? {} : { background }),
      ...(choice.style === undefined ? {} : { style: choice.style }),
    });
    return { ...screenProgress(screen, warn), close: () => surface.close() };
  } catch (e) {
    const missing =
      e instanceof OtaError && (e.code === "DEVICE_IO" || (e.code === "USAGE" && choice.path === undefined));
    if (!missing) throw e;
    warn(`no screen: ${e.message}`);
    return undefined;
  }
}
