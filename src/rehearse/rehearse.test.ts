import { describe, expect, test } from "vitest";
import { OtaError, isOtaError } from "../core/index.ts";
import type { Device } from "../core/index.ts";
import { createSimulatedDevice, nodeCodecs, nodeDigests, openJournal } from "../device/index.ts";
import type { SimulatedSpec } from "../device/index.ts";
import { describeReport, drawStrip, rehearse, reportPage } from "./index.ts";
import type { RehearsalSubject } from "./index.ts";
import { explainCut } from "./report-text.ts";
import { sampleSubject } from "./sample-installers.ts";

const ports = { digests: nodeDigests, codecs: nodeCodecs };
const SIZE = 16384;

const subject = (spec: SimulatedSpec, install: (device: Device) => Promise<unknown>): RehearsalSubject => ({
  makeDevice: () => createSimulatedDevice(spec),
  install,
});

const code = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "ok",
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );

async function writeFile(device: Device, path: string, content: string, sync = true): Promise<void> {
  const file = await device.files.open(path, "create");
  await file.write(0, new TextEncoder().encode(content));
  if (sync) await file.sync();
  await file.close();
}

describe("an A/B installer", () => {
  test("in the right order is never broken, at any cut, cut again, or with errors", async () => {
    const report = await rehearse(sampleSubject(SIZE, "right", ports), { seed: 5 });
    expect(report.firstBroken).toBeUndefined();
    expect(report.broken).toBe(0);
    expect(report.cuts).toBe(report.endedOld + report.endedNew + report.resumed);
    expect([report.endedNew > 0, report.resumed > 0, report.repeatedCuts > 20, report.faults]).toEqual([
      true,
      true,
      true,
      2 * report.writes,
    ]);
  });

  test("is judged the same by the same seed", async () => {
    const once = await rehearse(sampleSubject(SIZE, "in-place", ports), { seed: 9 });
    expect(await rehearse(sampleSubject(SIZE, "in-place", ports), { seed: 9 })).toEqual(once);
  });

  test.each(["commit-first", "no-flush", "in-place"] as const)(
    "with the mistake %s is caught, and the first broken step can be made again alone",
    async (order) => {
      const made = (): RehearsalSubject => sampleSubject(SIZE, order, ports);
      const report = await rehearse(made(), { seed: 3 });
      expect(report.broken).toBeGreaterThan(0);
      const { firstBroken } = report;
      expect(firstBroken?.write).toContain("/dev/mmcblk0");
      expect(describeReport(report)).toContain(`--seed 3 --only ${firstBroken?.cut ?? "?"}`);
      const again = await rehearse(made(), { seed: 3, only: firstBroken?.cut ?? "" });
      expect([again.broken, again.cuts, again.firstBroken?.reason]).toEqual([1, 1, firstBroken?.reason]);
    },
  );

  test("a sample has as many cuts as were asked for and finds what is wrong often enough", async () => {
    const sample = await rehearse(sampleSubject(SIZE, "right", ports), { cuts: 20, faults: false });
    expect([sample.cuts, sample.repeatedCuts > 0, sample.faults, sample.broken]).toEqual([20, true, 0, 0]);
    const wrong = await rehearse(sampleSubject(SIZE, "commit-first", ports), { cuts: 20 });
    expect(wrong.broken).toBeGreaterThan(0);
  });

  test("a cut that does not exist is told", async () => {
    for (const only of ["", "x", "9999.before.dropped", "0.before.dropped,9999.after.kept"]) {
      expect(await code(rehearse(sampleSubject(SIZE, "right", ports), { only }))).toBe("REHEARSE_NO_SUCH_CUT");
    }
  });
});

