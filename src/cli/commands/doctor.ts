/** `otaforge doctor`: what is on this machine that some command would need, and how to get it. */
import { accessSync, constants } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join } from "node:path";
import { newCommand, type Subcommand } from "../command.ts";
import { printReport, type SharedValues } from "../options.ts";
import type { Report } from "../family.ts";
import type { Io } from "../io.ts";
import { PACKAGE_VERSION } from "../version.ts";

interface Tool {
  readonly program: string;
  /** What would need it. */
  readonly neededFor: string;
  readonly debianPackage: string;
  /** `board`: only when installing on real nodes; `host`: only where packages are made or proven. */
  readonly where: "board" | "host" | "both";
}

const TOOLS: readonly Tool[] = [
  { program: "sh", neededFor: "begin, end and script records on a board", debianPackage: "dash", where: "board" },
  { program: "flash_erase", neededFor: "raw writes to NAND and NOR", debianPackage: "mtd-utils", where: "board" },
  {
    program: "nandwrite",
    neededFor: "raw writes to NAND around bad blocks",
    debianPackage: "mtd-utils",
    where: "board",
  },
  { program: "mtdinfo", neededFor: "finding the bad blocks of NAND", debianPackage: "mtd-utils", where: "board" },
  { program: "ubiupdatevol", neededFor: "UBI volumes", debianPackage: "mtd-utils", where: "board" },
  { program: "ubimkvol", neededFor: "updating a second UBI volume", debianPackage: "mtd-utils", where: "board" },
  {
    program: "ubirename",
    neededFor: "putting a second UBI volume in place",
    debianPackage: "mtd-utils",
    where: "board",
  },
  {
    program: "mount",
    neededFor: "mount and unmount in update scripts, files inside file system images as root",
    debianPackage: "mount",
    where: "both",
  },
  {
    program: "setfattr",
    neededFor: "labels and capabilities, on a board and inside file system images",
    debianPackage: "attr",
    where: "both",
  },
  {
    program: "mkfs.ext4",
    neededFor: "format in update scripts, on a board and of file system images",
    debianPackage: "e2fsprogs",
    where: "both",
  },
  {
    program: "debugfs",
    neededFor: "files inside ext4 images without root",
    debianPackage: "e2fsprogs",
    where: "host",
  },
  {
    program: "openssl",
    neededFor: "external signing commands and the interop tests",
    debianPackage: "openssl",
    where: "host",
  },
  {
    program: "xz",
    neededFor: "opening xz containers in patches (build side)",
    debianPackage: "xz-utils",
    where: "host",
  },
  { program: "lz4", neededFor: "opening lz4 containers in patches (build side)", debianPackage: "lz4", where: "host" },
  { program: "zstd", neededFor: "comparing with zstd in the benchmark", debianPackage: "zstd", where: "host" },
  {
    program: "bspatch",
    neededFor: "interop tests: stock bspatch reads our patches",
    debianPackage: "bsdiff",
    where: "host",
  },
  {
    program: "mksquashfs",
    neededFor: "interop tests with squashfs images",
    debianPackage: "squashfs-tools",
    where: "host",
  },
];

function findProgram(program: string, path: string): string | undefined {
  for (const folder of path.split(delimiter)) {
    if (folder === "") continue;
    const file = join(folder, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** Looks for every tool; missing ones are findings, not failures: most users need only some. */
export function examine(io: Pick<Io, "env">): Report {
  // Flash tools live in sbin, which is not in a user's PATH.
  const path = `${io.env["PATH"] ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;
  const tools = TOOLS.map((tool) => ({ ...tool, found: findProgram(tool.program, path) ?? null }));
  const cores = availableParallelism();
  const width = Math.max(...tools.map((t) => t.program.length));
  const lines = [
    `otaforge ${PACKAGE_VERSION}, Node ${process.versions.node}, ${process.platform} ${process.arch}, ${cores} cores`,
    ...tools.map((t) =>
      t.found === null
        ? `missing  ${t.program.padEnd(width)}  ${t.neededFor}: apt-get install ${t.debianPackage}`
        : `found    ${t.program.padEnd(width)}  ${t.neededFor}`,
    ),
    "Packing, inspecting, verifying, rehearsing and installing on folders and raw images need none of them.",
  ];
  return {
    text: lines.join("\n"),
    json: {
      version: PACKAGE_VERSION,
      node: process.versions.node,
      platform: process.platform,
      arch: process.arch,
      cores,
      tools,
    },
    exitCode: 0,
  };
}

export const doctorCommand: Subcommand = {
  async build(io, done) {
    return newCommand("doctor", io)
      .description("Lists the programs that some command would use on this machine, and how to get the missing ones.")
      .option("--json", "print JSON on standard output and nothing else there")
      .action((values: SharedValues) => done(printReport(examine(io), values, io)));
  },
};
