/** META/misc_info.txt in its new form, and the files that carried the same values before (formats/android.md 1.2). */
import { OtaError } from "../../core/errors.ts";
import { parseInteger, parseKeyValues, textLines } from "./key-values.ts";

/** The texts that make up the information; absent ones are undefined. */
export interface MiscInfoTexts {
  readonly miscInfo?: string | undefined;
  readonly imageSizes?: string | undefined;
  readonly recoveryApiVersion?: string | undefined;
  readonly toolExtensions?: string | undefined;
  readonly mkyaffs2ExtraFlags?: string | undefined;
}

/** Values as the package maker uses them. */
export interface MiscInfo {
  /** All keys as text. */
  readonly values: ReadonlyMap<string, string>;
  readonly recoveryApiVersion: number;
  readonly fstabVersion: 1 | 2;
  /** `set_metadata` statements instead of `set_perm`. */
  readonly useSetMetadata: boolean;
  /** Moved files are patched and renamed. */
  readonly renames: boolean;
  /** Two-step packages are possible. */
  readonly multistage: boolean;
  /** A full package carries `file_contexts`. */
  readonly selinux: boolean;
  /** Path of the default signing key without suffix. */
  readonly defaultKey: string;
  /** Arguments of the boot image builder. */
  readonly mkbootimgArgs: readonly string[];
  /** Where the build kept its device extension. */
  readonly toolExtensions?: string;
  /** Size limit of an image, bytes; key without `_size`. */
  size(name: string): number | undefined;
}

const SIZE_KEYS = ["blocksize", "boot_size", "recovery_size", "system_size", "userdata_size", "cache_size"];
export const DEFAULT_KEY = "build/target/product/security/testkey";

/** A value that is there and not empty. */
function filled(values: ReadonlyMap<string, string>, key: string): boolean {
  return (values.get(key) ?? "") !== "";
}

/** @throws OtaError ANDROID_TARGET_FILES */
export function readMiscInfo(texts: MiscInfoTexts): MiscInfo {
  const values =
    texts.miscInfo === undefined ? new Map<string, string>() : parseKeyValues(texts.miscInfo, "META/misc_info.txt");
  const add = (key: string, text: string | undefined): void => {
    if (text !== undefined && !values.has(key)) values.set(key, text.trim());
  };
  add("mkyaffs2_extra_flags", texts.mkyaffs2ExtraFlags);
  add("recovery_api_version", texts.recoveryApiVersion);
  add("tool_extensions", texts.toolExtensions);
  for (const line of textLines(texts.imageSizes ?? "")) {
    const [name, value] = line.trim().split(/\s+/, 2);
    if (name === undefined || name === "") continue;
    if (value === undefined || value === "") {
      throw new OtaError("ANDROID_TARGET_FILES", {
        what: "a line has no size",
        where: "META/imagesizes.txt",
        found: line,
      });
    }
    values.set(name === "blocksize" ? name : `${name}_size`, value);
  }
  const api = values.get("recovery_api_version");
  if (api === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: "recovery_api_version is missing",
      where: "META/misc_info.txt",
      hint: "Old target files keep it in META/recovery-api-version.txt.",
    });
  }
  const fstabVersion = values.has("fstab_version")
    ? parseInteger(values.get("fstab_version") ?? "", "fstab_version")
    : 1;
  if (fstabVersion !== 1 && fstabVersion !== 2) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: "unknown fstab_version",
      expected: "1 or 2",
      found: fstabVersion,
    });
  }
  for (const key of SIZE_KEYS)
    if (filled(values, key)) parseInteger(values.get(key) ?? "", `META/misc_info.txt ${key}`);
  const extensions = values.get("tool_extensions");
  return {
    values,
    recoveryApiVersion: parseInteger(api, "META/misc_info.txt recovery_api_version"),
    fstabVersion,
    useSetMetadata: filled(values, "use_set_metadata"),
    renames: filled(values, "update_rename_support"),
    multistage: filled(values, "multistage_support"),
    selinux: values.has("selinux_fc"),
    defaultKey: values.get("default_system_dev_certificate") ?? DEFAULT_KEY,
    mkbootimgArgs: (values.get("mkbootimg_args") ?? "").split(/\s+/).filter((a) => a !== ""),
    ...(extensions === undefined || extensions === "" ? {} : { toolExtensions: extensions }),
    size(name) {
      const text = values.get(`${name}_size`);
      return text === undefined || text === "" ? undefined : parseInteger(text, `META/misc_info.txt ${name}_size`);
    },
  };
}
