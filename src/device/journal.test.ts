import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isOtaError } from "../core/index.ts";
import { createSimulatedDevice, openJournal } from "./index.ts";
import type { SimulatedDevice } from "./index.ts";

const load = async (device: SimulatedDevice): Promise<unknown> => openJournal(device.state, "install").load();

async function damage(device: SimulatedDevice, path: string, at = 20): Promise<void> {
  const file = await device.state.open(path, "update");
  const [byte] = await file.read(at, 1);
  await file.write(at, Uint8Array.of((byte as number) ^ 1));
}

describe("a state record", () => {
  test("gives back what was saved last, also after a restart", async () => {
    const device = createSimulatedDevice({});
    const journal = openJournal<unknown>(device.state, "install");
    expect(await journal.load()).toBeUndefined();
    for (const value of [{ done: 1 }, [1, "zwei", null], "\n\u{1f600}\udc80", 5]) {
      await journal.save(value);
      expect(await journal.load()).toEqual(value);
      expect(await load(device.restart())).toEqual(value);
    }
    await journal.clear();
    expect(await journal.load()).toBeUndefined();
    expect(await device.restart().state.list("/")).toEqual([]);
  });

  test("is the old or the new value at every cut, and can be saved again after it", async () => {
    const before = createSimulatedDevice({});
    await openJournal(before.state, "install").save("old");
    for (const action of ["save", "clear"] as const) {
      const outcomes = new Set<unknown>();
      const clean = before.fork();
      const writes = await (async () => {
        const journal = openJournal(clean.state, "install");
        await (action === "save" ? journal.save("new, and longer than the old one") : journal.clear());
        return clean.writes;
      })();
      for (let write = 0; write < writes; write++) {
        for (const phase of ["before", "torn", "after"] as const) {
          for (let seed = 0; seed < 12; seed++) {
            const device = before.fork();
            const journal = openJournal(device.state, "install");
            device.cutPower({ write, phase, unflushed: "some", seed });
            await (action === "save" ? journal.save("new, and longer than the old one") : journal.clear()).catch(
              () => undefined,
            );
            const after = device.restart();
            outcomes.add(await load(after));
            await openJournal(after.state, "install").save("again");
            expect(await load(after.restart())).toBe("again");
          }
        }
      }
      const expected = action === "save" ? "new, and longer than the old one" : undefined;
      expect(outcomes).toEqual(new Set(["old", expected]));
    }
  });

  test("the very first save, cut anywhere, leaves the value or nothing", async () => {
    const outcomes = new Set<unknown>();
    for (let write = 0; write < 10; write++) {
      for (let seed = 0; seed < 12; seed++) {
        const device = createSimulatedDevice({});
        device.cutPower({ write, phase: seed % 2 ? "torn" : "after", unflushed: "some", seed });
        await openJournal(device.state, "install")
          .save("first")
          .catch(() => undefined);
        outcomes.add(await load(device.restart()));
      }
    }
    expect(outcomes).toEqual(new Set([undefined, "first"]));
  });

  test("one damaged copy costs nothing, two are told", async () => {
    const device = createSimulatedDevice({});
    const journal = openJournal(device.state, "install");
    await journal.save("first");
    await journal.save("second");
    await damage(device, "/install.0");
    expect(await journal.load()).toBe("second");
    await damage(device, "/install.1");
    await expect(journal.load()).rejects.toSatisfy((e) => isOtaError(e, "DEVICE_STATE_DAMAGED"));
    await journal.save("third");
    expect(await journal.load()).toBe("third");
  });

  test("any bytes in both files give a value or a typed error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 80 }), async (a, b) => {
        const device = createSimulatedDevice({ state: { "install.0": a, "install.1": b } });
        await expect(load(device)).rejects.toSatisfy((e) => isOtaError(e, "DEVICE_STATE_DAMAGED"));
      }),
      { numRuns: 100 },
    );
  });
});
