/** Three of the simulated cuts, made again on a real kernel: the same installer, the same write, the same kind of cut, the same end. */
import { rmSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { rehearsalSubject } from "../../src/cli/k230-rehearsal.ts";
import type { SimulatedWrite } from "../../src/device/simulated/index.ts";
import { CARD_NODE } from "../../src/k230/index.ts";
import { rehearse } from "../../src/rehearse/index.ts";
import { cardImage, cardMachine, judgeBytes, oldCard } from "./card-machine.ts";
import { report } from "./counts.ts";
import { Guest } from "./guest.ts";
import { workFolder } from "./machine.ts";

const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const META = { from: 0xf0000, to: 0xf0800 };

const subject = await rehearsalSubject({
  spec: { nodes: { [CARD_NODE]: { kind: "block", content: oldCard("a") } } },
  image: cardImage,
  card: {},
  profile: "safe",
  allowPartial: false,
});

/** The log of an installation that is not cut. */
async function cleanLog(): Promise<readonly SimulatedWrite[]> {
  const device = subject.makeDevice().fork({ keepLog: true });
  await subject.install(device);
  return device.log;
}

const log = await cleanLog();
const onCard = log.flatMap((write, index) => (write.where === CARD_NODE ? [{ write, index }] : []));
const isMeta = ({ write }: { write: SimulatedWrite }): boolean =>
  write.kind === "write" && write.offset >= META.from && write.offset < META.to;
const contents = onCard.filter(
  (entry) => entry.write.kind === "write" && !isMeta(entry) && entry.write.bytes.length > 1024,
);

interface Cut {
  readonly name: string;
  readonly phase: "before" | "torn" | "after";
  readonly unflushed: "dropped" | "kept";
  /** Index in the log. */
  readonly index: number;
}

const cuts: readonly Cut[] = [
  {
    name: "inside a write of the contents",
    phase: "torn",
    unflushed: "kept",
    index: contents[Math.floor(contents.length / 2)]?.index as number,
  },
  {
    name: "before the version block is written",
    phase: "before",
    unflushed: "dropped",
    index: onCard.filter(isMeta).at(-1)?.index as number,
  },
  { name: "after the last write", phase: "after", unflushed: "kept", index: onCard.at(-1)?.index as number },
];

type Ending = "endedOld" | "endedNew" | "resumed";

async function simulatedEnding({ index, phase, unflushed }: Cut): Promise<Ending> {
  const result = await rehearse(subject, { only: `${index}.${phase}.${unflushed}` });
  expect(result).toMatchObject({ cuts: 1, broken: 0 });
  return (["endedOld", "endedNew", "resumed"] as const).find((ending) => result[ending] === 1) as Ending;
}

describe("a simulated cut and the same cut of a virtual machine", () => {
  test.each(cuts)("$name", async (cut) => {
    const machine = cardMachine(folder, "virtio");
    const write = onCard.findIndex(({ index }) => index === cut.index);
    const first = await Guest.boot(machine.options);
    void first
      .call("/lab/cut-install.mjs", "install", {
        device: "/lab/DEVICE.json",
        image: "/lab/image.kdimg",
        cut: { write, phase: cut.phase },
      })
      .catch(() => undefined);
    await first.machine.waitFor("CUT-HERE");
    await first.kill();
    const cutCard = machine.card();
    const started = await judgeBytes(cutCard);
    expect(started.verdict).toBe(cut.phase === "after" ? "new" : "old");
    const second = await Guest.boot(machine.options);
    await second.sh("node /app/bin/test_ota --device /lab/DEVICE.json /lab/image.kdimg");
    await second.end();
    const end = machine.card();
    const wrote = Buffer.compare(cutCard, end) !== 0;
    const { verdict } = await judgeBytes(end);
    const ending: Ending = verdict === "old" ? "endedOld" : wrote ? "resumed" : "endedNew";
    const simulated = await simulatedEnding(cut);
    report(`the same cut, ${cut.name}: starts ${started.verdict}; simulated ${simulated}, in the machine ${ending}`);
    expect(verdict).toBe("new");
    expect(ending).toBe(simulated);
  });
});
