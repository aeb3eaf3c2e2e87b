import { describe, expect, it } from "vitest";
import { writeU32 } from "../core/bytes.ts";
import { isOtaError, OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice, nodeDigests } from "../device/index.ts";
import {
  MemoryCard,
  sha256Hex,
  vectorBytes,
  vectorDisk,
  vectorJson,
  vectorNames,
} from "../../test/support/k230-vectors.ts";
import type { K230Card } from "./card.ts";
import type { Medium } from "./explain-boot.ts";
import { createOta } from "./ota.ts";
import type { OtaOptions } from "./ota.ts";

interface Step {
  op: "open" | "stream" | "write" | "close";
  image: string;
  chunk: number;
  imageOffset: number;
  length: number;
  position: number;
}

interface Expected {
  vendor: { outcome: string; installed?: { slot: string; version: number }[]; diskAfter: { sha256: string } };
  recommended: string;
}

/** Which code a recommendation of the vectors means. */
const CODES: Record<string, string> = {
  "duplicate-part": "KDIMG_DUPLICATE_PART",
  "no-meta": "K230_NO_META",
  "meta-geometry": "K230_META_GEOMETRY",
  "no-installable-part": "KDIMG_NOTHING_TO_INSTALL",
  "require-both-or-explicit-opt-in": "KDIMG_PARTIAL",
  "table-overlaps-content": "KDIMG_OVERLAP",
  "target-missing": "K230_TARGET_MISSING",
  "not-an-ab-device": "K230_NOT_AB",
  "partition-size-zero": "K230_TARGET_UNFIT",
  "unaligned-partition": "K230_TARGET_UNFIT",
  "refuse-trailing-data": "KDIMG_TRAILING_DATA",
  truncated: "KDIMG_TRUNCATED",
  "version-exhausted": "K230_VERSION_EXHAUSTED",
  "empty-part": "KDIMG_EMPTY_PART",
  "reboot-required": "K230_REBOOT_REQUIRED",
};

interface Run {
  card: MemoryCard;
  errors: OtaError[];
  installed: { slot: string; version: number }[];
}

/** Only-rtt images whose recommendation is about the target. */
const PARTIAL = /size-zero-disables|unaligned-partition/;

const SLOW = new Set(["install-fresh-chunk-1"]);

/** Plays a case's steps through the library. `file`: images that are streamed whole are installed as files. */
async function play(
  name: string,
  options: OtaOptions & { file?: boolean },
  more: Partial<K230Card> = {},
): Promise<Run> {
  const input = vectorJson<{ steps: Step[]; fault?: { failwrite?: number; flipread?: number }; bootMedium?: Medium }>(
    name,
    "input.json",
  );
  const card = new MemoryCard(vectorDisk(name));
  card.failWrite = input.fault?.failwrite;
  card.flipRead = input.fault?.flipread;
  const run: Run = { card, errors: [], installed: [] };
  const k230: K230Card = { target: card, medium: input.bootMedium ?? "sdcard", digests: nodeDigests, ...more };
  let ota: Awaited<ReturnType<typeof createOta>> | undefined;
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      const report = (await work()) as { outcome?: string; slot: string; version: number } | undefined;
      if (report?.outcome === "installed")
        run.installed.push({ slot: report.slot.toUpperCase(), version: report.version });
    } catch (e) {
      expect(e).toBeInstanceOf(OtaError);
      run.errors.push(e as OtaError);
    }
  };
  for (const step of input.steps) {
    if (step.op === "open") {
      await attempt(async () => void (ota = await createOta(k230, options)));
      continue;
    }
    const session = ota;
    if (session === undefined) break;
    if (step.op === "close") {
      if (options.file !== true) await attempt(() => session.destroy());
      continue;
    }
    const image = vectorBytes(name, step.image);
    if (step.op === "write") {
      await attempt(() =>
        session.write(step.position, image.subarray(step.imageOffset, step.imageOffset + step.length)),
      );
    } else if (options.file === true) {
      await attempt(() => session.writeFile(memoryReader(image), step.chunk));
    } else {
      await attempt(async () => {
        for (let at = 0; at < image.length; at += step.chunk) await session.update(image.subarray(at, at + step.chunk));
      });
    }
  }
  return run;
}

