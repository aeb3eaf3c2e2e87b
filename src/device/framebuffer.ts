/**
 * A framebuffer node (`/dev/fb0`) or a plain file standing for one, as a {@link Surface}.
 *
 * A node's size, depth and stride come from sysfs (`/sys/class/graphics/fb0/`): `mode` or `modes` names the visible size
 * (`U:800x480p-0`), `virtual_size` the memory (often two screens high), `pan` the part that is shown. No ioctl is needed. A
 * plain file needs its size from the caller; it is made as large as one screen.
 */
import { open, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { OtaError } from "../core/errors.ts";
import { clip } from "./canvas.ts";
import type { Surface } from "./canvas.ts";
import { DEPTHS, defaultOrder, packRect, pixelPacker } from "./pixel-format.ts";
import type { Depth, PixelFormat } from "./pixel-format.ts";

/** What the caller knows better than sysfs, or must say for a plain file. */
export interface FramebufferOptions {
  readonly width?: number;
  readonly height?: number;
  readonly depth?: number;
  /** Channel order, see `pixel-format.ts`; by default that of most Linux framebuffers. */
  readonly order?: string;
  /** Bytes from one row to the next. */
  readonly stride?: number;
  /** Folder of the node's attributes; default `/sys/class/graphics/<node>`. */
  readonly sysfs?: string;
}

interface Geometry {
  readonly width: number;
  readonly height: number;
  readonly depth: Depth;
  readonly stride: number;
  /** Byte of the first visible pixel. */
  readonly start: number;
}

/** Largest side of a layer, pixels: a lying sysfs must not ask for gigabytes. */
const MAX_SIDE = 16_384;

async function attribute(folder: string, name: string): Promise<string> {
  try {
    return (await readFile(join(folder, name), "utf8")).trim();
  } catch {
    return "";
  }
}

function numbers(text: string): number[] {
  return (text.match(/\d+/g) ?? []).map(Number);
}

async function sysfsGeometry(folder: string): Promise<Partial<Geometry> & { panX: number; panY: number }> {
  const mode = (await attribute(folder, "mode")) || (await attribute(folder, "modes")).split("\n")[0] || "";
  const visible = numbers(/(\d+x\d+)/.exec(mode)?.[1] ?? "");
  const [virtualWidth, virtualHeight] = numbers(await attribute(folder, "virtual_size"));
  const [depth] = numbers(await attribute(folder, "bits_per_pixel"));
  const [stride] = numbers(await attribute(folder, "stride"));
  const [panX = 0, panY = 0] = numbers(await attribute(folder, "pan"));
  const width = visible[0] ?? virtualWidth;
  const height = visible[1] ?? virtualHeight;
  return {
    ...(width === undefined ? {} : { width }),
    ...(height === undefined ? {} : { height }),
    ...(depth === undefined ? {} : { depth: depth as Depth }),
    ...(stride === undefined ? {} : { stride }),
    panX,
    panY,
  };
}

async function geometry(path: string, options: FramebufferOptions): Promise<Geometry> {
  const found = await sysfsGeometry(options.sysfs ?? join("/sys/class/graphics", basename(path)));
  const width = options.width ?? found.width;
  const height = options.height ?? found.height;
  const depth = options.depth ?? found.depth ?? 32;
  if (width === undefined || height === undefined) {
    throw new OtaError("USAGE", {
      what: "size of the screen is not known",
      where: path,
      hint: "It is no framebuffer of this machine: give its width and height (--screen-size 800x480).",
    });
  }
  const sideOk = (n: number): boolean => Number.isInteger(n) && n > 0 && n <= MAX_SIDE;
  if (!sideOk(width) || !sideOk(height) || !DEPTHS.includes(depth as Depth)) {
    throw new OtaError("USAGE", {
      what: "screen cannot be used",
      where: path,
      expected: `sides of 1 to ${MAX_SIDE} pixels and 16, 24 or 32 bits a pixel`,
      found: `${width} x ${height}, ${depth} bits`,
    });
  }
  const pixelBytes = depth / 8;
  const stride = options.stride ?? found.stride ?? width * pixelBytes;
  if (!Number.isInteger(stride) || stride < width * pixelBytes || stride > MAX_SIDE * 16) {
    throw new OtaError("USAGE", {
      what: "stride of the screen cannot be right",
      where: path,
      expected: `at least ${width * pixelBytes} bytes`,
      found: stride,
    });
  }
  return { width, height, depth: depth as Depth, stride, start: found.panY * stride + found.panX * pixelBytes };
}

/**
 * Opens a framebuffer or a plain file for drawing.
 * @throws OtaError USAGE when size, depth, stride or channel order are missing or wrong, DEVICE_IO
 */
export async function openFramebuffer(path: string, options: FramebufferOptions = {}): Promise<Surface> {
  const shape = await geometry(path, options);
  const format: PixelFormat = { depth: shape.depth, order: options.order ?? defaultOrder(shape.depth) };
  pixelPacker(format); // an order that does not fit is told before anything is opened
  const isNode = await stat(path).then(
    (s) => s.isCharacterDevice() || s.isBlockDevice(),
    () => false,
  );
  const ioError = (e: unknown): OtaError =>
    new OtaError("DEVICE_IO", { what: "screen cannot be written", where: path, found: (e as Error).message }, e);
  const file = await open(path, isNode ? "r+" : "w+").catch((e: unknown) => {
    throw ioError(e);
  });
  try {
    if (!isNode) await file.truncate(shape.stride * shape.height);
  } catch (e) {
    await file.close();
    throw ioError(e);
  }
  return {
    width: shape.width,
    height: shape.height,
    async show(picture, part) {
      const rect = clip(shape, part);
      if (rect.width === 0 || rect.height === 0) return;
      const bytes = packRect(picture, rect, format);
      const pixelBytes = shape.depth / 8;
      const rowBytes = rect.width * pixelBytes;
      const at = shape.start + rect.y * shape.stride + rect.x * pixelBytes;
      try {
        if (rowBytes === shape.stride) {
          await file.write(bytes, 0, bytes.length, at);
          return;
        }
        for (let row = 0; row < rect.height; row++) {
          await file.write(bytes, row * rowBytes, rowBytes, at + row * shape.stride);
        }
      } catch (e) {
        throw ioError(e);
      }
    },
    close: () => file.close(),
  };
}
