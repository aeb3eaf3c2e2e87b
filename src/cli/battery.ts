/** Charge of a device's battery, as the kernel tells it under /sys/class/power_supply. */
import { readdir, readFile } from "node:fs/promises";
import type { Battery } from "../android/index.ts";
import type { Device } from "../core/ports.ts";
import { decodeText } from "../core/text.ts";

const FOLDER = "/sys/class/power_supply";

/** Reads one small attribute; undefined when it is not there. */
type ReadAttribute = (path: string) => Promise<string | undefined>;

const fromKernel: ReadAttribute = async (path) => (await readFile(path, "latin1").catch(() => undefined))?.trim();

function fromFiles(device: Device): ReadAttribute {
  return async (path) => {
    try {
      const file = await device.files.open(path, "read");
      try {
        return decodeText(await file.read(0, Math.min(file.size, 4096))).trim();
      } finally {
        await file.close();
      }
    } catch {
      return undefined;
    }
  };
}

/** The first battery; undefined when the device has none. An image shows one as files below its root. */
export async function readBattery(device: Device): Promise<Battery | undefined> {
  const board = device.kind === "board";
  const names = board
    ? await readdir(FOLDER).catch(() => [])
    : await device.files.list(FOLDER).catch((): string[] => []);
  // Names in sysfs are links: a board's are read with the kernel's own eyes.
  const read = board ? fromKernel : fromFiles(device);
  for (const name of names) {
    const type = await read(`${FOLDER}/${name}/type`);
    const capacity = await read(`${FOLDER}/${name}/capacity`);
    if ((type !== undefined && type !== "Battery") || capacity === undefined || !/^\d{1,3}$/.test(capacity)) continue;
    const status = await read(`${FOLDER}/${name}/status`);
    return { percent: Number(capacity), charging: status === "Charging" || status === "Full" };
  }
  return undefined;
}
