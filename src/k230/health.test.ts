import { describe, expect, it } from "vitest";
import { isOtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import type { FileStore } from "../core/ports.ts";
import { createSimulatedDevice, nodeDigests } from "../device/index.ts";
import { MemoryCard, vectorBytes, vectorDisk } from "../../test/support/k230-vectors.ts";
import type { K230Card } from "./card.ts";
import { explainBoot } from "./explain-boot.ts";
import { nodeFirmwareCrypto } from "./firmware.node.ts";
import { checkTrial, confirmHealth, healthStatus, rollback } from "./health.ts";
import { encodeMetaBlock } from "./ota-meta.ts";
import { createOta } from "./ota.ts";

const CASE = "powercut-a-to-b"; // the slots of this disk hold bootable firmware, and the image does too
const load = { crypto: nodeFirmwareCrypto, dramBase: 0x10000000, dramSize: 0x6000000 };

class Bench {
  readonly card = new MemoryCard(vectorDisk(CASE));
  readonly state: FileStore = createSimulatedDevice({}).state;
  boots = 1;

  /** The card as the system sees it in the present boot. */
  get now(): K230Card {
    return {
      target: this.card,
      medium: "sdcard",
      digests: nodeDigests,
      state: this.state,
      bootId: `boot-${this.boots}`,
    };
  }

  async update(): Promise<void> {
    await (await createOta(this.now)).writeFile(memoryReader(vectorBytes(CASE, "image.kdimg.gz")));
  }

  /** Restarts; gives the slot the loader starts. */
  async restart(): Promise<string | null> {
    this.boots++;
    return (await explainBoot(memoryReader(this.card.bytes), load)).finalSlot;
  }
}

describe("a trial boot", () => {
  it("shows versions, active, running and pending as an application needs them", async () => {
    const bench = new Bench();
    expect(await healthStatus(bench.now)).toEqual({ versionA: 1, active: "a", running: "a" });
    await bench.update();
    expect(await healthStatus(bench.now)).toMatchObject({
      versionA: 1,
      versionB: 2,
      active: "b",
      running: "a",
      pending: "b",
      trial: { slot: "b", verdict: "pending", starts: 0 },
    });
    expect(await bench.restart()).toBe("B");
    const status = await healthStatus(bench.now);
    expect(status).toMatchObject({ active: "b", running: "b" });
    expect(status.pending).toBeUndefined();
  });

  it("ends with the confirmation, and power cycles after it change nothing", async () => {
    const bench = new Bench();
    await bench.update();
    await bench.restart();
    expect((await checkTrial(bench.now)).action).toBe("waiting");
    expect((await confirmHealth(bench.now)).trial?.verdict).toBe("confirmed");
    const writes = bench.card.writes.length;
    for (let i = 0; i < 10; i++) {
      expect(await bench.restart()).toBe("B");
      expect((await checkTrial(bench.now, { starts: 2, seconds: 1, uptimeSeconds: 9 })).action).toBe("confirmed");
    }
    expect(bench.card.writes.length).toBe(writes);
  });

  it("goes back to the old slot after the allowed starts without confirmation", async () => {
    const bench = new Bench();
    await bench.update();
    for (let i = 0; i < 3; i++) {
      expect(await bench.restart()).toBe("B");
      expect((await checkTrial(bench.now, { starts: 3 }, { load })).action).toBe("waiting");
      // A second call in the same boot is no other start.
      expect((await checkTrial(bench.now, { starts: 3 }, { load })).action).toBe("waiting");
    }
    expect(await bench.restart()).toBe("B");
    const { action, status } = await checkTrial(bench.now, { starts: 3 }, { load });
    expect(action).toBe("rolled-back");
    expect(status).toMatchObject({ active: "a", versionA: 3, versionB: 2, trial: { verdict: "rolled-back" } });
    expect(await bench.restart()).toBe("A");
    expect((await checkTrial(bench.now)).action).toBe("none");
  });

  it("goes back when the time is over", async () => {
    const bench = new Bench();
    await bench.update();
    await bench.restart();
    expect((await checkTrial(bench.now, { seconds: 600, uptimeSeconds: 30 })).action).toBe("waiting");
    expect((await checkTrial(bench.now, { seconds: 600, uptimeSeconds: 601 })).action).toBe("rolled-back");
    expect(await bench.restart()).toBe("A");
  });

  it("keeps an update away from the only system to go back to", async () => {
    const bench = new Bench();
    await bench.update();
    await bench.restart();
    await checkTrial(bench.now);
    await expect(bench.update()).rejects.toSatisfy((e) => isOtaError(e, "K230_TRIAL_RUNNING"));
    await confirmHealth(bench.now);
    await bench.update();
    expect(await bench.restart()).toBe("A");
  });
});

describe("a rollback", () => {
  it("takes back an update that has not been started yet", async () => {
    const bench = new Bench();
    await bench.update();
    expect(await rollback(bench.now, { load })).toMatchObject({ active: "a", running: "a", versionA: 3 });
    expect(await bench.restart()).toBe("A");
  });

  it("is one write of one sector, and every cut in it leaves a complete slot", async () => {
    const bench = new Bench();
    await bench.update();
    await bench.restart();
    const before = bench.card.bytes.slice();
    const writes = bench.card.writes.length;
    await rollback(bench.now, { load });
    const [offset] = bench.card.writes[writes] ?? [];
    expect(bench.card.writes.slice(writes)).toEqual([[offset, 512]]);
    for (let n = 0; n <= 512; n += 1) {
      const torn = before.slice();
      torn.set(bench.card.bytes.subarray(offset, (offset ?? 0) + n), offset);
      const report = await explainBoot(memoryReader(torn), load);
      expect(report.status).toBe("boots");
      expect(report.finalSlot).toBe(report.firstSlot);
    }
  });

  it("refuses a slot the loader could not load", async () => {
    const bench = new Bench();
    bench.card.bytes.fill(0, 0x120000, 0x120400);
    await expect(rollback(bench.now, { load })).rejects.toSatisfy((e) => isOtaError(e, "K230_NO_SLOT_TO_ROLL_BACK"));
    expect(bench.card.writes).toEqual([]);
  });

  it("works at the end of the version counter", async () => {
    const bench = new Bench();
    bench.card.bytes.set(encodeMetaBlock(7), 0xf0000);
    bench.card.bytes.set(encodeMetaBlock(0xffffffff), 0xf0400);
    expect(await rollback(bench.now)).toMatchObject({ active: "a" });
    expect(await bench.restart()).toBe("A");
  });
});
