/** A small A/B card, the full image of what it runs, the full image of its successor, and the delta between them. */
import { createHash } from "node:crypto";
import { concatBytes } from "../../src/core/bytes.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { createPlainMaker } from "../../src/delta/index.ts";
import { nodeDigests } from "../../src/device/digests.ts";
import { encodeKdimgHead, encodeToc, makeDeltaImage, type DeltaImage } from "../../src/k230/index.ts";
import { randomNumbers } from "./k230-mutations.ts";

const SLOTS = { rtt_a: 0x100000, rtapp_a: 0x120000, rtt_b: 0x140000, rtapp_b: 0x160000 } as const;
export const SLOT_OFFSETS: Readonly<Record<string, number>> = SLOTS;
const PARTITION = 0x20000;

export function noise(length: number, seed: number): Uint8Array {
  const random = randomNumbers(seed);
  return Uint8Array.from({ length }, () => random(256));
}

/** Bytes that code better against `old` than alone. */
export function edited(old: Uint8Array, seed: number): Uint8Array {
  const out = concatBytes(old.subarray(0, 3000), noise(64, seed), old.subarray(3000, old.length - 64));
  for (let at = 5000; at < out.length; at += 4001) out[at] = ((out[at] as number) + 1) & 255;
  return out;
}

export interface Pair {
  readonly rtt: Uint8Array;
  readonly rtapp: Uint8Array;
}

export const OLD: Pair = { rtt: noise(40_960, 1), rtapp: noise(24_576, 2) };
export const NEW: Pair = { rtt: edited(OLD.rtt, 3), rtapp: edited(OLD.rtapp, 4) };

/** A full image of a pair, its contents where the vendor's packer puts them. */
export function fullImage({ rtt, rtapp }: Pair): Uint8Array {
  const parts = [
    { name: "rtt", content: rtt, contentOffset: 0x10000 },
    { name: "rtapp", content: rtapp, contentOffset: 0x10000 + Math.ceil(rtt.length / 4096) * 4096 },
  ];
  const head = encodeKdimgHead(
    { imageInfo: "test", chipInfo: "none", boardInfo: "none" },
    parts.map(({ name, content, contentOffset }) => ({
      name,
      contentOffset,
      contentSize: content.length,
      size: content.length,
      maxSize: PARTITION,
      offset: 0,
      eraseSize: 0,
      flag: 0n,
      sha256: createHash("sha256").update(content).digest(),
    })),
  );
  const last = parts[1] as (typeof parts)[1];
  const out = new Uint8Array(last.contentOffset + Math.ceil(last.content.length / 4096) * 4096);
  out.set(head);
  for (const { content, contentOffset } of parts) out.set(content, contentOffset);
  return out;
}

/** A fresh card that runs `pair` from slot A. */
export function cardRunning(pair: Pair): Uint8Array {
  const disk = new Uint8Array(0x180000);
  const entry = { load: 1, boot: 3 };
  disk.set(
    encodeToc([
      { name: "ota_meta", offset: 0xf0000, size: 0x800, load: 0, boot: 0 },
      ...Object.entries(SLOTS).map(([name, offset]) => ({ name, offset, size: PARTITION, ...entry })),
    ]),
    0xe0000,
  );
  disk.set(pair.rtt, SLOTS.rtt_a);
  disk.set(pair.rtapp, SLOTS.rtapp_a);
  return disk;
}

export async function makeDelta(from: Pair, to: Pair): Promise<{ report: DeltaImage; image: Uint8Array }> {
  const options = { digests: nodeDigests, maker: createPlainMaker(), effort: "fast" } as const;
  const report = await makeDeltaImage(memoryReader(fullImage(from)), memoryReader(fullImage(to)), options);
  const parts: Uint8Array[] = [];
  for await (const bytes of report.content()) parts.push(bytes.slice());
  return { report, image: concatBytes(...parts) };
}
