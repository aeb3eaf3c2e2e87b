import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { collectRun, makePackage, readFile, readTree, sha1 } from "../../../test/support/android-device.ts";
import { createSimulatedDevice } from "../../device/index.ts";
import type { SimulatedDevice } from "../../device/index.ts";
import { parseRanges } from "./ranges.ts";

interface Recorded {
  readonly exit: number;
  readonly command_pipe: string[];
  readonly image_sha1: string;
  readonly cache_after: Record<string, number | "dir">;
}
interface Case {
  readonly transfer_list: string;
  readonly new_dat_hex: string;
  readonly patch_dat_hex: string;
  readonly image_blocks: string[];
  readonly image_sha1: string;
  readonly extra_files: Record<string, string>;
  readonly verify: Recorded;
  readonly update: Recorded;
}
const { cases } = JSON.parse(
  readFileSync(new URL("../../../test/vectors/android/transfer-list/cases/cases.json", import.meta.url), "utf8"),
) as { cases: Record<string, Case> };

const BLOCK = 4096;
/** `NN`: the two digits as text, again and again; `fill:4e`: one byte. */
const block = (text: string): Uint8Array =>
  text.startsWith("fill:")
    ? new Uint8Array(BLOCK).fill(Number.parseInt(text.slice(5), 16))
    : new Uint8Array(Buffer.from(text.repeat(BLOCK / 2)));

function image(blocks: readonly string[]): Uint8Array {
  return Buffer.concat(blocks.map(block));
}

function runs(text: string): Uint8Array {
  const parts = text
    .slice(5)
    .split(",")
    .filter((p) => p !== "")
    .map((part) => {
      const [value, count] = part.split("*") as [string, string];
      return new Uint8Array(Number(count)).fill(Number.parseInt(value, 16));
    });
  return Buffer.concat(parts);
}

/** Stashes of the recordings are named by digest; the contents are runs of the image's blocks. */
function stashContent(digest: string, original: Uint8Array): Uint8Array {
  for (let start = 0; start < 16; start++) {
    for (let end = start + 1; end <= 16; end++) {
      const bytes = original.subarray(start * BLOCK, end * BLOCK);
      if (sha1(bytes) === digest) return bytes;
    }
  }
  for (let n = 1; n <= 4; n++) {
    for (let value = 0; value < 256; value++) {
      const bytes = new Uint8Array(n * BLOCK).fill(value);
      if (sha1(bytes) === digest) return bytes;
      const digits = new Uint8Array(
        Buffer.from(
          String(value)
            .padStart(2, "0")
            .repeat((n * BLOCK) / 2),
        ),
      );
      if (value < 100 && sha1(digits) === digest) return digits;
    }
  }
  throw new Error(`no content for ${digest}`);
}
const PLAIN = image(["00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15"]);

function device(vector: Case, asNode: boolean): SimulatedDevice {
  const extra = Object.fromEntries(
    Object.entries(vector.extra_files).map(([path, digest]) => [`/${path}`, stashContent(digest, PLAIN)]),
  );
  const content = image(vector.image_blocks);
  return createSimulatedDevice({
    files: { ...extra, "/cache/recovery": { kind: "folder" as const }, ...(asNode ? {} : { "/w/blk": content }) },
    nodes: asNode ? { "/w/blk": { kind: "block", content } } : {},
  });
}

const SCRIPT = (name: string): string =>
  `ui_print("r=[" + ${name}("/w/blk", package_extract_file("list"), "new.dat", "patch.dat") + "]"); "done"`;

async function run(on: SimulatedDevice, vector: Case, name: string, profile: "safe" | "vendor", guard = "") {
  return collectRun({
    device: on,
    package: await makePackage(
      guard + SCRIPT(name),
      {
        list: vector.transfer_list,
        "new.dat": runs(vector.new_dat_hex),
        "patch.dat": new Uint8Array(Buffer.from(vector.patch_dat_hex, "hex")),
      },
      ["patch.dat"],
    ),
    era: "7.1",
    profile,
  });
}

const content = async (on: SimulatedDevice): Promise<Uint8Array> => {
  if ((await on.nodes.info("/w/blk"))?.kind !== "block") return readFile(on, "/w/blk");
  const node = await on.nodes.open("/w/blk", "read");
  return (await node.read(0, node.size)).slice();
};

describe("transfer lists as recorded from the 7.1 updater", () => {
  it("has its images right", () => {
    for (const vector of Object.values(cases)) expect(sha1(image(vector.image_blocks))).toBe(vector.image_sha1);
  });

  for (const mode of ["verify", "update"] as const) {
    it.each(Object.entries(cases))(`${mode}: %s`, async (_name, vector) => {
      const want = vector[mode];
      const on = device(vector, false);
      const got = await run(on, vector, `block_image_${mode}`, "vendor");
      expect(got.exitCode).toBe(want.exit);
      expect(got.pipe.filter((l) => l !== "ui_print Warning: No file_contexts")).toEqual(want.command_pipe);
      expect(sha1(await content(on))).toBe(want.image_sha1);
      const cache = Object.fromEntries(
        Object.entries(await readTree(on, "/cache")).map(([path, e]) => [
          `/cache${path}${e.dir === 1 ? "/" : ""}`,
          e.dir === 1 ? "dir" : e.size,
        ]),
      );
      expect(cache).toEqual(want.cache_after);
    });
  }
});

