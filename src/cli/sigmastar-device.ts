/** `otaforge install` and `otaforge rehearse` for SigmaStar packages, and what `otaunpack` shares with them. */
import { isAbsolute, resolve } from "node:path";
import { OtaError } from "../core/errors.ts";
import { realpath, stat } from "node:fs/promises";
import type { Device } from "../core/ports.ts";
import { printable } from "../core/text.ts";
import { acquireLock } from "../device/index.ts";
import { diskFiles } from "../device/disk/disk-files.ts";
import { installSigmastar, type InstallResult, type Scratch } from "../sigmastar/index.ts";
import type { Family, InstallOptions, PackageInput, Report } from "./family.ts";
import { promisedDifferences } from "./promised-differences.ts";
import { fanOut } from "./progress.ts";
import { packageBytes, rehearseJob, simulatedCopyOf } from "./rehearsal.ts";
import type { SigmastarRehearsal } from "./sigmastar-rehearsal.ts";
import { keepMemorySmall } from "./small-memory.ts";

/**
 * The folder for differences a user named: one of the device, or, for an image device, one of this machine. Without one the
 * state folder serves: it is never a target and keeps its files.
 */
export async function scratchFolder(device: Device, named: string | undefined, cwd: string): Promise<Scratch> {
  if (named === undefined) return { files: device.state, folder: "/" };
  const path = isAbsolute(named) ? named : resolve(cwd, named);
  if (device.kind !== "image" || (isAbsolute(named) && (await isDeviceFolder(device, path)))) {
    return { files: device.files, folder: path };
  }
  const here = await stat(path).catch(() => undefined);
  if (here?.isDirectory() !== true) {
    throw new OtaError(here === undefined ? "DEVICE_NOT_FOUND" : "DEVICE_NOT_FOLDER", {
      what: "the folder for differences cannot be used",
      where: printable(path),
      expected: "a folder of the device, or of this machine",
    });
  }
  return {
    files: diskFiles({ areas: [{ at: "/", folder: await realpath(path) }] }),
    folder: "/",
    shownAs: printable(path),
  };
}

async function isDeviceFolder(device: Device, path: string): Promise<boolean> {
  try {
    return (await device.files.stat(path))?.kind === "folder";
  } catch (e) {
    if (e instanceof OtaError) return false;
    throw e;
  }
}

/** The open file of an input. @throws OtaError UNSUPPORTED for standard input, which cannot be read twice */
export function twiceReadable(input: PackageInput) {
  if (input.reader !== undefined) return input.reader;
  throw new OtaError("UNSUPPORTED", {
    what: "a SigmaStar package is read twice: once to check it, once to install it",
    where: "standard input",
    hint: "Store the package in a file and name that.",
  });
}

/** The lines a finished installation prints. */
export function installText(result: InstallResult, signature: string): string {
  const done = result.targets.filter((t) => t.outcome !== "skipped").length;
  const lines = [
    `installed: ${done} of ${result.targets.length} targets written, read back and committed (${result.generation}, ${signature})` +
      (result.resumed ? ", finishing an interrupted run" : ""),
  ];
  for (const t of result.targets) {
    const note =
      t.outcome === "done"
        ? ""
        : t.outcome === "earlier"
          ? "  (by the interrupted run)"
          : `  skipped: ${t.reason ?? ""}`;
    lines.push(`  ${t.record}  ${t.operation.padEnd(11)} ${printable(t.path)}${note}`);
  }
  for (const s of result.scripts) if (!s.ran) lines.push(`  ${s.name}: noted, not run on this device`);
  return lines.join("\n");
}

export interface SigmastarInstallExtras {
  readonly command: string;
  readonly compression: "gzip" | "plain" | "detect";
  readonly cwd: string;
  /** Differences need a folder the user names; otherwise the state folder serves. */
  readonly needsNamedScratch?: boolean;
  readonly ignoreMasks?: boolean;
  readonly abandon?: boolean;
}

/** Installs an opened package on an opened device. */
export async function installInput(
  input: PackageInput,
  device: Device,
  options: InstallOptions,
  extras: SigmastarInstallExtras,
): Promise<Report & { readonly result: InstallResult }> {
  const noScratch = options.temporary === undefined && extras.needsNamedScratch === true;
  const scratch = noScratch ? undefined : await scratchFolder(device, options.temporary, extras.cwd);
  const result = await installSigmastar(
    device,
    { file: twiceReadable(input), compression: extras.compression },
    {
      profile: options.profile,
      ...(scratch === undefined ? {} : { scratch }),
      acceptVolatile: options.acceptVolatile,
      promised: promisedDifferences(options.items),
      ...(options.signature.startsWith("signed by") ? { signedBy: options.signature } : {}),
      ignoreMasks: extras.ignoreMasks === true,
      abandon: extras.abandon === true,
      lock: (d) => acquireLock(d, extras.command),
      progress: fanOut(options.progress, keepMemorySmall()),
      cancel: options.cancel,
    },
  );
  return {
    text: installText(result, options.signature),
    json: { ...result, signature: options.signature },
    exitCode: 0,
    result,
  };
}

export const sigmastarDeviceVerbs: Pick<Family, "install" | "rehearse"> = {
  install: (input, device, options) =>
    installInput(input, device, options, { command: "otaforge install", compression: "detect", cwd: process.cwd() }),
  async rehearse(input, options) {
    const data: SigmastarRehearsal = {
      spec: await simulatedCopyOf(options.deviceFile),
      package: await packageBytes(input),
      items: options.items,
      profile: options.profile,
    };
    // Threads load a file: the compiled one, or (in unit tests, without threads) the source.
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    const module = new URL(`./sigmastar-rehearsal.${extension}`, import.meta.url).href;
    return rehearseJob({ module, data }, options);
  },
};