describe("without a judge, content is compared with the old and the new system", () => {
  const files = { "/etc/a": "old a", "/etc/b": "old b", "/etc/gone": "x" };

  test("files that are replaced one by one under a journal are resumed", async () => {
    const install = async (device: Device): Promise<void> => {
      const journal = openJournal<number>(device.state, "done");
      const done = (await journal.load()) ?? 0;
      if (done < 1) {
        for (const name of ["a", "b"]) {
          await writeFile(device, `/etc/${name}.new`, `new ${name}`);
          await device.files.rename(`/etc/${name}.new`, `/etc/${name}`);
        }
        if ((await device.files.stat("/etc/gone")) !== undefined) await device.files.remove("/etc/gone");
        await device.files.syncFolder("/etc");
        await journal.save(1);
      }
    };
    const report = await rehearse(subject({ files }, install));
    expect(report.firstBroken).toBeUndefined();
    expect([report.broken, report.resumed > 0, report.endedNew > 0]).toEqual([0, true, true]);
  });

  test("a journal that is ahead of the content is caught", async () => {
    const install = async (device: Device): Promise<void> => {
      const journal = openJournal<number>(device.state, "done");
      if ((await journal.load()) === 1) return;
      await writeFile(device, "/etc/a", "new a", false);
      await journal.save(1);
      const file = await device.files.open("/etc/a", "update");
      await file.sync();
    };
    const report = await rehearse(subject({ files }, install));
    expect(report.broken).toBeGreaterThan(0);
    expect(report.firstBroken?.reason).toContain("success is reported, but the root file system: /etc/a differs");
  });

  test("an installer that refuses after a cut leaves the old system or is caught", async () => {
    const refusing = (breakFirst: boolean) => async (device: Device) => {
      if ((await device.files.stat("/etc/begun")) !== undefined) throw new OtaError("DEVICE_BUSY", "begun already");
      if (breakFirst) await writeFile(device, "/etc/b", "half");
      await writeFile(device, "/etc/begun", "x");
      await device.files.syncFolder("/etc");
      await writeFile(device, "/etc/b", "new b");
    };
    const old = await rehearse(subject({ files: { "/etc/b": "old b" } }, refusing(true)));
    expect(old.firstBroken?.reason).toMatch(/neither old nor new|success is reported/);
    expect(old.broken).toBeGreaterThan(0);
  });

  test("UBI volumes must be whole", async () => {
    const ubi = { "/dev/ubi0_0": { size: 65536, content: new Uint8Array(40000).fill(1) } };
    const report = await rehearse(
      subject({ ubi }, async (device) => {
        const content = new Uint8Array(50000).fill(2);
        await device.ubi.update(
          "/dev/ubi0_0",
          content.length,
          (async function* () {
            yield content;
          })(),
        );
      }),
    );
    expect([report.broken, report.endedOld]).toEqual([0, 0]);
  });

  test("success before a flush is broken even without a cut", async () => {
    const made = subject({ files }, (device) => writeFile(device, "/etc/a", "new", false));
    const report = await rehearse(made, { only: "end" });
    expect([report.cuts, report.broken, report.firstBroken?.cut]).toEqual([1, 1, "end"]);
    expect((await rehearse(made)).broken).toBeGreaterThan(1);
  });

  test("a package that does not install is told with its own reason", async () => {
    const refuse = async (): Promise<void> => {
      throw new OtaError("DEVICE_TOO_SMALL", "too small");
    };
    expect(await code(rehearse(subject({ files }, refuse)))).toBe("REHEARSE_CLEAN_RUN");
    const bug = async (): Promise<void> => {
      throw new TypeError("x is undefined");
    };
    expect(await code(rehearse(subject({ files }, bug)))).toBe("TypeError: x is undefined");
  });

  test("a bug that only a restart meets is broken, not a refusal", async () => {
    const install = async (device: Device): Promise<void> => {
      if ((await device.files.stat("/etc/half")) !== undefined)
        throw new TypeError("cannot read properties of undefined");
      await writeFile(device, "/etc/half", "x");
      await device.files.syncFolder("/etc");
      await writeFile(device, "/etc/a", "new a");
    };
    const report = await rehearse(subject({ files }, install));
    expect(report.firstBroken?.reason).toContain("the installer fails with a bug: TypeError");
  });
});

