/** The plain truth: a whole start of the machine, an update of its SD card, the power cut at a random moment, the next start. */
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { Random } from "../../src/device/simulated/index.ts";
import { cardMachine, judgeBytes } from "./card-machine.ts";
import { COUNTS, report } from "./counts.ts";
import { Guest } from "./guest.ts";
import { workFolder } from "./machine.ts";

const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("cold starts: the loader always finds a complete pair, and the same command finishes the update", async () => {
  const machine = cardMachine(folder, "sd");
  const args = ["--device", "/lab/DEVICE.json", "/lab/image.kdimg"];
  const random = new Random(5);
  const measured = await Guest.boot(machine.options);
  await measured.load("test_ota");
  const start = performance.now();
  await measured.command("test_ota", args);
  const wholeMs = performance.now() - start;
  await measured.kill();
  expect(await judgeBytes(machine.card())).toMatchObject({ verdict: "new" });
  machine.reset();

  const tally = { cuts: 0, old: 0, new: 0 };
  for (; tally.cuts < COUNTS.coldCuts; tally.cuts++) {
    const guest = await Guest.boot(machine.options);
    await guest.load("test_ota");
    guest.begin("test_ota", args);
    await sleep((random.below(1000) / 1000) * wholeMs);
    await guest.kill();
    const { verdict, why } = await judgeBytes(machine.card());
    expect(verdict, why).not.toBe("broken");
    if (verdict === "broken") continue;
    tally[verdict]++;
    // An interrupted update goes on, and may be cut again; a finished one begins anew.
    if (verdict === "new") machine.reset();
  }
  const last = await Guest.boot(machine.options);
  await last.command("test_ota", args);
  await last.end();
  expect(await judgeBytes(machine.card())).toMatchObject({ verdict: "new" });
  report(`cold cuts: ${tally.cuts}, the loader starts old ${tally.old}, new ${tally.new}; the last update is finished`);
});
