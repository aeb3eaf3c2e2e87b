/** `otaforge install` and `otaforge rehearse` for Android packages. */
import { resolve } from "node:path";
import { installUpdateZip, isPayload, SCRIPT_NAME } from "../android/index.ts";
import type { AndroidInstallReport } from "../android/index.ts";
import type { Device } from "../core/ports.ts";
import { acquireLock, readDescription } from "../device/index.ts";
import type { OpenedDevice } from "../device/index.ts";
import { loadAndroidKeys, packageReader } from "./android-verify.ts";
import type { AndroidRehearsal } from "./android-rehearsal.ts";
import { openAndroidZip } from "./android-package.ts";
import { installAndroidPayload, rehearseAndroidPayload } from "./android-payload-install.ts";
import { readBattery } from "./battery.ts";
import type { InstallOptions, PackageInput, RehearseOptions, Report } from "./family.ts";
import { checkRunUpdateBinary, runUpdateBinary } from "./update-binary.ts";

/** Node behind a mount point of the device description. */
export function nodeOfMount(device: Device): (at: string) => string | undefined {
  const mounts = "description" in device ? (device as OpenedDevice).description.mounts : undefined;
  return (at) => (mounts?.[at] === undefined ? undefined : (mounts[at].node ?? at));
}

function installReport(report: AndroidInstallReport): Report {
  const { outcome, signature, era, metadata, restarts, reboot, screen } = report;
  const stages = restarts === 0 ? "" : `, with ${restarts} restarts in between`;
  const text =
    outcome === "installed"
      ? `installed${stages}${metadata.postBuild === undefined ? "" : `: ${metadata.postBuild}`}`
      : `the package goes on after a restart (${reboot ?? ""}): restart the board and run the same command again`;
  return {
    text: `${text}\nsignature: ${signature}`,
    json: { family: "android", outcome, trust: signature, era, restarts, screen, metadata: { ...metadata } },
    exitCode: outcome === "installed" ? 0 : 7,
  };
}

/** Whether a package is an A/B one, and whether its payload comes without a package around it. */
async function payloadKind(input: PackageInput): Promise<"bare" | "inside" | undefined> {
  if (isPayload(input.head)) return "bare";
  const zip = await openAndroidZip(input);
  return zip.get("payload.bin") !== undefined && zip.get(SCRIPT_NAME) === undefined ? "inside" : undefined;
}

export async function installAndroid(input: PackageInput, device: Device, options: InstallOptions): Promise<Report> {
  const reader = packageReader(input);
  const payload = await payloadKind(input);
  if (payload !== undefined) {
    const lock = await acquireLock(device, `otaforge install ${input.name}`);
    try {
      return await installAndroidPayload(reader, payload === "bare", device, options);
    } finally {
      await lock.release();
    }
  }
  const { profile, progress, cancel, era, minimumVersion } = options;
  const keys = await loadAndroidKeys(options.keyFiles, era ?? "7.1");
  if (options.runUpdateBinary === true) checkRunUpdateBinary(device.kind);
  const battery = await readBattery(device);
  const board = device.kind === "board";
  const path = resolve(input.name);
  const lock = await acquireLock(device, `otaforge install ${input.name}`);
  try {
    const report = await installUpdateZip(device, reader, {
      profile,
      keys,
      progress,
      cancel,
      nodeOf: nodeOfMount(device),
      ...(era === undefined ? {} : { era }),
      ...(minimumVersion === undefined ? {} : { minimumVersion }),
      ...(battery === undefined ? {} : { battery }),
      ...(board ? { packagePath: path, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) } : {}),
      ...(options.runUpdateBinary === true
        ? {
            runUpdateBinary: (_reader, zip, pipe) =>
              runUpdateBinary({ zip, path, pipe, log: (text) => progress.note("info", text.trimEnd()) }),
          }
        : {}),
    });
    return installReport(report);
  } finally {
    await lock.release();
  }
}

export async function rehearseAndroid(input: PackageInput, options: RehearseOptions): Promise<Report> {
  const payload = await payloadKind(input);
  if (payload !== undefined) {
    const { packageBytes } = await import("./rehearsal.ts");
    return rehearseAndroidPayload(await packageBytes(input), payload === "bare", options);
  }
  const { packageBytes, rehearseJob, simulatedCopyOf } = await import("./rehearsal.ts");
  const cache = (await readDescription(options.deviceFile)).mounts?.["/cache"];
  const data: AndroidRehearsal = {
    spec: await simulatedCopyOf(options.deviceFile),
    package: await packageBytes(input),
    profile: options.profile,
    cacheNode: cache?.node,
  };
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return rehearseJob({ module: new URL(`./android-rehearsal.${extension}`, import.meta.url).href, data }, options);
}
