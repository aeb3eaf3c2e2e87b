/** A K230's card and updates for it that a loader would really start: firmware of random content, larger than the vectors'. */
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { encodeFirmware } from "../../src/k230/firmware.ts";
import { nodeFirmwareCrypto } from "../../src/k230/firmware.node.ts";
import { checkInstallable, encodeMetaBlock, pairOf, readKdimg } from "../../src/k230/index.ts";
import { encodeKdimgHead } from "../../src/k230/kdimg.ts";
import { vectorBytes, vectorDisk } from "../support/k230-vectors.ts";
import { noise } from "../support/sigmastar-package.ts";

const CASE = "powercut-a-to-b";
const UIMAGE_HEADER = 64;
const FIRST_CONTENT = 0x10000;
const META = { a: 0xf0000, b: 0xf0400 } as const;
const SLOTS = { a: { rtt: 0x100000, rtapp: 0x110000 }, b: { rtt: 0x120000, rtapp: 0x130000 } } as const;

/** A firmware of type 0 around a gzip-compressed U-Boot image, about `size` bytes. */
export function labFirmware(name: "rtt" | "rtapp", size: number, seed: number): Uint8Array {
  const data = gzipSync(noise(size, seed));
  const head = Buffer.alloc(UIMAGE_HEADER);
  head.writeUInt32BE(0x27051956, 0);
  head.writeUInt32BE(data.length, 12);
  head.writeUInt32BE(0x10000000, 16);
  head.writeUInt32BE(0x10000000, 20);
  // Operating system, architecture and type of the vendor's images; compression 1 is gzip. The loader checks no CRC in here.
  head.set([0x11, 0x1a, 5, 1], 28);
  head.write(name, 32, "latin1");
  return encodeFirmware(concatBytes(head, data), 0, nodeFirmwareCrypto.sha256);
}

export type FirmwarePair = Readonly<Record<"rtt" | "rtapp", Uint8Array>>;

export function labPair(seed: number, size = 30_000): FirmwarePair {
  return { rtt: labFirmware("rtt", size, seed), rtapp: labFirmware("rtapp", size + 9000, seed + 1) };
}

/** An update image with this pair. */
export async function labImage(pair: FirmwarePair): Promise<Uint8Array> {
  const like = await readKdimg(memoryReader(vectorBytes(CASE, "image.kdimg.gz")));
  let at = FIRST_CONTENT;
  const contents: Uint8Array[] = [];
  const parts = (["rtt", "rtapp"] as const).map((name) => {
    const part = like.parts.find((p) => p.name === name);
    if (part === undefined) throw new Error(`the vector has no part ${name}`);
    const content = pair[name];
    const padded = new Uint8Array(Math.ceil(content.length / 4096) * 4096);
    padded.set(content);
    contents.push(padded);
    const made = {
      ...part,
      contentOffset: at,
      contentSize: content.length,
      size: padded.length,
      sha256: nodeFirmwareCrypto.sha256(content),
    };
    at += padded.length;
    return made;
  });
  const head = encodeKdimgHead(like.header, parts);
  const image = concatBytes(head, new Uint8Array(FIRST_CONTENT - head.length), ...contents);
  checkInstallable(await readKdimg(memoryReader(image)), { allowPartial: false });
  return image;
}

/** What a complete pair looks like to the judge. */
export async function pairIdentity(image: Uint8Array): ReturnType<typeof identity> {
  return identity(image);
}

async function identity(image: Uint8Array) {
  return pairOf(checkInstallable(await readKdimg(memoryReader(image)), { allowPartial: false }).parts);
}

/** A card of `size` bytes with a pair in each slot; version 1 in block A, and 2 in block B when that slot runs. */
export function labCard(
  pairs: Readonly<Record<"a" | "b", FirmwarePair>>,
  running: "a" | "b",
  size: number,
): Uint8Array {
  const card = new Uint8Array(size);
  card.set(vectorDisk(CASE));
  card.fill(0, META.a, META.b + 512);
  card.set(encodeMetaBlock(1), META.a);
  if (running === "b") card.set(encodeMetaBlock(2), META.b);
  for (const slot of ["a", "b"] as const) {
    for (const name of ["rtt", "rtapp"] as const) {
      card.fill(0xa5, SLOTS[slot][name], SLOTS[slot][name] + 0x10000);
      card.set(pairs[slot][name], SLOTS[slot][name]);
    }
  }
  return card;
}
