import { describe, expect, it } from "vitest";
import { isOtaError } from "../core/errors.ts";
import type { Device } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice, nodeDigests } from "../device/index.ts";
import type { PowerCut, SimulatedDevice } from "../device/index.ts";
import { vectorBytes, vectorDisk } from "../../test/support/k230-vectors.ts";
import { CARD_NODE, openCard } from "./card.ts";
import type { K230Card } from "./card.ts";
import { explainBoot } from "./explain-boot.ts";
import { nodeFirmwareCrypto } from "./firmware.node.ts";
import { checkTrial, rollback } from "./health.ts";
import { checkInstallable } from "./installable.ts";
import { judgeCard, pairOf, runningPair } from "./judge.ts";
import type { PairIdentity, PairVerdict } from "./judge.ts";
import { readKdimg } from "./kdimg.ts";
import { encodeMetaBlock } from "./ota-meta.ts";
import { createOta } from "./ota.ts";

const boot = { crypto: nodeFirmwareCrypto, dramBase: 0x10000000, dramSize: 0x6000000 };
const CASE = "powercut-a-to-b";
const IMAGE = vectorBytes(CASE, "image.kdimg.gz");

/** A card whose slots hold bootable firmware; `blocks` are the versions in ota_meta. */
function cardWith(blocks: { a?: number; b?: number }): Uint8Array {
  const disk = vectorDisk(CASE);
  for (const [slot, at] of [
    ["a", 0xf0000],
    ["b", 0xf0400],
  ] as const) {
    const version = blocks[slot];
    disk.fill(0, at, at + 512);
    if (version !== undefined) disk.set(encodeMetaBlock(version), at);
  }
  return disk;
}

const deviceWith = (content: Uint8Array): SimulatedDevice =>
  createSimulatedDevice({ nodes: { [CARD_NODE]: { kind: "block", content } } });

async function onCard<T>(device: Device, work: (card: K230Card) => Promise<T>): Promise<T> {
  const card = await openCard(device);
  try {
    return await work(card);
  } finally {
    await card.target.close();
  }
}

type Work = (device: SimulatedDevice) => Promise<unknown>;

interface Tally {
  cuts: number;
  old: number;
  new: number;
  broken: string[];
}

/**
 * Cuts `work` at every write in every way, restarts, judges, runs it again (cut once more for a few), and judges again.
 */
async function rehearse(
  start: SimulatedDevice,
  work: Work,
  pairs: { old: PairIdentity; new: PairIdentity },
  wanted: PairVerdict,
): Promise<Tally> {
  const dry = start.fork({ keepLog: true });
  await work(dry);
  const writes = dry.writes;
  const tally: Tally = { cuts: 0, old: 0, new: 0, broken: [] };
  const judge = (device: SimulatedDevice): Promise<{ verdict: PairVerdict; why?: string }> =>
    onCard(device, (card) => judgeCard(card.target, pairs, nodeDigests, { ...boot, boots: true }));
  const cutRun = async (from: SimulatedDevice, cut: PowerCut): Promise<SimulatedDevice> => {
    const device = from.fork();
    device.cutPower(cut);
    await work(device).catch((e: unknown) => {
      if (!isOtaError(e)) throw e;
    });
    return device.restart();
  };
  for (let write = 0; write < writes; write++) {
    for (const phase of ["before", "torn", "after"] as const) {
      for (const unflushed of ["dropped", "some", "kept"] as const) {
        const cut = { write, phase, unflushed, seed: write + 1 };
        tally.cuts++;
        let device = await cutRun(start, cut);
        const first = await judge(device);
        if (first.verdict === "broken") tally.broken.push(`${JSON.stringify(cut)}: ${first.why ?? ""}`);
        else tally[first.verdict]++;
        if (write % 3 === 0) {
          device = await cutRun(device, { ...cut, write: Math.floor(write / 2) });
          const second = await judge(device);
          if (second.verdict === "broken") tally.broken.push(`again ${JSON.stringify(cut)}: ${second.why ?? ""}`);
        }
        await work(device);
        const last = await judge(device.restart());
        if (last.verdict !== wanted) tally.broken.push(`end ${JSON.stringify(cut)}: ${last.verdict} ${last.why ?? ""}`);
      }
    }
  }
  return tally;
}

