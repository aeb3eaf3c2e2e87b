/** Loads a device extension of the package maker: an ES module named by `-s` or by the target files. */
import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { extensionOf, type DeviceExtension } from "../android/releasetools/extension.ts";
import { OtaError } from "../core/errors.ts";

const NAMES = ["releasetools.js", "releasetools.mjs"];

function python(where: string): OtaError {
  return new OtaError("ANDROID_EXTENSION", {
    what: "the extension is written in Python",
    where,
    hint:
      "Port it to an ES module releasetools.js beside it: FullOTA_InstallEnd(info) becomes " +
      "export async function fullOtaInstallEnd(ota), info.script.AppendExtra(t) becomes ota.script.append(t), " +
      "info.input_zip.read(n) becomes await ota.input.read(n), common.ZipWriteStr(info.output_zip, n, d) becomes ota.output.add(n, d).",
  });
}

/** @throws OtaError ANDROID_EXTENSION */
export async function loadExtension(path: string, cwd: string): Promise<DeviceExtension> {
  const full = resolve(cwd, path);
  if (!existsSync(full)) throw new OtaError("ANDROID_EXTENSION", { what: "the extension is not there", where: path });
  let file = full;
  if (statSync(full).isDirectory()) {
    const found = NAMES.map((n) => join(full, n)).find((f) => existsSync(f));
    if (found === undefined) {
      if (existsSync(join(full, "releasetools.py"))) throw python(join(path, "releasetools.py"));
      throw new OtaError("ANDROID_EXTENSION", {
        what: "the folder has no extension",
        where: path,
        expected: NAMES.join(" or "),
      });
    }
    file = found;
  } else if (full.endsWith(".py")) throw python(path);
  let module: Record<string, unknown>;
  try {
    module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (e) {
    const reason = e instanceof Error ? e.message : String(e);
    throw new OtaError("ANDROID_EXTENSION", { what: "the extension cannot be loaded", where: path, found: reason }, e);
  }
  return extensionOf(module, path);
}
