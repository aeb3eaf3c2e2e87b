/** Patches as the original programs make them, where ours make more: for the vendor profile. */
import { inflateRawPrefix } from "../../delta/deflate/inflate.ts";
import type { MakeOptions } from "./options.ts";
import type { PatchMaker } from "./patches.ts";

const GZIP_HEADER = 10;
const GZIP_TRAILER = 8;
/** As much as a member of a boot image ever holds. */
const MOST = 512 * 2 ** 20;

/** Four bytes that look like a gzip member and are none: the original imgdiff gives up on such an image. */
function hasStrayGzip(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(0x1f); at >= 0; at = bytes.indexOf(0x1f, at + 1)) {
    if (bytes[at + 1] !== 0x8b || bytes[at + 2] !== 8 || bytes[at + 3] !== 0) continue;
    const found = inflateRawPrefix(bytes.subarray(at + GZIP_HEADER), MOST);
    if (found === undefined) return true;
    at += GZIP_HEADER + found.used + GZIP_TRAILER - 1;
  }
  return false;
}

function vendorPatches(maker: PatchMaker): PatchMaker {
  return {
    jobs: maker.jobs,
    bsdiff: (source, target) => maker.bsdiff(source, target),
    async imgdiff(source, target, how) {
      if (!how.zip && (hasStrayGzip(source) || hasStrayGzip(target))) return undefined;
      return maker.imgdiff(source, target, how);
    },
  };
}

/** The options with the patches that belong to their profile. */
export function withProfilePatches<T extends MakeOptions>(options: T): T {
  return options.profile === "vendor" ? { ...options, patches: vendorPatches(options.patches) } : options;
}
