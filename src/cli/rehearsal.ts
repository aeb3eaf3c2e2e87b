/** What the families' `rehearse` have in common: the simulated copy, the threads, the report. */
import { concatBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { copyToSimulation, openDevice } from "../device/index.ts";
import type { SimulatedSpec } from "../device/index.ts";
import { rehearseOnThreads } from "../rehearse/pool.node.ts";
import { describeReport, drawStrip, reportPage } from "../rehearse/index.ts";
import type { RehearsalJob, RehearsalReport, ReportFacts } from "../rehearse/index.ts";
import type { PackageInput, RehearseOptions, Report } from "./family.ts";
import { replaceFile } from "./write-beside.ts";

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

/** `report.html` → `report.json`; any other name gets the ending behind it. */
function jsonBeside(reportFile: string): string {
  return reportFile.endsWith(".html") ? `${reportFile.slice(0, -".html".length)}.json` : `${reportFile}.json`;
}

async function writeReport(file: string, report: RehearsalReport, facts: ReportFacts): Promise<void> {
  await replaceFile(file, reportPage(report, facts));
  const json = { package: facts.title, facts: Object.fromEntries(facts.rows), ...report };
  await replaceFile(jsonBeside(file), `${JSON.stringify(json)}\n`);
}

/**
 * Rehearses on all cores and reports. `job.module` is the URL of a module that exports `rehearsalSubject(data)`; it is loaded in
 * every thread. Exit code 0 only when nothing is broken, else 6. The outcome of each single write is in the report files only:
 * standard output stays short whatever the package is.
 */
export async function rehearseJob(job: RehearsalJob, options: RehearseOptions): Promise<Report> {
  const { cuts, seed, only, progress, cancel, reportFile, facts, strip } = options;
  const report = await rehearseOnThreads(job, {
    cuts,
    seed,
    progress,
    cancel,
    ...(only === undefined ? {} : { only }),
  });
  if (reportFile !== undefined) await writeReport(reportFile, report, facts);
  const { steps, ...counts } = report;
  const letters = drawStrip({ steps }, { columns: 102, colour: false });
  return {
    text: describeReport(report, strip),
    json: { ...counts, strip: letters.slice(1, -1) },
    exitCode: report.broken === 0 ? 0 : 6,
  };
}
