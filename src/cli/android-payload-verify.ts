/** `otaforge verify` for payloads: bare ones, and those of A/B packages beside the package's own signature. */
import { openPayload } from "../android/index.ts";
import { androidKind, openAndroidZip } from "./android-package.ts";
import { isPayloadFile, payloadOfZip, verifyPayloadReport } from "./android-payload.ts";
import { loadAndroidKeys, packageReader } from "./android-verify.ts";
import type { Family, Report } from "./family.ts";

type Verify = NonNullable<Family["verify"]>;

/** The worse of two findings, both told. */
function both(first: Report, second: Report): Report {
  return {
    text: `${first.text}\n${second.text}`,
    json: { ...second.json, ...first.json, accepted: first.exitCode === 0 && second.exitCode === 0 },
    exitCode: first.exitCode === 0 ? second.exitCode : first.exitCode,
  };
}

/**
 * Adds payloads to a package verifier. A bare payload.bin is judged by its own signatures; of an A/B package both must be
 * good, the package's and the payload's, because recovery asks for one and the update engine for the other.
 */
export function withPayloads(verifyPackage: Verify): Verify {
  return async (input, options) => {
    const keys = await loadAndroidKeys(options.keyFiles, options.era);
    if (isPayloadFile(input)) {
      return verifyPayloadReport(input.name, await openPayload(packageReader(input)), keys, options);
    }
    const report = await verifyPackage(input, options);
    if (report.exitCode !== 0) return report;
    const zip = await openAndroidZip(input);
    if (androidKind(zip) !== "a-b") return report;
    return both(report, await verifyPayloadReport("payload.bin", await payloadOfZip(zip), keys, options));
  };
}
