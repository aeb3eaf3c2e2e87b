import { describe, expect, test } from "vitest";
import { isOtaError } from "../core/index.ts";
import type { Device } from "../core/index.ts";
import { createSimulatedDevice } from "./index.ts";
import { lockDevice } from "./lock.ts";
import type { Lock, Processes } from "./lock.ts";

const processes = (pid: number, alive: Record<number, string>): Processes => ({
  pid,
  host: "board",
  started: async (p) => alive[p],
});

/** The same state seen by another process: other objects, same files. */
const seenByAnother = (device: Device): Device => ({
  ...device,
  state: { ...device.state },
  clock: device.clock,
  bootId: () => device.bootId(),
});

const refused = async (work: Promise<Lock>): Promise<string> =>
  work.then(
    () => "taken",
    (e: unknown) => (isOtaError(e, "DEVICE_LOCKED") ? e.message : String(e)),
  );

describe("the lock", () => {
  test("a second installer is told who holds it", async () => {
    const device = createSimulatedDevice({});
    const lock = await lockDevice(device, "otaunpack -x pkg", processes(10, { 10: "a" }));
    const message = await refused(lockDevice(seenByAnother(device), "second", processes(11, { 10: "a", 11: "b" })));
    expect(message).toContain("process 10 on board: otaunpack -x pkg, since 2026-01-01T");
    await lock.release();
    expect(await refused(lockDevice(seenByAnother(device), "second", processes(11, { 11: "b" })))).toBe("taken");
  });

  test("the same process cannot take it twice", async () => {
    const device = createSimulatedDevice({});
    const lock = await lockDevice(device, "one", processes(10, { 10: "a" }));
    expect(await refused(lockDevice(device, "two", processes(10, { 10: "a" })))).toContain("one");
    await lock.release();
    await lock.release();
    await (await lockDevice(device, "two", processes(10, { 10: "a" }))).release();
    expect(await device.state.list("/")).toEqual([]);
  });

  test.each([
    ["dead", {}],
    ["another process with the same number", { 10: "later" }],
  ])("a lock whose holder is %s is taken over", async (_, alive) => {
    const device = createSimulatedDevice({});
    await lockDevice(device, "first", processes(10, { 10: "a" }));
    expect(await refused(lockDevice(seenByAnother(device), "second", processes(11, { 11: "b", ...alive })))).toBe(
      "taken",
    );
    expect(await device.state.list("/")).toEqual(["lock"]);
  });

  test("a lock left by a power cut at any write is taken over after the restart", async () => {
    for (let write = 0; write < 6; write++) {
      for (let seed = 0; seed < 10; seed++) {
        const device = createSimulatedDevice({});
        device.cutPower({ write, phase: "after", unflushed: "some", seed });
        await lockDevice(device, "first", processes(10, { 10: "a" })).catch(() => undefined);
        const after = device.restart();
        // The process number may live again: another boot is enough.
        expect(await refused(lockDevice(after, "second", processes(11, { 10: "a", 11: "b" })))).toBe("taken");
      }
    }
  });

  test("a damaged lock file is no lock", async () => {
    for (const content of ["", "{", "null", '{"pid":1}']) {
      const device = createSimulatedDevice({ state: { lock: content } });
      expect(await refused(lockDevice(device, "x", processes(11, { 11: "b" })))).toBe("taken");
    }
  });
});
