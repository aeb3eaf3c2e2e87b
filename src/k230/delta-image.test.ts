import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { writeU32 } from "../core/bytes.ts";
import { crc32 } from "../core/checksums.ts";
import { OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { nodeDigests } from "../device/digests.ts";
import {
  cardRunning,
  edited,
  fullImage,
  makeDelta,
  NEW,
  noise,
  OLD,
  SLOT_OFFSETS,
} from "../../test/support/k230-delta.ts";
import type { Pair } from "../../test/support/k230-delta.ts";
import { randomNumbers } from "../../test/support/k230-mutations.ts";
import { MemoryCard, sha256Hex } from "../../test/support/k230-vectors.ts";
import { readKdimg } from "./kdimg.ts";
import { decodeMetaBlock } from "./ota-meta.ts";
import { createOta } from "./ota.ts";
import type { OtaReport } from "./ota.ts";
import { VendorDriver } from "./vendor-driver.ts";

const sessionOn = (target: MemoryCard) => ({ target, medium: "sdcard", digests: nodeDigests }) as const;

async function installFile(card: MemoryCard, image: Uint8Array): Promise<OtaReport> {
  return (await createOta(sessionOn(card))).writeFile(memoryReader(image));
}

async function installPipe(card: MemoryCard, image: Uint8Array, chunk = 1000): Promise<OtaReport> {
  const ota = await createOta(sessionOn(card));
  try {
    for (let at = 0; at < image.length; at += chunk) await ota.update(image.subarray(at, at + chunk));
  } catch (e) {
    await ota.abort();
    throw e;
  }
  return ota.destroy();
}

function holds(card: MemoryCard, slot: "a" | "b", { rtt, rtapp }: Pair): boolean {
  return Object.entries({ rtt, rtapp }).every(([name, content]) => {
    const at = SLOT_OFFSETS[`${name}_${slot}`] as number;
    return sha256Hex(card.bytes.subarray(at, at + content.length)) === sha256Hex(content);
  });
}

const code = (e: unknown): unknown => (e instanceof OtaError ? e.code : e);
const failing = async (work: Promise<unknown>): Promise<unknown> => work.then(() => "no error", code);

describe("a delta image", () => {
  let image: Uint8Array;
  beforeAll(async () => {
    const { report, image: made } = await makeDelta(OLD, NEW);
    expect(report.parts.map((p) => p.kind)).toEqual(["delta", "delta"]);
    image = made;
  });

  it("is much smaller than the full one, and made the same again", async () => {
    expect(image.length).toBeLessThan(0x10000 + 3 * 4096);
    expect(sha256Hex((await makeDelta(OLD, NEW)).image)).toBe(sha256Hex(image));
  });

  it.each([
    ["a file", (card: MemoryCard) => installFile(card, image)],
    ["a pipe in pieces of 1000 bytes", (card: MemoryCard) => installPipe(card, image)],
    ["a pipe byte by byte through head and table", (card: MemoryCard) => installPipe(card, image, 1)],
  ])("becomes the other slot's content from %s", async (_name, install) => {
    const card = new MemoryCard(cardRunning(OLD));
    expect(await install(card)).toMatchObject({ outcome: "installed", slot: "b", version: 1 });
    expect([holds(card, "a", OLD), holds(card, "b", NEW)]).toEqual([true, true]);
    expect(decodeMetaBlock(card.bytes.subarray(0xf0400, 0xf0600))).toEqual({ valid: true, version: 1 });
  });

  it("is refused by the vendor's driver before anything is written", async () => {
    const card = new MemoryCard(cardRunning(OLD));
    const driver = new VendorDriver(sessionOn(card));
    driver.open();
    expect(await driver.write(0, image)).toBe(-1);
    expect(driver.events).toEqual(["part-magic"]);
    expect(card.writes).toEqual([]);
  });

  it("is refused on another base, before the first write, from a file and from a pipe", async () => {
    const other = { ...OLD, rtapp: edited(OLD.rtapp, 9) };
    for (const install of [installFile, installPipe]) {
      const card = new MemoryCard(cardRunning(other));
      expect(await failing(install(card, image))).toBe("K230_WRONG_BASE");
      expect(card.writes).toEqual([]);
    }
  });

  it("says so when its result runs already", async () => {
    const card = new MemoryCard(cardRunning(NEW));
    expect(await failing(installFile(card, image))).toBe("K230_UP_TO_DATE");
    expect(card.writes).toEqual([]);
  });

  it("is refused where a target is smaller than what the patch makes", async () => {
    const bytes = cardRunning(OLD);
    // Size of rtt_b, the fourth entry of the table of contents.
    writeU32(bytes, 0xe0000 + 3 * 64 + 40, NEW.rtt.length - 1);
    const card = new MemoryCard(bytes);
    expect(await failing(installFile(card, image))).toBe("K230_TARGET_TOO_SMALL");
    expect(card.writes).toEqual([]);
  });

  it("carries a part in full where the patch is no smaller, and is a plain image when all are", async () => {
    const mixed = { rtt: noise(30_000, 77), rtapp: NEW.rtapp };
    const made = await makeDelta(OLD, mixed);
    expect(made.report.parts.map((p) => p.kind)).toEqual(["full", "delta"]);
    const card = new MemoryCard(cardRunning(OLD));
    expect(await installPipe(card, made.image)).toMatchObject({ outcome: "installed" });
    expect(holds(card, "b", mixed)).toBe(true);

    const foreign = { rtt: noise(30_000, 77), rtapp: noise(20_000, 78) };
    const plain = await makeDelta(OLD, foreign);
    expect(plain.report.isDelta).toBe(false);
    expect(sha256Hex(plain.image)).toBe(sha256Hex(fullImage(foreign)));
  });

  it("damaged anywhere, with digests made to fit again: a typed error before the first write, or the right result", async () => {
    const { parts } = await readKdimg(memoryReader(image));
    const random = randomNumbers(7);
    const tally = { installed: 0, refused: 0 };
    for (let i = 0; i < 150; i++) {
      const mutant = image.slice();
      const part = parts[random(2)] as (typeof parts)[0];
      const entry = 512 + 256 * parts.indexOf(part);
      // Half of them in the patch, half in the fields of the entry.
      const at = i % 2 === 0 ? part.contentOffset + random(part.contentSize) : entry + random(180);
      mutant[at] = (mutant[at] as number) ^ (1 << random(8));
      const content = mutant.subarray(part.contentOffset, part.contentOffset + part.contentSize);
      if (i % 2 === 0) mutant.set(createHash("sha256").update(content).digest(), entry + 40);
      writeU32(mutant, 20, crc32(mutant.subarray(512, 1024)));
      writeU32(mutant, 4, 0);
      writeU32(mutant, 4, crc32(mutant.subarray(0, 512)));
      const card = new MemoryCard(cardRunning(OLD));
      const found = await installFile(card, mutant).catch((e: unknown) => e);
      expect(holds(card, "a", OLD), `mutant ${i}`).toBe(true);
      if (found instanceof OtaError) {
        tally.refused++;
        expect(card.writes, `mutant ${i}: ${found.message}`).toEqual([]);
      } else {
        tally.installed++;
        expect(found, `mutant ${i}`).toMatchObject({ outcome: "installed" });
        expect(holds(card, "b", NEW), `mutant ${i}`).toBe(true);
      }
    }
    expect(tally.refused).toBeGreaterThan(75);
    expect(tally.installed).toBeGreaterThan(5);
  });
});
