/**
 * Android packages on raw partitions and ext4 of a real kernel, installed by our updater: once on the whole, then with the power
 * cut at random moments. A machine is saved with everything loaded and nothing opened, restored for every cut, killed while
 * it updates, restored again on the disks as the cut left them, and killed again, until a run may end.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { Random } from "../../src/device/simulated/index.ts";
import type { AndroidCase } from "./android-board.ts";
import { expectNewSystem, startAgain } from "./android-judge.ts";
import { report } from "./counts.ts";
import { Guest } from "./guest.ts";
import { workFolder, type SavedMachine } from "./machine.ts";

/** Runs an update to its end; gives the milliseconds it took. */
async function update(it: AndroidCase, guest: Guest): Promise<number> {
  await startAgain(guest);
  const start = performance.now();
  const { out, err } = await guest.command("updater", it.args, "any").then((result) => {
    if (result.code !== 0) throw new Error(`updater ended with ${result.code}:\n${result.out}\n${result.err}`);
    return result;
  });
  const ms = performance.now() - start;
  expect(`${out}${err}`).toContain("script succeeded");
  await expectNewSystem(it, guest);
  return ms;
}

/** Cuts `count` updates, in chains that end with one that may finish. */
async function cuts(it: AndroidCase, saved: SavedMachine, count: number, wholeMs: number): Promise<string> {
  const random = new Random(count + it.name.length);
  const tally = { cuts: 0, late: 0, chains: 0 };
  for (; tally.cuts < count; tally.chains++) {
    it.reset();
    // Four cuts a chain in the mean, so that interrupted installations are interrupted again.
    for (let more = true; more && tally.cuts < count; more = random.below(4) > 0) {
      const guest = await Guest.restore(it.options, saved);
      await startAgain(guest);
      guest.begin("updater", it.args);
      await sleep((random.below(1000) / 1000) * wholeMs);
      if (guest.answered) tally.late++;
      await guest.kill();
      tally.cuts++;
    }
    const guest = await Guest.restore(it.options, saved);
    await update(it, guest);
    await guest.kill();
  }
  return `${tally.cuts} cuts (${tally.late} after the end) in ${tally.chains} chains, every one ended new`;
}

/** Installs, installs again where nothing is left to do, and cuts `count` installs at random moments. */
export async function cutAndFinish(
  make: (folder: string) => Promise<AndroidCase>,
  what: string,
  count: number,
): Promise<void> {
  const folder = workFolder();
  try {
    const it = await make(folder);
    const saved = await Guest.save(it.options, join(folder, `${it.name}.state`), (guest) => guest.load("updater"));
    const first = await Guest.restore(it.options, saved);
    const wholeMs = await update(it, first);
    await first.kill();
    const again = await Guest.restore(it.options, saved);
    await update(it, again);
    await again.kill();
    report(`Android ${what}: ${await cuts(it, saved, count, wholeMs)}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
