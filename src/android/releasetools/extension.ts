/**
 * Device extensions: a module with hooks that add to the script and to the package (formats/android.md 2.9).
 *
 * ```js
 * // releasetools.js
 * export async function fullOtaInstallEnd(ota) {
 *   ota.output.add("radio.img", await ota.input.read("RADIO/radio.img"));
 *   ota.script.append('package_extract_file("radio.img", "/dev/block/radio");');
 * }
 * ```
 */
import { OtaError } from "../../core/errors.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import type { PackagePlan } from "./package-plan.ts";
import type { Script } from "./script.ts";

/** Reading side of a target files zip. */
export interface ExtensionInput {
  /** Names of all entries, in the order of the zip. */
  names(): readonly string[];
  has(name: string): boolean;
  /** @throws OtaError ZIP_MISSING, ZIP_CRC, ZIP_ENTRY */
  read(name: string): Promise<Uint8Array>;
}

/** The package being made. */
export interface ExtensionOutput {
  /** Adds an entry; mode default 0o644. @throws OtaError ZIP_DUPLICATE */
  add(name: string, bytes: Uint8Array, mode?: number): void;
  has(name: string): boolean;
}

interface Shared {
  readonly script: Script;
  readonly output: ExtensionOutput;
  /** `META-INF/com/android/metadata`; keys may be added. */
  readonly metadata: Map<string, string>;
  /** META/misc_info.txt of the target. */
  readonly info: ReadonlyMap<string, string>;
  /** What `-x key=value` said. */
  readonly extras: ReadonlyMap<string, string>;
  note(level: "info" | "warning", text: string): void;
}

export interface FullOta extends Shared {
  readonly kind: "full";
  readonly input: ExtensionInput;
  /** recovery_api_version. */
  readonly version: number;
}

export interface IncrementalOta extends Shared {
  readonly kind: "incremental";
  readonly source: ExtensionInput;
  readonly target: ExtensionInput;
  readonly sourceVersion: number;
  readonly targetVersion: number;
  readonly sourceInfo: ReadonlyMap<string, string>;
}

type Hook<T> = (ota: T) => void | Promise<void>;

/** All hooks are optional. */
export interface DeviceExtension {
  readonly fullOtaAssertions?: Hook<FullOta>;
  readonly fullOtaInstallBegin?: Hook<FullOta>;
  readonly fullOtaInstallEnd?: Hook<FullOta>;
  readonly incrementalOtaAssertions?: Hook<IncrementalOta>;
  readonly incrementalOtaVerifyBegin?: Hook<IncrementalOta>;
  readonly incrementalOtaVerifyEnd?: Hook<IncrementalOta>;
  readonly incrementalOtaInstallBegin?: Hook<IncrementalOta>;
  readonly incrementalOtaInstallEnd?: Hook<IncrementalOta>;
}

export const EXTENSION_HOOKS: readonly (keyof DeviceExtension)[] = Object.freeze([
  "fullOtaAssertions",
  "fullOtaInstallBegin",
  "fullOtaInstallEnd",
  "incrementalOtaAssertions",
  "incrementalOtaVerifyBegin",
  "incrementalOtaVerifyEnd",
  "incrementalOtaInstallBegin",
  "incrementalOtaInstallEnd",
]);

/**
 * An imported module as an extension.
 * @throws OtaError ANDROID_EXTENSION when a hook is no function, or there is none
 */
export function extensionOf(module: Readonly<Record<string, unknown>>, where: string): DeviceExtension {
  const hooks: Record<string, unknown> = {};
  for (const name of EXTENSION_HOOKS) {
    const hook = module[name];
    if (hook === undefined) continue;
    if (typeof hook !== "function") {
      throw new OtaError("ANDROID_EXTENSION", { what: "a hook is no function", where: `${where}: ${name}` });
    }
    hooks[name] = hook;
  }
  if (Object.keys(hooks).length === 0) {
    throw new OtaError("ANDROID_EXTENSION", {
      what: "the module exports no hook",
      where,
      expected: EXTENSION_HOOKS.join(", "),
    });
  }
  return hooks;
}

export function extensionInput(zip: ZipArchive): ExtensionInput {
  return {
    names: () => zip.entries.map((e) => e.name),
    has: (name) => zip.get(name) !== undefined,
    read: (name) => zip.read(zip.need(name)),
  };
}

export function extensionOutput(plan: PackagePlan): ExtensionOutput {
  return {
    add: (name, bytes, mode) => plan.addBytes(name, bytes, mode),
    has: (name) => plan.has(name),
  };
}