const bySlot = (list: Run["installed"]): Run["installed"] => [...list].sort((a, b) => a.slot.localeCompare(b.slot));

const cases = vectorNames("install-");
const wholeFile = cases.filter((name) =>
  vectorJson<{ steps: Step[] }>(name, "input.json").steps.every((s) => s.op !== "write"),
);

describe("the vendor profile ends as the driver ends", () => {
  it.each(cases)("%s", async (name) => {
    const { vendor } = vectorJson<Expected>(name, "expected.json");
    const run = await play(name, { profile: "vendor" });
    expect(sha256Hex(run.card.bytes)).toBe(vendor.diskAfter.sha256);
    expect(bySlot(run.installed)).toEqual(vendor.installed ?? []);
    expect(run.errors.length > 0).toBe(vendor.outcome === "refused" || vendor.outcome === "installed-with-errors");
  });
});

function checkSafe(name: string, run: Run): void {
  const { vendor, recommended } = vectorJson<Expected>(name, "expected.json");
  const code = CODES[recommended.split(":").at(-1) ?? ""];
  const before = sha256Hex(vectorDisk(name));
  if (recommended.startsWith("second:")) {
    expect(run.errors.map((e) => e.code)).toEqual([code]);
    expect(run.installed).toHaveLength(1);
  } else if (recommended === "refuse-or-target-a:slot-in-use") {
    expect(run.installed).toEqual([{ slot: "A", version: 1 }]);
  } else if (recommended.startsWith("install-as-v1") || recommended.startsWith("refuse-unless-configured")) {
    expect(run.installed).toHaveLength(1);
  } else if (recommended === "same") {
    expect(run.installed).toEqual(vendor.installed ?? []);
    expect(run.errors.length > 0).toBe(vendor.outcome === "refused" || vendor.outcome === "installed-with-errors");
    if (vendor.outcome.startsWith("installed")) expect(sha256Hex(run.card.bytes)).toBe(vendor.diskAfter.sha256);
  } else {
    expect(run.errors.map((e) => e.code)).toContain(code);
    expect(run.installed).toEqual([]);
  }
  if (
    run.installed.length === 0 &&
    !name.includes("readback") &&
    !name.includes("io-write") &&
    !/truncated|bad-sha-rt|trailing/.test(name)
  ) {
    expect(sha256Hex(run.card.bytes)).toBe(before);
  }
}

describe("the safe profile gives the recommended outcome from a file, refused before the first write", () => {
  it.each(wholeFile)("%s", async (name) => {
    const run = await play(name, { file: true, allowPartial: PARTIAL.test(name) });
    checkSafe(name, run);
    const faulty = /readback|io-write|failed-then-good/.test(name);
    if (run.errors.length > 0 && run.installed.length === 0 && !faulty) expect(run.card.writes).toEqual([]);
  });
});

describe("the safe profile gives the recommended outcome from a pipe", () => {
  it.each(cases.filter((n) => !SLOW.has(n)))("%s", async (name) => {
    checkSafe(name, await play(name, { allowPartial: PARTIAL.test(name) }));
  });
});

