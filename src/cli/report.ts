/** Prints reports. */
import type { Report } from "./family.ts";
import type { Io } from "./io.ts";

/** Prints a report as text or JSON and gives its exit code. */
export function printReport(report: Report, values: { readonly json?: boolean }, io: Io): number {
  if (values.json === true) io.out(`${JSON.stringify(report.json, null, 2)}\n`);
  else if (report.text !== "") io.out(`${report.text}\n`);
  return report.exitCode;
}
