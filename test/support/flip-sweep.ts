/** Flips bytes of a signed package, one at a time, and installs each on a device whose changes are counted. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isOtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { detectFamily } from "../../src/cli/families.ts";
import { installPackage } from "../../src/cli/install-package.ts";
import { captureIo } from "../../src/cli/io.ts";
import { readerInput } from "../../src/cli/package-input.ts";
import { openDevice } from "../../src/device/index.ts";
import { countChanges } from "./counted-device.ts";
import type { Bench } from "./signed-benches.ts";

/** What is wrong about a sweep, at most this many lines of it. */
const MOST_FINDINGS = 10;

export interface Sweep {
  /** Bytes that were flipped, each in an installation of its own. */
  readonly tried: number;
  /** `file, byte 12: …` for everything but a refusal with 3, 4 or 5 before the first change of the device. */
  readonly findings: readonly string[];
}

const SILENT = {
  progress: { progress: () => undefined, note: () => undefined },
  cancel: { aborted: false },
  profile: "safe",
} as const;

/**
 * Flips one bit of every byte of `bench.files` for which `wanted` holds. The installer is the one behind `otaforge install`,
 * called without its command line, which is what makes a hundred thousand installations affordable.
 */
export async function sweepFlips(bench: Bench, wanted: (file: string, at: number) => boolean): Promise<Sweep> {
  const io = captureIo({ cwd: bench.folder });
  const opened = await openDevice(join(bench.folder, "DEVICE.json"));
  const { device, changes } = countChanges(opened);
  const whole = new Uint8Array(readFileSync(join(bench.folder, bench.name)));
  const findings: string[] = [];
  let tried = 0;

  /** Undefined when it is refused as it must be. */
  const installed = async (bytes: Uint8Array): Promise<string | undefined> => {
    try {
      const input = await readerInput(bench.name, memoryReader(bytes));
      const { exitCode } = await installPackage(input, { family: await detectFamily(input), device, io }, {}, SILENT);
      return `installed, exit code ${exitCode}`;
    } catch (e) {
      if (!isOtaError(e)) return `a bug: ${String(e)}`;
      if (![3, 4, 5].includes(e.exitCode)) return `exit code ${e.exitCode}: ${e.message}`;
      return changes.length === 0 ? undefined : `refused after ${changes.length} changes, the first: ${changes[0]}`;
    }
  };

  for (const file of bench.files) {
    const path = join(bench.folder, file);
    const good = new Uint8Array(readFileSync(path));
    const bent = good.slice();
    for (let at = 0; at < good.length && findings.length < MOST_FINDINGS; at++) {
      if (!wanted(file, at)) continue;
      // A bit that changes the letter's case and one that does not, in turn with all others.
      bent[at] = (good[at] as number) ^ (1 << (at % 8));
      if (file !== bench.name) writeFileSync(path, bent);
      const finding = await installed(file === bench.name ? bent : whole);
      if (finding !== undefined) findings.push(`${file}, byte ${at}: ${finding}`);
      bent[at] = good[at] as number;
      tried++;
    }
    if (file !== bench.name) writeFileSync(path, good);
  }
  await opened.close();
  return { tried, findings };
}
