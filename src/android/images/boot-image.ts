/** Boot image, header version 0 (formats/android.md 1.5). */
import { concatBytes, writeU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { layout, raw, text, u32, type LayoutValue } from "../../core/layout.ts";
import type { Digests } from "../../core/ports.ts";
import { decodeText, encodeText } from "../../core/text.ts";

const SOURCE = "formats/android.md 1.5";

export const BOOT_HEADER = layout("Android boot image header", 1632, {
  magic: text(0, 8, { meaning: "ANDROID!", source: SOURCE }),
  kernelSize: u32(8, { meaning: "size of the kernel", unit: "bytes", source: SOURCE }),
  kernelAddress: u32(12, { meaning: "where the kernel is loaded", source: SOURCE, hex: true }),
  ramdiskSize: u32(16, { meaning: "size of the ramdisk", unit: "bytes", source: SOURCE }),
  ramdiskAddress: u32(20, { meaning: "where the ramdisk is loaded", source: SOURCE, hex: true }),
  secondSize: u32(24, { meaning: "size of the second stage", unit: "bytes", source: SOURCE }),
  secondAddress: u32(28, { meaning: "where the second stage is loaded", source: SOURCE, hex: true }),
  tagsAddress: u32(32, { meaning: "where the kernel's tags are", source: SOURCE, hex: true }),
  pageSize: u32(36, { meaning: "every part begins at a multiple of it", unit: "bytes", source: SOURCE }),
  headerVersion: u32(40, { meaning: "0; in other trees the size of the device tree", source: SOURCE }),
  osVersion: u32(44, { meaning: "0 at this level", source: SOURCE, hex: true }),
  name: text(48, 16, { meaning: "product name", source: SOURCE }),
  commandLine: raw(64, 512, { meaning: "kernel command line, NUL terminated", source: SOURCE }),
  id: raw(576, 32, { meaning: "SHA-1 over the parts and their sizes", source: SOURCE }),
  extraCommandLine: raw(608, 1024, { meaning: "rest of a long command line", source: SOURCE }),
});
export type BootHeader = LayoutValue<typeof BOOT_HEADER>;

/** What goes into an image. Addresses are offsets from `base`. */
export interface BootImageInput {
  readonly kernel: Uint8Array;
  readonly ramdisk: Uint8Array;
  readonly second?: Uint8Array;
  readonly commandLine?: string;
  readonly name?: string;
  /** Default 0x10000000. */
  readonly base?: number;
  /** Default 2048. */
  readonly pageSize?: number;
  readonly kernelOffset?: number;
  readonly ramdiskOffset?: number;
  readonly secondOffset?: number;
  readonly tagsOffset?: number;
}

const PAGE_SIZES = [2048, 4096, 8192, 16384, 32768, 65536, 131072];

function sized(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  out.set(bytes);
  return out;
}

/** @throws OtaError ANDROID_BOOT_IMAGE, LAYOUT_TEXT_TOO_LONG */
export function buildBootImage(input: BootImageInput, digests: Digests): Uint8Array {
  const { kernel, ramdisk, second = new Uint8Array(0), base = 0x10000000, pageSize = 2048 } = input;
  if (!PAGE_SIZES.includes(pageSize)) {
    throw new OtaError("ANDROID_BOOT_IMAGE", {
      what: "unknown page size",
      expected: PAGE_SIZES.join(", "),
      found: pageSize,
    });
  }
  if (kernel.length === 0) throw new OtaError("ANDROID_BOOT_IMAGE", "the kernel is empty");
  const command = encodeText(input.commandLine ?? "");
  // 511 and 1023 bytes: both fields end with a NUL.
  if (command.length > 511 + 1023) {
    throw new OtaError("ANDROID_BOOT_IMAGE", {
      what: "the kernel command line is too long",
      expected: 511 + 1023,
      found: command.length,
    });
  }
  const address = (offset: number): number => (base + offset) % 0x100000000;
  const hash = digests.create("sha1");
  for (const part of [kernel, ramdisk, second]) {
    const size = new Uint8Array(4);
    writeU32(size, 0, part.length);
    hash.update(part);
    hash.update(size);
  }
  const header = BOOT_HEADER.encode({
    magic: "ANDROID!",
    kernelSize: kernel.length,
    kernelAddress: address(input.kernelOffset ?? 0x8000),
    ramdiskSize: ramdisk.length,
    ramdiskAddress: address(input.ramdiskOffset ?? 0x01000000),
    secondSize: second.length,
    // No second stage, no address: so the reference images have it.
    secondAddress: second.length === 0 ? 0 : address(input.secondOffset ?? 0x00f00000),
    tagsAddress: address(input.tagsOffset ?? 0x100),
    pageSize,
    headerVersion: 0,
    osVersion: 0,
    name: input.name ?? "",
    commandLine: sized(command.subarray(0, 511), 512),
    id: sized(hash.digest(), 32),
    extraCommandLine: sized(command.subarray(511), 1024),
  });
  const padded = (part: Uint8Array): Uint8Array => sized(part, Math.ceil(part.length / pageSize) * pageSize);
  return concatBytes(padded(header), padded(kernel), padded(ramdisk), padded(second));
}

/** The header and the parts of an image. @throws OtaError ANDROID_BOOT_IMAGE, LAYOUT_TRUNCATED */
export function readBootImage(image: Uint8Array): {
  readonly header: BootHeader;
  readonly commandLine: string;
  readonly kernel: Uint8Array;
  readonly ramdisk: Uint8Array;
  readonly second: Uint8Array;
} {
  const header = BOOT_HEADER.decode(image);
  if (header.magic !== "ANDROID!")
    throw new OtaError("ANDROID_BOOT_IMAGE", { what: "no boot image", expected: "ANDROID!", found: header.magic });
  if (!PAGE_SIZES.includes(header.pageSize)) {
    throw new OtaError("ANDROID_BOOT_IMAGE", { what: "unknown page size", found: header.pageSize });
  }
  const { pageSize } = header;
  let at = pageSize;
  const take = (what: string, size: number): Uint8Array => {
    if (at + size > image.length) {
      throw new OtaError("ANDROID_BOOT_IMAGE", {
        what: `the image ends inside its ${what}`,
        expected: at + size,
        found: image.length,
      });
    }
    const part = image.subarray(at, at + size);
    at += Math.ceil(size / pageSize) * pageSize;
    return part;
  };
  const untilNul = (b: Uint8Array): string => decodeText(b, 0, b.includes(0) ? b.indexOf(0) : b.length);
  return {
    header,
    commandLine: untilNul(header.commandLine) + untilNul(header.extraCommandLine),
    kernel: take("kernel", header.kernelSize),
    ramdisk: take("ramdisk", header.ramdiskSize),
    second: take("second stage", header.secondSize),
  };
}

/**
 * Arguments of the original builder as input fields (`mkbootimg_args`).
 * @throws OtaError ANDROID_BOOT_IMAGE on one that is not known
 */
export function parseMkbootimgArgs(args: readonly string[]): Partial<BootImageInput> {
  const out: { -readonly [K in keyof BootImageInput]?: BootImageInput[K] } = {};
  for (let i = 0; i < args.length; i += 2) {
    const [option, value] = [args[i] as string, args[i + 1]];
    const bad = (what: string): OtaError =>
      new OtaError("ANDROID_BOOT_IMAGE", { what, where: "mkbootimg_args", found: `${option} ${value ?? ""}`.trim() });
    if (value === undefined) throw bad("an argument has no value");
    const hex = (): number => {
      const n = Number.parseInt(value.replace(/^0[xX]/, ""), 16);
      if (!/^(0[xX])?[0-9a-fA-F]+$/.test(value) || n > 0xffffffff) throw bad("not a hexadecimal number");
      return n;
    };
    switch (option) {
      case "--base":
        out.base = hex();
        break;
      case "--kernel_offset":
        out.kernelOffset = hex();
        break;
      case "--ramdisk_offset":
        out.ramdiskOffset = hex();
        break;
      case "--second_offset":
        out.secondOffset = hex();
        break;
      case "--tags_offset":
        out.tagsOffset = hex();
        break;
      case "--pagesize":
        out.pageSize = Number(value);
        break;
      case "--board":
        out.name = value;
        break;
      case "--cmdline":
        out.commandLine = value;
        break;
      default:
        throw bad("unknown argument of the boot image builder");
    }
  }
  return out;
}
