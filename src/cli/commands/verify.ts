/** `otaforge verify PACKAGE [--key KEY…]`. */
import { Option } from "commander";
import { resolve } from "node:path";
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { detectFamily, signsItself, verbOf } from "../families.ts";
import type { PackageInput, Report } from "../family.ts";
import type { Io } from "../io.ts";
import { followKeyLists, listsFor } from "../key-lists.ts";
import { commonOptions, printReport, withSharedOptions, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { findClaim, loadPublicKeys, signedPhrase } from "../trust.ts";

interface Values extends SharedValues {
  key?: string[];
  manifest?: string;
  keyList?: string[];
  rebuild?: true | string;
  era: "4.4" | "7.1";
}

export const verifyCommand: Subcommand = {
  async build(io, done) {
    return withSharedOptions(newCommand("verify", io))
      .description(
        "Checks every digest of a package, and its signature when keys are given. Exit 0 accepted, 3 damaged, 4 not trusted.",
      )
      .argument("<package>", "package file")
      .option("-k, --key <file...>", "public key or certificate (PEM), res/keys text, otacerts.zip")
      .option("--manifest <file>", "signed manifest (default: PACKAGE.manifest, or the one inside the package)")
      .option("--key-list <file...>", "signed key lists that begin at the keys of --key (default: PACKAGE.keys)")
      .addOption(new Option("--era <era>", "Android verifier to follow").choices(["4.4", "7.1"]).default("7.1"))
      .option(
        "--rebuild [record]",
        "make the package again from its build record (default: PACKAGE.build.json) and compare",
      )
      .action(async (name: string, values: Values) => {
        const input = await openPackage(name, io);
        const options = commonOptions(values, io);
        try {
          const family = await detectFamily(input);
          const keyFiles = (values.key ?? []).map((file) => resolve(io.cwd, file));
          const verify = verbOf(family, "verify");
          const report = signsItself(family)
            ? await verify(input, { ...options, keyFiles, era: values.era })
            : await verifyByManifest(input, keyFiles, values, {
                io,
                verify: (secured) => verify(secured, { ...options, keyFiles: [], era: values.era }),
              });
          const whole = values.rebuild === undefined ? report : await withRebuild(report, input, values.rebuild, io);
          options.progress.done();
          done(printReport(whole, values, io));
        } finally {
          await input.close();
        }
      });
  },
};

/** The manifest's word first, then the package's own checks over bytes the manifest vouches for. */
async function verifyByManifest(
  input: PackageInput,
  keyFiles: readonly string[],
  values: Values,
  { io, verify }: { io: Io; verify: (input: PackageInput) => Promise<Report> },
): Promise<Report> {
  const claim = await findClaim(input, io, values.manifest);
  const given = await loadPublicKeys(keyFiles);
  const { keys } =
    given.length === 0
      ? { keys: given }
      : await followKeyLists({ sequence: 0, keys: given }, await listsFor(input, io, values.keyList));
  if (keys.length > 0 && claim === undefined) {
    throw new OtaError("TRUST_UNSIGNED", {
      what: "the package carries no signature",
      where: input.name,
      hint: "Sign it with: otaforge sign.",
    });
  }
  const good = keys.length > 0 ? await claim?.check(keys) : undefined;
  const report = await verify(claim === undefined ? input : claim.secure(input));
  const signature =
    good !== undefined
      ? signedPhrase(good)
      : claim === undefined || claim.signedBy.length === 0
        ? "unsigned"
        : "signed, signature not checked (no --key)";
  return {
    ...report,
    text: `${report.text}\nsignature: ${signature}`,
    json: {
      ...report.json,
      signature,
      ...(claim === undefined ? {} : { version: claim.version, hardware: claim.hardware }),
    },
  };
}

/** The report with what a rebuild from the build record says; exit code 5 when the packages differ. */
async function withRebuild(report: Report, input: PackageInput, named: string | true, io: Io): Promise<Report> {
  const { rebuildPackage } = await import("../rebuild.ts");
  const result = await rebuildPackage(input, io, named === true ? undefined : named);
  const { identical, firstDifference: first, otherTool, size } = result;
  const tool = otherTool === undefined ? "" : ` (the record was made by otaforge ${printable(otherTool)})`;
  const text =
    first === undefined
      ? `rebuild: identical, ${size} bytes${tool}`
      : `rebuild: differs at offset ${hexOffset(first.offset)}: package ${first.package}, rebuilt ${first.rebuilt}${tool}`;
  return {
    text: `${report.text}\n${text}`,
    json: { ...report.json, rebuild: result },
    exitCode: report.exitCode !== 0 || identical ? report.exitCode : 5,
  };
}