describe("block updates in the safe profile", () => {
  it("refuse a list with a malformed range before anything is written", async () => {
    const vector = cases["bad-range-odd"] as Case;
    const on = device(vector, false);
    const got = await run(on, vector, "block_image_update", "safe");
    expect(got.exitCode).toBe(7);
    expect(got.message).toContain("failed to parse range");
    expect(sha1(await content(on))).toBe(vector.image_sha1);
  });

  it("write nothing when a patch does not give the promised blocks", async () => {
    const vector = cases["v3-bsdiff-wrong-target-hash"] as Case;
    const on = device(vector, false);
    const got = await run(on, vector, "block_image_update", "safe");
    expect(got.pipe).toContain("ui_print r=[]");
    expect(sha1(await content(on))).toBe(vector.image_sha1);
  });

  const resumable = Object.entries(cases).filter(
    ([, v]) => v.update.command_pipe.includes("ui_print r=[t]") && v.update.image_sha1 !== v.image_sha1,
  );
  it.each(resumable)("%s: after a cut at any write the same package ends it", async (name, vector) => {
    if (name === "v3-bsdiff-wrong-target-hash") return;
    // As in real packages: what cannot tell its own work from the blocks is guarded by a digest of the untouched ones.
    const guard = /^[12]\n/.test(vector.transfer_list)
      ? `range_sha1("/w/blk", "2,0,16") == "${vector.image_sha1}" || abort("E1000: refused");`
      : "";
    const go = (on: SimulatedDevice) => run(on, vector, "block_image_update", "safe", guard);
    const whole = device(vector, true);
    await go(whole);
    const wanted = sha1(await content(whole));
    expect(wanted).toBe(vector.update.image_sha1);
    const cuts = [
      ["before", "dropped"],
      ["torn", "some"],
      ["after", "kept"],
    ] as const;
    for (const [phase, unflushed] of cuts) {
      for (let write = 0; write < whole.writes; write++) {
        const on = device(vector, true);
        on.cutPower({ write, phase, unflushed, seed: write + 1 });
        await go(on).catch(() => undefined);
        const again = on.restart();
        const got = await go(again);
        const where = `${phase} ${unflushed} ${write} ${got.log}`;
        expect(sha1(await content(again)), where).toBe(wanted);
        if (got.message !== "E1000: refused") expect(got.pipe, where).toContain("ui_print r=[t]");
      }
    }
  });

  it("answer what a version 1 script asked before an interrupted update", async () => {
    const vector = { ...(cases["v1-move"] as Case), transfer_list: "1\n4\nmove 2,0,2 2,1,3\nmove 2,4,6 2,8,10\n" };
    const script = `range_sha1("/w/blk", "2,0,16") == "${vector.image_sha1}" || abort("E1000: unexpected");
block_image_update("/w/blk", package_extract_file("list"), "new.dat", "patch.dat") || abort("E1001: no");`;
    const reader = await makePackage(script, { list: vector.transfer_list, "new.dat": "", "patch.dat": "" });
    const go = (on: SimulatedDevice) => collectRun({ device: on, package: reader, era: "7.1", profile: "safe" });
    const whole = device(vector, true);
    expect((await go(whole)).exitCode).toBe(0);
    const wanted = sha1(await content(whole));
    for (let write = 0; write < whole.writes; write++) {
      const on = device(vector, true);
      on.cutPower({ write, phase: "torn", unflushed: "some", seed: write });
      await go(on).catch(() => undefined);
      const again = on.restart();
      const got = await go(again);
      expect(sha1(await content(again)), `${write} ${got.message}`).toBe(wanted);
      expect(got.exitCode, `${write} ${got.message}`).toBe(0);
    }
  });
});

describe("hostile transfer lists", () => {
  it("give a result, never a crash, and stay inside the device", async () => {
    const vector = cases["v3-stash-free"] as Case;
    const word = fc.constantFrom(
      ..."move bsdiff imgdiff stash free new zero erase - 2,0,2 2,8,10 2,0,99999 4,0,1,1,2 2,2147483646,2147483647 2 0 1 99999999 -1 x: :2,0,1 b3ad7fcbf1fc425c82beaeeda2a55101980a10d6 b3ad7fcbf1fc425c82beaeeda2a55101980a10d6:2,0,2 ../../../etc/x".split(
        " ",
      ),
    );
    const line = fc.array(word, { maxLength: 8 }).map((w) => w.join(" "));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(1, 2, 3, 4), fc.array(line, { maxLength: 6 }), async (version, lines) => {
        const head = version === 1 ? "1\n4\n" : `${version}\n4\n1\n2\n`;
        const on = device(vector, true);
        const got = await run(on, { ...vector, transfer_list: head + lines.join("\n") }, "block_image_update", "safe");
        expect([0, 7]).toContain(got.exitCode);
        const after = await content(on);
        expect(after.length).toBe(16 * BLOCK);
        if (got.exitCode === 7) expect(sha1(after)).toBe(vector.image_sha1);
      }),
      { numRuns: 150 },
    );
  });

  it("have ranges that are well formed or nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(20).map(String), fc.constantFrom("", "-1", "x", "2147483648"))), (words) => {
        const set = parseRanges(words.join(","));
        if (set === undefined) return;
        expect(set.ranges.every(([s, e]) => s < e)).toBe(true);
        expect(set.blocks).toBe(set.ranges.reduce((n, [s, e]) => n + e - s, 0));
      }),
    );
  });
});
