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

interface Cut {
  readonly first: number;
  readonly wasCut: boolean;
  readonly after: { readonly node: string; readonly named: string };
  readonly second: number;
  readonly said: string;
  readonly end: { readonly node: string; readonly named: string; readonly volumes: readonly string[] };
}

const LENGTH = 380_000;
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
  beforeAll(async () => {
    guest = await Guest.boot({ files, before: flashScript("512KiB"), limitSeconds: 3600 });
  });
  afterAll(async () => guest?.kill());

  /** Cuts `count` installs, alternating between two contents, and checks each. */
  async function cuts(count: number, most: number, seed: number): Promise<Record<string, number>> {
    const random = new Random(seed);
    const tally = { cuts: 0, uncut: 0, old: 0, new: 0, unreadable: 0 };
    const args = (i: number): string[] => ["-x", `/lab/${i % 2}.gz`];
    await guest.command("otaunpack", args(0));
    for (let i = 1; tally.cuts < count; i++) {
      const [old, wanted] = [DIGESTS[(i + 1) % 2], DIGESTS[i % 2]];
      const got = await guest.call<Cut>("/lab/ubi-cuts.mjs", "cut", {
        args: args(i),
        operations: 1 + random.below(most),
        length: LENGTH,
      });
      const story = JSON.stringify(got);
      if (got.wasCut) tally.cuts++;
      else tally.uncut++;
      expect(tally.uncut, "most installs must be reached by their cut").toBeLessThanOrEqual(count + 20);
      // Whole and old, whole and new, or marked as damaged: a volume is never readable and something else.
      expect([old, wanted, "EBADF", "EIO"], story).toContain(got.after.node);
      if (got.first === 0) expect(got.after.node, story).toBe(wanted);
      if (got.after.named === old) tally.old++;
      else if (got.after.named === wanted) tally.new++;
      else tally.unreadable++;
      expect(got.second, story).toBe(0);
      expect(got.end, story).toEqual({ node: wanted, named: wanted, volumes: got.end.volumes });
      expect(got.end.volumes[0], story).toBe("0 rootfs");
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
    const count = Math.floor(COUNTS.ubiCuts / 2) || 1;
    const tally = await cuts(count, 10, 2);
    report(`UBI, in place: ${JSON.stringify(tally)}`);
    expect(tally["unreadable"]).toBeGreaterThan(0);
  });
});
