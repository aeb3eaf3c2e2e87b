import { describe, expect, it } from "vitest";
import { crc32 } from "../core/checksums.ts";
import { createHash } from "node:crypto";
import type { Digests } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import {
  MemoryCard,
  sha256Hex,
  vectorBytes,
  vectorDisk,
  vectorJson,
  vectorNames,
} from "../../test/support/k230-vectors.ts";
import { explainBoot } from "./explain-boot.ts";
import type { Medium } from "./explain-boot.ts";
import { nodeFirmwareCrypto } from "./firmware.node.ts";
import { VendorDriver } from "./vendor-driver.ts";

const digests: Digests = {
  create: (name) => {
    const h = createHash(name);
    return { update: (b) => void h.update(b), digest: () => h.digest() };
  },
  crc32,
};

interface Step {
  op: "open" | "stream" | "write" | "close";
  image: string;
  chunk: number;
  imageOffset: number;
  length: number;
  position: number;
}

interface Outcome {
  op: string;
  result?: number;
  writeCalls?: number;
  acceptedBytes?: number;
  events?: string[];
  deviceWrites?: [number, number, string?][];
  deviceWriteCount?: number;
  firstDeviceWrite?: [number, number];
  lastDeviceWrite?: [number, number];
}

interface Expected {
  vendor: {
    steps: Outcome[];
    installed?: { slot: string; version: number }[];
    diskAfter: { sha256: string };
    bootAfter: { status: string; firstSlot: string; finalSlot: string };
  };
}

function merged(writes: readonly [number, number][]): [number, number][] {
  const out: [number, number][] = [];
  for (const [offset, length] of writes) {
    const last = out.at(-1);
    if (last !== undefined && last[0] + last[1] === offset) last[1] += length;
    else out.push([offset, length]);
  }
  return out;
}

async function runStep(step: Step, driver: VendorDriver, name: string): Promise<Outcome> {
  if (step.op === "open") return { op: "open", result: driver.open() };
  if (step.op === "close") {
    driver.close();
    return { op: "close" };
  }
  const image = vectorBytes(name, step.image);
  if (step.op === "write") {
    const bytes = image.subarray(step.imageOffset, step.imageOffset + step.length);
    return { op: "write", result: await driver.write(step.position, bytes) };
  }
  let calls = 0;
  let result = 0;
  for (let at = 0; at < image.length && result === 0; at += step.chunk) {
    calls++;
    if ((await driver.write(at, image.subarray(at, at + step.chunk))) < 0) result = -1;
  }
  return { op: "stream", result, writeCalls: calls, acceptedBytes: driver.position };
}

describe("the vendor's driver, write for write", () => {
  it.each(vectorNames("install-"))("%s", async (name) => {
    const input = vectorJson<{ steps: Step[]; fault?: { failwrite?: number; flipread?: number }; bootMedium?: Medium }>(
      name,
      "input.json",
    );
    const { vendor } = vectorJson<Expected>(name, "expected.json");
    const card = new MemoryCard(vectorDisk(name));
    card.failWrite = input.fault?.failwrite;
    card.flipRead = input.fault?.flipread;
    const medium = input.bootMedium ?? "sdcard";
    const driver = new VendorDriver({ target: card, medium, digests });
    for (const [i, step] of input.steps.entries()) {
      const want = vendor.steps[i];
      if (want === undefined) break;
      const [eventsBefore, writesBefore] = [driver.events.length, card.writes.length];
      expect(want).toMatchObject(await runStep(step, driver, name));
      expect(driver.events.slice(eventsBefore)).toEqual(want.events ?? []);
      const writes = card.writes.slice(writesBefore);
      if (want.deviceWriteCount === undefined) {
        const good = (want.deviceWrites ?? []).filter((w) => w[2] === undefined);
        const failed = (want.deviceWrites ?? []).some((w) => w[2] !== undefined);
        if (!failed) expect(merged(writes)).toEqual(good);
      } else {
        expect([writes.length, writes[0], writes.at(-1)]).toEqual([
          want.deviceWriteCount,
          want.firstDeviceWrite,
          want.lastDeviceWrite,
        ]);
      }
    }
    expect(sha256Hex(card.bytes)).toBe(vendor.diskAfter.sha256);
    const boot = await explainBoot(memoryReader(card.bytes), {
      crypto: nodeFirmwareCrypto,
      medium,
      dramBase: 0x10000000,
      dramSize: 0x6000000,
    });
    const { status, firstSlot, finalSlot } = vendor.bootAfter;
    expect(boot).toMatchObject({ status, firstSlot, finalSlot });
  });
});

interface Sweep {
  deviceWrites: [number, number][];
  cuts: {
    afterDeviceWrites: number;
    diskSha256: string;
    boot: { status: string; firstSlot: string; finalSlot: string };
  }[];
}

describe("power cuts under the vendor's driver", () => {
  it.each(vectorNames("powercut-"))("%s", async (name) => {
    const { image, chunk } = vectorJson<{ image: string; chunk: number }>(name, "input.json");
    const sweep = vectorJson<Sweep>(name, "expected.json");
    const bytes = vectorBytes(name, image);
    for (const cut of sweep.cuts) {
      const card = new MemoryCard(vectorDisk(name));
      card.failWrite = cut.afterDeviceWrites + 1;
      const driver = new VendorDriver({ target: card, medium: "sdcard", digests });
      driver.open();
      for (let at = 0; at < bytes.length; at += chunk) await driver.write(at, bytes.subarray(at, at + chunk));
      expect(card.writes).toEqual(sweep.deviceWrites.slice(0, cut.afterDeviceWrites));
      expect(sha256Hex(card.bytes)).toBe(cut.diskSha256);
      const boot = await explainBoot(memoryReader(card.bytes), {
        crypto: nodeFirmwareCrypto,
        dramBase: 0x10000000,
        dramSize: 0x6000000,
      });
      const { status, firstSlot, finalSlot } = cut.boot;
      expect(boot).toMatchObject({ status, firstSlot, finalSlot });
    }
  });
});