describe("the report", () => {
  // A sample of the broken ones: some of its reruns have nothing to write, and are counted all the same.
  test.each(["all", 200] as const)("knows how each cut of %s ended, and its counts are the same", async (cuts) => {
    const report = await rehearse(sampleSubject(SIZE, "commit-first", ports), { seed: 2, cuts });
    const ended = { old: 0, new: 0, resumed: 0, broken: 0 };
    let faults = 0;
    for (const step of report.steps) {
      for (const o of step.cuts) if (o !== null) ended[o]++;
      for (const o of ["old", "new", "resumed", "broken"] as const) ended[o] += step.repeated[o];
      ended.broken += step.brokenFaults;
      faults += step.faults;
    }
    expect(ended).toEqual({
      old: report.endedOld,
      new: report.endedNew,
      resumed: report.resumed,
      broken: report.broken,
    });
    expect([faults, report.steps.length, report.steps.at(-1)?.kind]).toEqual([report.faults, report.writes + 1, "end"]);
    const strip = drawStrip(report, { columns: 500, colour: false });
    expect(strip).toMatch(/^\[[nroX ]+\]$/);
    expect(strip.length).toBe(report.steps.length + 2);
    expect(strip.charAt(1 + (report.firstBroken?.index ?? -1))).toBe("X");
    expect(drawStrip(report, { columns: 12, colour: true })).toContain("\u001b[1;97;41mX");
  });

  test("tells a chain of cuts in words", () => {
    expect(explainCut("17.torn.some,4.after.kept")).toEqual([
      "The power goes inside write 18: some of its sectors are on the medium. The device restarts and the same command is run again.",
      "In that run the power goes after write 5: everything written so far is on the medium. The device restarts once more.",
    ]);
    expect(explainCut("3.DEVICE_NO_SPACE")[0]).toContain("Write 4 finds the medium full");
    expect(explainCut("end")[0]).toContain("reports success");
  });

  test("is one page without anything from outside, and every name in it is data", async () => {
    const hostile = `/dev/"><img src=x onerror=alert(1)>\u202e&'`;
    const content = new Uint8Array(SIZE);
    const report = await rehearse(
      subject({ nodes: { [hostile]: { kind: "block", content } } }, async (device) => {
        const node = await device.nodes.open(hostile, "write");
        // The second write comes without a flush: a cut leaves a mixture, and the installer says it is done.
        for (const at of [0, 4096]) await node.write(at, new Uint8Array(4096).fill(7));
        await node.close();
      }),
      { cuts: 20 },
    );
    const { firstBroken } = report;
    if (firstBroken === undefined) throw new Error("nothing broken");
    const page = reportPage(
      { ...report, firstBroken: { ...firstBroken, reason: "<b>&" } },
      { title: "<script>alert(1)</script>", rows: [["<i>", "</td><script>"]] },
    );
    expect(page).toContain("&lt;b&gt;&amp;");
    // Who sees no colours: the strips say in words what they show, and broken is higher than the rest.
    expect(page).toMatch(/aria-label="before, unflushed lost: broken in \d+[^"]* of \d+ columns"/);
    expect(page).toMatch(/<rect class="broken"[^>]* height="1">/);
    expect(page).not.toMatch(/<rect class="(new|old|resumed)"[^>]* height="1"/);
    expect(page).toContain("&quot;&gt;&lt;img src=x");
    expect(page).not.toMatch(/<script|<img|<i>|https?:|<link|\u202e/);
    // Tags are the page's own, whatever the names are.
    expect(new Set([...page.matchAll(/<([a-z0-9]+)/g)].map((m) => m[1]))).toEqual(
      new Set([...reportPage(report).matchAll(/<([a-z0-9]+)/g)].map((m) => m[1])),
    );
  });
});