const install: Work = async (device) => (await createOta(device)).writeFile(memoryReader(IMAGE), 4096);

async function newPair(): Promise<PairIdentity> {
  return pairOf(checkInstallable(await readKdimg(memoryReader(IMAGE))).parts);
}

describe("the safe installer under power cuts always boots a complete old or new pair", () => {
  it.each([
    ["a fresh card", {}],
    ["A to B", { a: 1 }],
    ["B to A", { a: 1, b: 2 }],
    ["B to A over an older valid A", { a: 6, b: 7 }],
    ["A to B with a torn B", { a: 3 }],
  ])("%s", async (_name, blocks) => {
    const start = deviceWith(cardWith(blocks));
    const old = await onCard(start, (card) => runningPair(card));
    const tally = await rehearse(start, install, { old, new: await newPair() }, "new");
    expect(tally.broken).toEqual([]);
    expect(tally.old).toBeGreaterThan(0);
    expect(tally.new).toBeGreaterThan(0);
  });

  it("repeated: an update onto each slot in turn", async () => {
    let device = deviceWith(cardWith({ a: 1 }));
    for (let round = 0; round < 3; round++) {
      await install(device);
      device = device.restart();
    }
    const report = await onCard(device, (card) => explainBoot(card.target, boot));
    expect(report.meta).toMatchObject({ A: { version: 3 }, B: { version: 4 } });
  });
});

describe("a rollback under power cuts always boots a complete pair", () => {
  it.each([
    [
      "by hand",
      (device: SimulatedDevice) =>
        onCard(device, async (card) => {
          // What a person does: look whether the old system is chosen, and roll back if not.
          const { finalSlot } = await explainBoot(card.target, boot);
          if (finalSlot === "B") await rollback(card, { load: boot });
        }),
    ],
    [
      "by the trial",
      (device: SimulatedDevice) => onCard(device, (card) => checkTrial(card, { starts: 0 }, { load: boot })),
    ],
  ])("%s", async (_name, work) => {
    const before = deviceWith(cardWith({ a: 1 }));
    const old = await onCard(before, (card) => runningPair(card));
    await install(before);
    const start = before.restart();
    const tally = await rehearse(start, work, { old, new: await newPair() }, "old");
    expect(tally.broken).toEqual([]);
    expect(tally.new).toBeGreaterThan(0);
  });
});

/** Wrong installers that a rehearsal must catch. */
const wrong: Record<string, Work> = {
  "the version block before the contents": async (device) => {
    await onCard(device, async ({ target }) => {
      const { parts } = await readKdimg(memoryReader(IMAGE));
      await target.write(0xf0400, encodeMetaBlock(2));
      await target.flush();
      for (const [i, at] of [0x120000, 0x130000].entries()) await writePart(target, at, parts[i]);
      await target.flush();
    });
  },
  "no flush before the version block": async (device) => {
    await onCard(device, async ({ target }) => {
      const { parts } = await readKdimg(memoryReader(IMAGE));
      for (const [i, at] of [0x120000, 0x130000].entries()) await writePart(target, at, parts[i]);
      await target.write(0xf0400, encodeMetaBlock(2));
      await target.flush();
    });
  },
  "the pair is committed when rtt alone is there": async (device) => {
    await onCard(device, async ({ target }) => {
      const { parts } = await readKdimg(memoryReader(IMAGE));
      await writePart(target, 0x120000, parts[0]);
      await target.flush();
      await target.write(0xf0400, encodeMetaBlock(2));
      await target.flush();
      await writePart(target, 0x130000, parts[1]);
      await target.flush();
    });
  },
};

async function writePart(
  target: K230Card["target"],
  at: number,
  part: { contentOffset: number; contentSize: number } | undefined,
): Promise<void> {
  if (part === undefined) return;
  const bytes = new Uint8Array(Math.ceil(part.contentSize / 512) * 512);
  bytes.set(IMAGE.subarray(part.contentOffset, part.contentOffset + part.contentSize));
  await target.write(at, bytes);
}

describe("a planted bug is caught", () => {
  it.each(Object.entries(wrong))("%s", async (_name, work) => {
    const start = deviceWith(cardWith({ a: 1 }));
    const old = await onCard(start, (card) => runningPair(card));
    const tally = await rehearse(start, work, { old, new: await newPair() }, "new");
    expect(tally.broken).not.toEqual([]);
  });
});
