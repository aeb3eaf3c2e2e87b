/** `kdimg pack|info|extract`: the K230's image files. */
import { resolve } from "node:path";
import { newCommand } from "../command.ts";
import type { Io } from "../io.ts";
import { buildK230Delta } from "../k230-delta.ts";
import { buildFirmware } from "../k230-firmware.ts";
import { buildK230Pack } from "../k230-pack.ts";
import { k230PackageVerbs, scanInput } from "../k230-package.ts";
import { problemsJson, scanJson, scanText } from "../k230-report.ts";
import { commonOptions, printReport, type SharedValues } from "../options.ts";
import { openPackage } from "../package-input.ts";
import { PACKAGE_VERSION } from "../version.ts";

async function info(name: string, values: SharedValues, io: Io): Promise<number> {
  const input = await openPackage(name, io);
  try {
    const scan = await scanInput(input);
    // Damage goes to standard error, so that what could be read stays usable.
    for (const problem of scan.problems) io.err(`kdimg: ${problem.message}\n`);
    const exitCode = scan.problems.length > 0 ? 3 : 0;
    const problems = exitCode === 0 ? {} : { problems: problemsJson(scan.problems) };
    return printReport({ text: scanText(scan), json: { ...scanJson(scan), ...problems }, exitCode }, values, io);
  } finally {
    await input.close();
  }
}

interface ExtractValues extends SharedValues {
  directory: string;
}

async function extract(name: string, names: readonly string[], values: ExtractValues, io: Io): Promise<number> {
  const input = await openPackage(name, io);
  try {
    const folder = resolve(io.cwd, values.directory);
    const verb = k230PackageVerbs.extract as NonNullable<typeof k230PackageVerbs.extract>;
    return printReport(await verb(input, folder, names, commonOptions(values, io)), values, io);
  } finally {
    await input.close();
  }
}

export async function kdimgMain(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const done = (code: number): void => void (exitCode = code);
  const program = newCommand("kdimg", io)
    .description("Packs, shows and unpacks the K230's image files.")
    .version(PACKAGE_VERSION, "-V, --version");
  const pack = newCommand("pack", io);
  buildK230Pack(pack, io, done);
  program.addCommand(pack);
  program.addCommand(
    newCommand("info", io)
      .description("Shows header and parts and checks every digest. Exit 0 whole, 3 damaged.")
      .argument("<file>", "kdimg file")
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (name: string, values: SharedValues) => done(await info(name, values, io))),
  );
  program.addCommand(
    newCommand("extract", io)
      .description("Writes parts into a folder, each only when its digest fits.")
      .argument("<file>", "kdimg file")
      .argument("[names...]", "parts to write (default: all)")
      .option("-C, --directory <dir>", "folder to write into, made when missing", ".")
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (name: string, names: string[], values: ExtractValues) =>
        done(await extract(name, names, values, io)),
      ),
  );
  program.addCommand(buildK230Delta(newCommand("delta", io), io, done));
  program.addCommand(buildFirmware(io, done));
  if (argv.length === 0) {
    program.outputHelp();
    return 2;
  }
  await program.parseAsync([...argv], { from: "user" });
  return exitCode;
}
