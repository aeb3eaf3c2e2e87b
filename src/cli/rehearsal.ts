/** What the families' `rehearse` have in common: the simulated copy, the threads, the report. */
import { writeFile } from "node:fs/promises";
import { concatBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { copyToSimulation, openDevice } from "../device/index.ts";
import type { SimulatedSpec } from "../device/index.ts";
import { rehearseOnThreads } from "../rehearse/pool.node.ts";
import { describeReport, reportPage } from "../rehearse/index.ts";
import type { RehearsalJob } from "../rehearse/index.ts";
import type { PackageInput, RehearseOptions, Report } from "./family.ts";

/** A package that is rehearsed lies in the memory of every thread, bytes at most. */
const MAX_PACKAGE = 256 * 1024 * 1024;

/** A simulated copy of the described device, as plain data. @throws OtaError DEVICE_DESCRIPTION, DEVICE_TOO_SMALL */
export async function simulatedCopyOf(deviceFile: string): Promise<SimulatedSpec> {
  const device = await openDevice(deviceFile);
  try {
    return await copyToSimulation(device);
  } finally {
    await device.close();
  }
}

/** The whole package. @throws OtaError UNSUPPORTED beyond 256 MiB */
export async function packageBytes(input: PackageInput): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of input.stream()) {
    size += chunk.length;
    if (size > MAX_PACKAGE) {
      throw new OtaError("UNSUPPORTED", {
        what: "the package is too large to be rehearsed in memory",
        where: input.name,
        expected: `at most ${MAX_PACKAGE} bytes`,
      });
    }
    parts.push(chunk);
  }
  return concatBytes(...parts);
}

/**
 * Rehearses on all cores and reports. `job.module` is the URL of a module that exports `rehearsalSubject(data)`; it is loaded in
 * every thread. Exit code 0 only when nothing is broken, else 6.
 */
export async function rehearseJob(job: RehearsalJob, options: RehearseOptions): Promise<Report> {
  const { cuts, seed, only, progress, cancel, reportFile } = options;
  const report = await rehearseOnThreads(job, {
    cuts,
    seed,
    progress,
    cancel,
    ...(only === undefined ? {} : { only }),
  });
  if (reportFile !== undefined) await writeFile(reportFile, reportPage(report));
  return { text: describeReport(report), json: { ...report }, exitCode: report.broken === 0 ? 0 : 6 };
}
