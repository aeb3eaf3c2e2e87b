/** `otaforge rehearse PACKAGE --device DEVICE.json`. */
import { InvalidArgumentError } from "commander";
import { basename, resolve } from "node:path";
import { toHex } from "../../core/bytes.ts";
import { streamRange } from "../../core/streams.ts";
import { nodeDigests } from "../../device/index.ts";
import type { ReportFacts } from "../../rehearse/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, verbOf } from "../families.ts";
import type { FamilyName, PackageInput } from "../family.ts";
import { commonOptions, printReport, wholeNumber, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { findClaim, type TrustClaim } from "../trust.ts";
import { PACKAGE_VERSION } from "../version.ts";

interface Values extends SharedValues {
  device: string;
  cuts: "all" | number;
  seed?: number;
  report?: string;
  only?: string;
}

function readCuts(text: string): "all" | number {
  if (text === "all") return "all";
  const n = wholeNumber(text);
  if (n === 0) throw new InvalidArgumentError("Expected all or a number above 0.");
  return n;
}

/** What a release manager wants to see of the package, the device and the tool. */
async function factsOf(
  input: PackageInput,
  family: FamilyName,
  { values, claim, profile }: { values: Values; claim: TrustClaim | undefined; profile: "safe" | "vendor" },
): Promise<ReportFacts> {
  const digest = nodeDigests.create("sha256");
  let size = 0;
  if (input.reader !== undefined) {
    for await (const chunk of streamRange(input.reader)) digest.update(chunk);
    size = input.reader.size;
  }
  return {
    title: basename(input.name),
    rows: [
      ["Package", `${family}, ${size} bytes`],
      ["SHA-256", toHex(digest.digest())],
      ["Version", claim?.version ?? "not named: no manifest"],
      ["Signature", claim === undefined || claim.signedBy.length === 0 ? "unsigned" : "signed, not checked here"],
      ["Device", basename(values.device)],
      ["Profile", profile === "safe" ? "safe" : "vendor-compatible"],
      ["Cuts", values.only ?? String(values.cuts)],
      ["Tool", `otaforge ${PACKAGE_VERSION}, Node ${process.versions.node}`],
    ],
  };
}

export const rehearseCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("rehearse", io))
      .description(
        "Installs a package on a simulated copy of your device with the power cut before, inside and after every write, " +
          "restarts, and judges each outcome. Exit 0 only when no cut leaves a broken device.",
      )
      .argument("<package>", "package file")
      .requiredOption("-d, --device <file>", "device description (DEVICE.json)")
      .option("--cuts <n>", "all, or how many cuts to sample", readCuts, "all")
      .option("--seed <n>", "seed of everything random; printed, so that a run can be repeated", wholeNumber)
      .option("--only <cut>", "one cut and nothing else, as a report names its first broken one")
      .option("--report <file.html>", "also write the report as one HTML page, and as JSON beside it")
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const claim = await findClaim(input, io);
          const report = await verbOf(family, "rehearse")(claim === undefined ? input : claim.secure(input), {
            ...options,
            deviceFile: resolve(io.cwd, values.device),
            cuts: values.cuts,
            seed: values.seed ?? 1,
            items: claim?.items ?? [],
            facts: await factsOf(input, family.name, { values, claim, profile: options.profile }),
            strip: { columns: io.columns, colour: io.outHasColours === true },
            ...(values.only === undefined ? {} : { only: values.only }),
            ...(values.report === undefined ? {} : { reportFile: resolve(io.cwd, values.report) }),
          });
          options.progress.done();
          done(printReport(report, values, io));
        } finally {
          await input.close();
        }
      });
  },
};
