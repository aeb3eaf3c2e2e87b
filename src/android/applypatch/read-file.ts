/** Small files of the device as bytes. */
import { devicePath, failureText } from "../updater/device-files.ts";
import type { LoadContext } from "./contents.ts";

/** Largest patch or bonus file, bytes. */
const MAX_PATCH = 512 * 1024 * 1024;

/** A file's content; undefined, with the reason in the log, when it cannot be read. */
export async function readFileAt(context: LoadContext, name: string): Promise<Uint8Array | undefined> {
  try {
    const path = devicePath(name);
    if ((await context.device.files.stat(path)) === undefined) {
      context.log(`failed to stat "${name}": No such file or directory\n`);
      return undefined;
    }
    const file = await context.device.files.open(path, "read");
    try {
      if (file.size > MAX_PATCH) {
        context.log(`"${name}" is too large for a patch\n`);
        return undefined;
      }
      return await file.read(0, file.size);
    } finally {
      await file.close();
    }
  } catch (e) {
    context.log(`failed to open "${name}": ${failureText(e)}\n`);
    return undefined;
  }
}