describe("the safe profile", () => {
  const name = "install-versions-a1-b2";
  const image = (): Uint8Array => vectorBytes(name, "image.kdimg.gz");
  const openCard = (more: Partial<K230Card> = {}): { card: MemoryCard; k230: K230Card } => {
    const card = new MemoryCard(vectorDisk(name));
    return { card, k230: { target: card, medium: "sdcard", digests: nodeDigests, ...more } };
  };

  it("invalidates the target's block first and writes it last, each after a flush", async () => {
    const { card, k230 } = openCard();
    const report = await (await createOta(k230)).writeFile(memoryReader(image()));
    expect(report).toMatchObject({ outcome: "installed", slot: "a", version: 3, resumed: false, trust: "unsigned" });
    const meta = "write 983040 512";
    expect(card.log.slice(0, 2)).toEqual([meta, "flush"]);
    expect(card.log.slice(-3)).toEqual(["flush", meta, "flush"]);
    expect(card.log.slice(2, -3).filter((l) => l.startsWith("write 98"))).toEqual([]);
  });

  it("compares board and chip only where both sides say something", async () => {
    const strings = "install-header-strings-ignored";
    expect((await play(strings, {}, { board: "another" })).errors[0]?.code).toBe("K230_WRONG_BOARD");
    expect((await play(name, {}, { board: "another" })).installed).toHaveLength(1);
  });

  it("installs only-rtt images on request", async () => {
    const run = await play("install-only-rtt", { allowPartial: true });
    expect(run.errors).toEqual([]);
    expect(sha256Hex(run.card.bytes)).toBe(
      vectorJson<Expected>("install-only-rtt", "expected.json").vendor.diskAfter.sha256,
    );
  });

  it("writes the slot that does not run, whatever the blocks say", async () => {
    const { k230 } = openCard({ running: "a" });
    expect(await (await createOta(k230)).writeFile(memoryReader(image()))).toMatchObject({ slot: "b", version: 3 });
  });

  it("allows one session at a time", async () => {
    const { k230 } = openCard();
    const first = await createOta(k230);
    await expect(createOta(k230)).rejects.toSatisfy((e) => isOtaError(e, "DEVICE_BUSY"));
    await first.destroy();
    await (await createOta(k230)).destroy();
  });

  it("goes on where an interrupted run stopped, without writing a finished part again", async () => {
    const device = createSimulatedDevice({});
    const { card, k230 } = openCard({ state: device.state });
    const bytes = image();
    const first = await createOta(k230);
    // All of rtt and the first bytes of rtapp, then the connection is gone.
    await first.update(bytes.subarray(0, 65536 + 4096 + 100));
    await expect(first.destroy()).rejects.toSatisfy((e) => isOtaError(e, "KDIMG_TRUNCATED"));
    const before = card.writes.length;
    const report = await (await createOta(k230)).writeFile(memoryReader(bytes));
    expect(report).toMatchObject({ outcome: "installed", resumed: true, slot: "a", version: 3 });
    expect(card.writes.slice(before).map(([offset]) => offset)).not.toContain(0x100000);
    expect(sha256Hex(card.bytes)).toBe(vectorJson<Expected>(name, "expected.json").vendor.diskAfter.sha256);
  });

  it.each([
    ["the table of contents", 0xe0000, 0x800],
    ["the running slot", 0x10_0000 - 0x200, 0x400],
  ])("refuses version blocks that overlap %s", async (_what, offset, size) => {
    const { card, k230 } = openCard();
    const { bytes } = card;
    // The first entry of the table is ota_meta.
    expect(new TextDecoder().decode(bytes.subarray(0xe0000, 0xe0008))).toBe("ota_meta");
    writeU32(bytes, 0xe0000 + 32, offset);
    writeU32(bytes, 0xe0000 + 40, size);
    await expect((await createOta(k230)).writeFile(memoryReader(image()))).rejects.toSatisfy((e) =>
      isOtaError(e, "K230_META_GEOMETRY"),
    );
    expect(card.writes).toEqual([]);
  });

  it("refuses flash unless the description declares a loader that reads ota_meta there", async () => {
    const { k230 } = openCard({ medium: "spi-nor" });
    await expect((await createOta(k230)).writeFile(memoryReader(image()))).rejects.toSatisfy((e) =>
      isOtaError(e, "K230_MEDIUM"),
    );
    const declared = openCard({ medium: "spi-nor", readsMeta: true });
    expect(await (await createOta(declared.k230)).writeFile(memoryReader(image()))).toMatchObject({
      outcome: "installed",
    });
  });
});
