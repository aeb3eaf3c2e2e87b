/** Reads a JPEG or PNG picture, with limits: pictures come from packages and disks that nobody has checked. */
import { readFile, stat } from "node:fs/promises";
import { decode as decodeJpeg } from "jpeg-js";
import { PNG } from "pngjs";
import { readU32be } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { Picture } from "./canvas.ts";

/** Largest picture file, bytes, and most pixels of one: a 4K background is 8.3 million. */
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const MAX_PIXELS = 10_000_000;
const JPEG_MEMORY_MIB = 128;

function damaged(path: string, cause: unknown): OtaError {
  return new OtaError(
    "CODEC_DAMAGED",
    { what: "picture cannot be read", where: path, expected: "a JPEG or PNG", found: (cause as Error).message },
    cause,
  );
}

function tooLarge(path: string, found: string): OtaError {
  return new OtaError("CODEC_BOMB", {
    what: "picture is too large",
    where: path,
    expected: `at most ${MAX_PIXELS} pixels in ${MAX_FILE_BYTES} bytes`,
    found,
  });
}

/** RGBA bytes as a picture; transparent parts lie on black. */
function fromRgba(width: number, height: number, rgba: Uint8Array): Picture {
  const pixels = new Uint32Array(width * height);
  for (let i = 0; i < pixels.length; i++) {
    const alpha = rgba[4 * i + 3] as number;
    const over = (channel: number): number => Math.floor(((rgba[4 * i + channel] as number) * alpha + 127) / 255);
    pixels[i] = (0xff000000 | (over(0) << 16) | (over(1) << 8) | over(2)) >>> 0;
  }
  return { width, height, pixels };
}

/** Decodes the bytes of a JPEG or PNG. `path` is for messages. @throws OtaError CODEC_DAMAGED, CODEC_BOMB */
export function decodePicture(bytes: Uint8Array, path: string): Picture {
  const isPng = bytes.length >= 24 && bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e;
  if (isPng) {
    const [width, height] = [readU32be(bytes, 16), readU32be(bytes, 20)];
    if (width * height > MAX_PIXELS) throw tooLarge(path, `${width} x ${height}`);
    try {
      const png = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
      return fromRgba(png.width, png.height, png.data);
    } catch (e) {
      throw damaged(path, e);
    }
  }
  try {
    const jpeg = decodeJpeg(bytes, {
      useTArray: true,
      maxMemoryUsageInMB: JPEG_MEMORY_MIB,
      maxResolutionInMP: MAX_PIXELS / 1_000_000,
    });
    return fromRgba(jpeg.width, jpeg.height, jpeg.data);
  } catch (e) {
    if (/exceeded|limit/i.test((e as Error).message)) throw tooLarge(path, (e as Error).message);
    throw damaged(path, e);
  }
}

/** Reads a picture file. @throws OtaError CODEC_DAMAGED, CODEC_BOMB, DEVICE_NOT_FOUND */
export async function readPicture(path: string): Promise<Picture> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) throw tooLarge(path, `${size} bytes`);
    bytes = await readFile(path);
  } catch (e) {
    if (e instanceof OtaError) throw e;
    throw new OtaError(
      "DEVICE_NOT_FOUND",
      { what: "picture cannot be opened", where: path, found: (e as Error).message },
      e,
    );
  }
  return decodePicture(bytes, path);
}
