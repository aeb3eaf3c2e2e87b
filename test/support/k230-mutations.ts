/** Damaged K230 images by the thousand, each installed; and what must hold of every one. */
import { expect } from "vitest";
import { crc32 } from "../../src/core/checksums.ts";
import { writeU32 } from "../../src/core/bytes.ts";
import { OtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { nodeDigests } from "../../src/device/digests.ts";
import { createOta, decodeMetaBlock, readKdimg } from "../../src/k230/index.ts";
import { MemoryCard, sha256Hex, vectorBytes, vectorDisk } from "./k230-vectors.ts";

const CASE = "powercut-a-to-b"; // slot A runs with version 1
const IMAGE = new Uint8Array(vectorBytes(CASE, "image.kdimg.gz"));
const DISK = vectorDisk(CASE);
const OLD_HALF = sha256Hex(DISK.subarray(0x100000, 0x120000));
const TARGETS = { rtt: 0x120000, rtapp: 0x130000 } as const;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000, 0xffff, 512, 4096, 254, 4097];

/** Numbers that look random and are the same in every run. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** Makes the checksums fit again, so that a mutation reaches the checks behind them. */
function repair(image: Uint8Array): void {
  if (image.length < 512) return;
  const count = image[16] as number;
  const end = Math.min(image.length, 512 + 256 * count);
  writeU32(image, 20, crc32(image.subarray(512, end)));
  writeU32(image, 4, 0);
  writeU32(image, 4, crc32(image.subarray(0, 512)));
}

/** One damaged image: bits, fields with interesting values, cuts, growth, moved blocks; checksums repaired in most cases. */
export function mutate(random: (below: number) => number): { image: Uint8Array; how: string } {
  let image = IMAGE.slice();
  const head = 512 + 512;
  const kind = random(8);
  let how: string;
  if (kind <= 2) {
    const at = 4 * random(head / 4);
    const value = INTERESTING[random(INTERESTING.length)] as number;
    writeU32(image, at, value);
    how = `u32 at ${at} = ${value}`;
  } else if (kind <= 4) {
    const at = random(head);
    image[at] = (image[at] as number) ^ (1 << random(8));
    how = `bit at ${at}`;
  } else if (kind === 5) {
    const size = random(IMAGE.length);
    image = image.slice(0, size);
    how = `cut at ${size}`;
  } else if (kind === 6) {
    const at = 65536 + random(IMAGE.length - 65536);
    image[at] = (image[at] as number) ^ (1 << random(8));
    how = `content bit at ${at}`;
  } else {
    const from = 512 + 256 * random(2);
    image.copyWithin(512 + 256 * random(2), from, from + 256);
    how = `entry of ${from} copied`;
  }
  if (random(4) > 0) {
    repair(image);
    how += ", checksums repaired";
  }
  return { image, how };
}

/** Installs `image`; asserts that it is refused before the first write, or installed rightly. @returns whether it was installed */
export async function checkMutant(image: Uint8Array, how: string, fromPipe: boolean): Promise<boolean> {
  const card = new MemoryCard(DISK.slice());
  const ota = await createOta({ target: card, medium: "sdcard", digests: nodeDigests });
  let installed = false;
  try {
    if (fromPipe) {
      for (let at = 0; at < image.length; at += 5000) await ota.update(image.subarray(at, at + 5000));
      installed = (await ota.destroy()).outcome === "installed";
    } else {
      installed = (await ota.writeFile(memoryReader(image))).outcome === "installed";
    }
  } catch (e) {
    if (!(e instanceof OtaError)) throw new Error(`${how}: not a typed error`, { cause: e });
    await ota.abort();
  }
  // The running slot and its block are as they were, whatever happened.
  expect(sha256Hex(card.bytes.subarray(0x100000, 0x120000)), how).toBe(OLD_HALF);
  expect(decodeMetaBlock(card.bytes.subarray(0xf0000, 0xf0200)), how).toEqual({ valid: true, version: 1 });
  if (!installed) {
    if (!fromPipe) expect(card.writes, how).toEqual([]);
    expect(decodeMetaBlock(card.bytes.subarray(0xf0400, 0xf0600)).valid, how).toBe(false);
    return false;
  }
  expect(decodeMetaBlock(card.bytes.subarray(0xf0400, 0xf0600)), how).toEqual({ valid: true, version: 2 });
  const { parts } = await readKdimg(memoryReader(image));
  for (const name of ["rtt", "rtapp"] as const) {
    const part = parts.find((p) => p.name === name);
    if (part === undefined) throw new Error(`${how}: installed without ${name}`);
    const content = image.subarray(part.contentOffset, part.contentOffset + part.contentSize);
    const found = card.bytes.subarray(TARGETS[name], TARGETS[name] + content.length);
    expect(sha256Hex(found), how).toBe(sha256Hex(content));
    expect(sha256Hex(found), how).toBe(Buffer.from(part.sha256).toString("hex"));
  }
  return true;
}

/** Runs `count` mutants from `seed`. */
export async function runMutants(count: number, seed: number): Promise<{ installed: number; refused: number }> {
  const random = randomNumbers(seed);
  const tally = { installed: 0, refused: 0 };
  for (let i = 0; i < count; i++) {
    const { image, how } = mutate(random);
    const installed = await checkMutant(image, `${i} of seed ${seed}: ${how}`, i % 2 === 1);
    tally[installed ? "installed" : "refused"]++;
  }
  return tally;
}
