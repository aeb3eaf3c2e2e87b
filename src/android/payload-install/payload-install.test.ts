import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { OtaError } from "../../core/errors.ts";
import type { NodeStore } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { createSimulatedDevice, nodeCodecs } from "../../device/index.ts";
import { openJournal } from "../../device/journal.ts";
import type { SimulatedDevice } from "../../device/index.ts";
import { readKeys } from "../verifier/index.ts";
import { admitPayload, installPayload, readSlots } from "./index.ts";

const VECTORS = new URL("../../../test/vectors/android/payload/generated/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const node = (name: string): string => `/dev/block/by-name/${name}`;
const nodeOf = (partition: string, slot: "a" | "b"): string => node(`${partition}_${slot}`);

function abDevice(changes: Record<string, Uint8Array | undefined> = {}): SimulatedDevice {
  const contents: Record<string, Uint8Array | undefined> = {
    boot_a: file("boot-old.img"),
    system_a: file("system-old.img"),
    boot_b: new Uint8Array(file("boot-new.img").length),
    system_b: new Uint8Array(file("system-new.img").length),
    ...changes,
  };
  return createSimulatedDevice({
    running: "a",
    nodes: Object.fromEntries(
      Object.entries(contents).flatMap(([name, content]) =>
        content === undefined ? [] : [[node(name), { kind: "block" as const, content }]],
      ),
    ),
  });
}

async function update(device: SimulatedDevice, name: string, keys: Parameters<typeof admitPayload>[3]["keys"] = []) {
  const reader = memoryReader(file(`${name}/payload.bin`));
  const { payload, metadataHash } = await admitPayload(device, reader, true, { keys, profile: "safe" });
  return installPayload(device, payload, { nodeOf, metadataHash, allowDowngrade: false });
}

async function contentOf(device: SimulatedDevice, name: string): Promise<Uint8Array> {
  const target = await device.nodes.open(node(name), "read");
  return (await target.read(0, target.size)).slice();
}

async function expectNew(device: SimulatedDevice): Promise<void> {
  expect(await readSlots(device)).toMatchObject({ active: "b" });
  for (const name of ["boot", "system"]) {
    expect(Buffer.from(await contentOf(device, `${name}_b`)).equals(file(`${name}-new.img`)), name).toBe(true);
    expect(Buffer.from(await contentOf(device, `${name}_a`)).equals(file(`${name}-old.img`)), name).toBe(true);
  }
}

describe("payloads on A/B devices", () => {
  it.each(["full-unsigned", "full-signed", "delta-unsigned", "delta-signed"])(
    "%s goes to the other slot",
    async (name) => {
      const device = abDevice();
      expect(await update(device, name)).toMatchObject({ slot: "b", already: false, resumed: false });
      await expectNew(device.restart());
    },
  );

  it("marks the slot unbootable first and active last, and says when nothing is left to do", async () => {
    const device = abDevice();
    device.cutPower({ write: 10, phase: "after", unflushed: "dropped", seed: 1 });
    await expect(update(device, "delta-signed")).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
    const again = device.restart();
    expect(await readSlots(again)).toEqual({ active: "a", unbootable: "b" });
    await update(again, "delta-signed");
    await expectNew(again);
    const writes = again.targetWrites;
    expect(await update(again, "delta-signed")).toMatchObject({ slot: "b", already: true });
    expect(again.targetWrites).toBe(writes);
  });

  it("leaves both copies of the slots' record alike, wherever the end was cut", async () => {
    const whole = abDevice();
    await update(whole, "full-unsigned");
    const copy = async (device: SimulatedDevice, n: number): Promise<string> => {
      const text = await device.state.open(`/android-slots.${n}`, "read");
      return Buffer.from(await text.read(0, text.size)).toString();
    };
    let already = 0;
    for (let write = whole.log.length - 16; write < whole.log.length; write++) {
      const device = abDevice();
      device.cutPower({ write, phase: "after", unflushed: "kept", seed: write });
      await update(device, "full-unsigned").catch(() => undefined);
      const again = device.restart();
      if ((await update(again, "full-unsigned")).already) already++;
      expect(await copy(again, 0), `after write ${write}`).toBe(await copy(again, 1));
    }
    expect(already).toBeGreaterThan(0);
  });

  it("continues at the operation it noted", async () => {
    const whole = abDevice();
    await update(whole, "full-unsigned");
    const device = abDevice();
    // Both copies of the note that the first partition is done lie before the last writes.
    device.cutPower({ write: whole.log.length - 12, phase: "after", unflushed: "dropped", seed: 2 });
    await expect(update(device, "full-unsigned")).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
    const again = device.restart();
    expect(await update(again, "full-unsigned")).toMatchObject({ resumed: true });
    await expectNew(again);
  });

  it("takes no note for true when the slot was written by somebody else in between", async () => {
    const whole = abDevice();
    await update(whole, "full-unsigned");
    const device = abDevice();
    device.cutPower({ write: whole.log.length - 12, phase: "after", unflushed: "dropped", seed: 2 });
    await expect(update(device, "full-unsigned")).rejects.toThrow();
    const again = device.restart();
    const target = await again.nodes.open(node("boot_b"), "write");
    await target.write(0, new Uint8Array(4096).fill(0xee));
    await target.flush();
    await target.close();
    await update(again, "full-unsigned");
    await expectNew(again);
  });

  it.each([
    ["another base", { system_a: new Uint8Array(65536) }, "ANDROID_PAYLOAD_BASE"],
    ["no partition", { boot_b: undefined }, "ANDROID_PREFLIGHT"],
    ["a base too small", { system_a: new Uint8Array(4096) }, "ANDROID_PAYLOAD_BASE"],
    ["a partition too small", { system_b: new Uint8Array(4096) }, "DEVICE_TOO_SMALL"],
  ] as const)("refuses %s with nothing written", async (_what, changes, code) => {
    const device = abDevice(changes);
    await expect(update(device, "delta-unsigned")).rejects.toMatchObject({ code });
    expect(device.log).toHaveLength(0);
  });

  it("writes no partition when the last of them cannot be written", async () => {
    const device = abDevice();
    const { nodes } = device;
    const readOnly = new OtaError("DEVICE_READ_ONLY", { what: "permission is missing", where: node("system_b") });
    const guarded: NodeStore = {
      info: (path) => nodes.info(path),
      open: async (path, access) => {
        if (access === "write" && path === node("system_b")) throw readOnly;
        return nodes.open(path, access);
      },
    };
    const watched = new Proxy(device, {
      get: (target, name) => (name === "nodes" ? guarded : (Reflect.get(target, name) as unknown)),
    });
    await expect(update(watched, "delta-unsigned")).rejects.toMatchObject({
      code: "DEVICE_READ_ONLY",
      details: { hint: expect.stringContaining("Nothing was written.") as string },
    });
    expect(device.log).toHaveLength(0);
  });

  it("does not take a half-written slot for the running one", async () => {
    const device = abDevice();
    device.cutPower({ write: 10, phase: "after", unflushed: "dropped", seed: 1 });
    await expect(update(device, "full-unsigned")).rejects.toThrow();
    const again = device.restart();
    const writes = again.targetWrites;
    const told = new Proxy(again, {
      get: (target, name) => (name === "running" ? "b" : (Reflect.get(target, name) as unknown)),
    });
    await expect(update(told, "full-unsigned")).rejects.toMatchObject({ code: "ANDROID_PREFLIGHT" });
    expect(again.targetWrites).toBe(writes);
    await update(again, "full-unsigned");
    await expectNew(again);
  });

  it("refuses damaged payloads, unsigned ones and signatures of other keys with nothing written", async () => {
    const keys = await readKeys(file("key.pub.pem"), { name: "key", codecs: nodeCodecs });
    for (const [name, with_, code] of [
      ["neg-flip-blob-byte", [], "ANDROID_PAYLOAD_DATA"],
      ["neg-version-3", [], "ANDROID_PAYLOAD_VERSION"],
      ["full-unsigned", keys, "ANDROID_UNSIGNED"],
      ["neg-flip-manifest-byte", keys, "ANDROID_REJECTED"],
      ["neg-flip-payload-signature", keys, "ANDROID_REJECTED"],
    ] as const) {
      const device = abDevice();
      await expect(update(device, name, with_), name).rejects.toMatchObject({ code });
      expect(device.log).toHaveLength(0);
    }
    await update(abDevice(), "delta-signed", keys);
  });

  it("does not take a floor record that says nothing for a device without a floor", async () => {
    const keys = await readKeys(file("key.pub.pem"), { name: "key", codecs: nodeCodecs });
    const device = abDevice();
    await openJournal<object>(device.state, "android-floor").save({ stamp: 5 });
    await expect(update(device, "full-signed", keys)).rejects.toMatchObject({ code: "DEVICE_STATE_DAMAGED" });
  });
});
