/**
 * A K230's card on a real kernel: every write of an update is recorded below the kernel, and every moment of the recording is
 * judged by what the loader would start.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { memoryReader } from "../../src/core/streams.ts";
import { createSimulatedDevice } from "../../src/device/index.ts";
import { CARD_NODE, createOta, openCard } from "../../src/k230/index.ts";
import { cardImage, judgeBytes, oldCard } from "./card-machine.ts";
import { COUNTS, report } from "./counts.ts";
import { Guest } from "./guest.ts";
import { workFolder } from "./machine.ts";
import { diskAfterCut, replayPoints, type DiskCache } from "./replay.ts";
import { parseWriteLog, type LoggedWrite } from "./write-log.ts";

const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Version blocks of the card. */
const META = { from: 0xf0000, to: 0xf0800 };

type Medium = "sd" | "virtio";
const CACHE: Record<Medium, DiskCache> = { sd: "writes-through", virtio: "volatile" };
const NODE: Record<Medium, string> = { sd: "/dev/mmcblk0", virtio: "/dev/lab/card" };

interface Recording {
  readonly before: Uint8Array;
  readonly writes: readonly LoggedWrite[];
  readonly after: Uint8Array;
  readonly cache: DiskCache;
}

/** Runs an install in a machine whose card's writes are recorded. */
async function record(
  name: string,
  medium: Medium,
  running: "a" | "b",
  install: (guest: Guest, node: string) => Promise<void>,
): Promise<Recording> {
  const before = oldCard(running);
  const [card, log] = [join(folder, `${name}.img`), join(folder, `${name}.log`)];
  writeFileSync(card, before);
  writeFileSync(log, "");
  const blocks = [
    ...[
      "-blockdev",
      `driver=file,node-name=f0,filename=${card}`,
      "-blockdev",
      `driver=file,node-name=l0,filename=${log}`,
    ],
    ...["-blockdev", "driver=blklogwrites,node-name=card,file=f0,log=l0,log-sector-size=512"],
  ];
  const device =
    medium === "sd"
      ? ["-device", "sdhci-pci", "-device", "sd-card,drive=card"]
      : ["-device", "virtio-blk-pci,drive=card,serial=card"];
  const guest = await Guest.boot({
    arguments: [...blocks, ...device],
    files: {
      "image.kdimg": cardImage,
      "DEVICE.json": JSON.stringify({ kind: "board", family: "k230", card: NODE[medium] }),
    },
    before:
      medium === "sd"
        ? "modprobe sdhci-pci; modprobe mmc_block; until [ -b /dev/mmcblk0 ]; do usleep 20000; done"
        : "test -b /dev/lab/card",
  });
  await install(guest, NODE[medium]);
  await guest.end();
  const writes = parseWriteLog(readFileSync(log));
  const after = new Uint8Array(readFileSync(card));
  return { before, writes, after, cache: CACHE[medium] };
}

const byCommand = async (guest: Guest, node: string): Promise<void> => {
  await guest.sh(`node /app/bin/test_ota --disk ${node} /lab/image.kdimg`);
};
const wrongOrder = async (guest: Guest): Promise<void> => {
  const outcome = await guest.call("/lab/wrong-order.mjs", "install", {
    device: "/lab/DEVICE.json",
    image: "/lab/image.kdimg",
  });
  expect(outcome).toBe("installed");
};

interface Judged {
  points: number;
  old: number;
  new: number;
  readonly broken: string[];
  resumed: number;
}

/** Judges `count` moments of a recording; every `rerunEach`th is also updated again, as after the restart. */
async function judge({ before, writes, cache }: Recording, count: number, rerunEach: number): Promise<Judged> {
  const tally: Judged = { points: 0, old: 0, new: 0, broken: [], resumed: 0 };
  for (const [i, point] of replayPoints(writes.length, count).entries()) {
    const disk = diskAfterCut(before, writes, point, cache);
    const { verdict, why } = await judgeBytes(disk);
    tally.points++;
    if (verdict === "broken") tally.broken.push(`prefix ${point.prefix}, seed ${point.seed}: ${why ?? ""}`);
    else tally[verdict]++;
    if (i % rerunEach !== 0 || verdict === "broken") continue;
    const device = createSimulatedDevice({ nodes: { [CARD_NODE]: { kind: "block", content: disk } } });
    const card = await openCard(device);
    await (await createOta(card, { profile: "safe", allowPartial: false })).writeFile(memoryReader(cardImage), 65536);
    expect(await judgeBytes(await card.target.read(0, card.target.size))).toMatchObject({ verdict: "new" });
    tally.resumed++;
  }
  return tally;
}

/** The installer's barrier reached the disk: a flush lies between the last content and the version block that stands for it. */
function expectBarrier(writes: readonly LoggedWrite[]): void {
  const isMeta = ({ offset, data }: LoggedWrite): boolean =>
    offset < META.to && offset + data.length > META.from && data.length > 0;
  const lastContent = writes.map((write) => write.data.length > 0 && !isMeta(write)).lastIndexOf(true);
  const version = writes.map(isMeta).lastIndexOf(true);
  const story = writes.map(({ offset, data, flush }) => `${offset}+${data.length}${flush ? " flush" : ""}`).join(", ");
  expect(version, story).toBeGreaterThan(lastContent);
  expect(
    writes.slice(lastContent, version).some((write) => write.flush),
    story,
  ).toBe(true);
}

describe("a K230's card", () => {
  const cases = [
    ["sd", "a"],
    ["sd", "b"],
    ["virtio", "a"],
    ["virtio", "b"],
  ] as const;

  test.each(cases)("on %s, slot %s running: a complete pair starts at every moment", async (medium, running) => {
    const recording = await record(`${medium}-${running}`, medium, running, byCommand);
    const { writes, after, before } = recording;
    // What was recorded is what the card holds: nothing was written past the recording.
    expect(diskAfterCut(before, writes, { prefix: writes.length, seed: 0 }, recording.cache)).toEqual(after);
    if (medium === "virtio") expectBarrier(writes);
    const tally = await judge(recording, Math.ceil(COUNTS.replayPoints / cases.length), 25);
    report(
      `replay on ${medium}, slot ${running} running: ${writes.length} writes, ${tally.points} points, ` +
        `${tally.old} start old, ${tally.new} start new, ${tally.broken.length} broken, ${tally.resumed} updated again`,
    );
    expect(tally.broken).toEqual([]);
    expect(Math.min(tally.old, tally.new)).toBeGreaterThan(0);
  });

  test.each(["sd", "virtio"] as const)(
    "on %s: the replay finds an installer that writes in the wrong order",
    async (medium) => {
      const recording = await record(`${medium}-wrong`, medium, "a", wrongOrder);
      const tally = await judge(recording, 400, Number.MAX_SAFE_INTEGER);
      report(`replay of the wrong order on ${medium}: ${tally.broken.length} of ${tally.points} points broken`);
      // Without cuts it installs as well as any other: only the order is wrong.
      expect(await judgeBytes(recording.after)).toMatchObject({ verdict: "new" });
      expect(tally.broken.length).toBeGreaterThan(20);
    },
  );
});
