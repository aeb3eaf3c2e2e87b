/** UBI volumes with the power cut at the kernel's own header writes. */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../src/device/simulated/index.ts";
import { noise } from "../support/sigmastar-package.ts";
import { COUNTS, report } from "./counts.ts";
import { flashScript, makePackage } from "./flash.ts";
import { Guest } from "./guest.ts";
import { workFolder } from "./machine.ts";

interface Look {
  readonly node: string;
  readonly named: string;
  readonly volumes: readonly string[];
}

interface Cut extends Look {
  readonly code: number;
  readonly wasCut: boolean;
}

/** Two erase blocks of the volume and a part of a third. */
const LENGTH = 270_000;
const CONTENTS = [noise(LENGTH, 71), noise(LENGTH, 72)];
const DIGESTS = CONTENTS.map((bytes) => createHash("sha256").update(bytes).digest("hex"));
const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const files = Object.fromEntries(
  CONTENTS.map((content, i) => [
    `${i}.gz`,
    makePackage(folder, String(i), [{ options: ["--ubi-update"], destination: "/dev/ubi0_0", content }]),
  ]),
);

describe("a UBI volume under emulated power cuts", () => {
  let guest: Guest;
  /** Volumes that are there before an update and must be there after it. */
  let volumes = ["0 rootfs"];
  beforeAll(async () => {
    guest = await Guest.boot({ files, before: flashScript("512KiB"), limitSeconds: 24 * 3600 });
  });
  afterAll(async () => guest?.kill());

  /** Cuts `count` installs, in chains that end with one that is not cut; the content changes from chain to chain. */
  async function cuts(count: number, most: number, seed: number): Promise<Record<string, number>> {
    const random = new Random(seed);
    const tally = { cuts: 0, chains: 0, uncut: 0, old: 0, new: 0, unreadable: 0 };
    const args = (i: number): string[] => ["-x", `/lab/${i % 2}.gz`];
    await guest.command("otaunpack", args(0));
    for (let i = 1; tally.cuts < count; i++, tally.chains++) {
      const [old, wanted] = [DIGESTS[(i + 1) % 2], DIGESTS[i % 2]];
      for (let more = true; more && tally.cuts < count; more = random.below(3) > 0) {
        const operations = 1 + random.below(most);
        const got = await guest.call<Cut>("/lab/ubi-cuts.mjs", "cut", { args: args(i), operations, length: LENGTH });
        const story = `chain ${i}, cut after ${operations}: ${JSON.stringify(got)}`;
        if (got.wasCut) tally.cuts++;
        else tally.uncut++;
        expect(tally.uncut, "most installs must be reached by their cut").toBeLessThanOrEqual(count + 20);
        // Whole and old, whole and new, or marked as damaged: a volume is never readable and something else.
        expect([old, wanted, "EBADF", "EIO"], story).toContain(got.node);
        expect([old, wanted, "EBADF", "EIO"], story).toContain(got.named);
        if (got.code === 0) expect(got.node, story).toBe(wanted);
        if (got.named === old) tally.old++;
        else if (got.named === wanted) tally.new++;
        else tally.unreadable++;
      }
      await guest.command("otaunpack", args(i));
      const end = await guest.call<Look>("/lab/ubi-cuts.mjs", "look", { length: LENGTH });
      expect(end).toEqual({ node: wanted, named: wanted, volumes });
    }
    return tally;
  }

  test("with room for a second volume, whoever mounts by name always finds a whole one", async () => {
    const count = Math.ceil(COUNTS.ubiCuts / 2);
    const tally = await cuts(count, 24, 1);
    report(`UBI, second volume: ${JSON.stringify(tally)}`);
    expect(tally["unreadable"]).toBe(0);
    expect(tally["old"]).toBeGreaterThan(0);
  });

  test("without room the same command makes the volume whole again", async () => {
    await guest.sh("ubimkvol /dev/ubi0 -N rest -m");
    volumes = ["0 rootfs", "1 rest"];
    const count = Math.floor(COUNTS.ubiCuts / 2) || 1;
    const tally = await cuts(count, 10, 2);
    report(`UBI, in place: ${JSON.stringify(tally)}`);
    expect(tally["unreadable"]).toBeGreaterThan(0);
  });
});
