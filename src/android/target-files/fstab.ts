/** RECOVERY/RAMDISK/etc/recovery.fstab, versions 1 and 2 (formats/android.md 1.3). */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import { parseInteger, textLines } from "./key-values.ts";

export interface FstabEntry {
  readonly mountPoint: string;
  readonly fsType: string;
  readonly device: string;
  /** Version 1 only. */
  readonly device2?: string;
  /** Size of the file system: 0 is the whole device, negative leaves that many bytes at its end. */
  readonly length: number;
  /** Version 2: the `context=` option of the mount flags, as it stands; 6.0 and later mount with it. */
  readonly context?: string;
}

export type Fstab = ReadonlyMap<string, FstabEntry>;

/** `MTD` or `EMMC` of a file system type, as scripts name it; undefined for others. */
export function partitionType(fsType: string): "MTD" | "EMMC" | undefined {
  switch (fsType) {
    case "yaffs2":
    case "mtd":
      return "MTD";
    case "ext4":
    case "emmc":
    case "f2fs":
    case "squashfs":
    case "vfat": // a card: scripts mount it, nothing formats it
      return "EMMC";
    default:
      return undefined;
  }
}

function malformed(i: number, line: string): OtaError {
  return new OtaError("ANDROID_TARGET_FILES", {
    what: "malformed line",
    where: `recovery.fstab line ${i + 1}`,
    found: printable(line.slice(0, 120)),
  });
}

/** The value of `length=N` among comma separated options. */
function lengthOption(options: string, onOther: (option: string) => void): number {
  let length = 0;
  for (const option of options.split(",")) {
    if (option.startsWith("length=")) length = parseInteger(option.slice(7), "recovery.fstab length");
    else onOther(option);
  }
  return length;
}

function version1(line: string, i: number, warn: (text: string) => void): FstabEntry {
  const fields = line.split(/\s+/);
  const [mountPoint, fsType, device, fourth] = fields;
  if (mountPoint === undefined || fsType === undefined || device === undefined || fields.length > 4)
    throw malformed(i, line);
  const second = fourth?.startsWith("/") === true ? fourth : undefined;
  const options = second === undefined ? fourth : undefined;
  const other = (option: string): void => warn(`recovery.fstab: unknown option ${printable(option)} of ${mountPoint}`);
  return {
    mountPoint,
    fsType,
    device,
    ...(second === undefined ? {} : { device2: second }),
    length: options === undefined ? 0 : lengthOption(options, other),
  };
}

function version2(line: string, i: number): FstabEntry | undefined {
  const fields = line.split(/\s+/);
  const [device, mountPoint, fsType, flags, manager] = fields;
  if (
    device === undefined ||
    mountPoint === undefined ||
    fsType === undefined ||
    flags === undefined ||
    manager === undefined ||
    fields.length !== 5
  ) {
    throw malformed(i, line);
  }
  if (manager.includes("voldmanaged=")) return undefined;
  const context = flags
    .split(",")
    .filter((f) => f.startsWith("context="))
    .at(-1);
  return {
    mountPoint,
    fsType,
    device,
    length: lengthOption(manager, () => undefined),
    ...(context === undefined ? {} : { context }),
  };
}

/**
 * Entries by mount point, a later line winning.
 * @throws OtaError ANDROID_TARGET_FILES on a malformed line
 */
export function parseFstab(text: string, version: 1 | 2, warn: (text: string) => void = () => undefined): Fstab {
  const entries = new Map<string, FstabEntry>();
  for (const [i, full] of textLines(text).entries()) {
    const line = full.trim();
    if (line === "" || line.startsWith("#")) continue;
    const entry = version === 1 ? version1(line, i, warn) : version2(line, i);
    if (entry !== undefined) entries.set(entry.mountPoint, entry);
  }
  return entries;
}

/** @throws OtaError ANDROID_TARGET_FILES when the mount point is missing or of an unknown type */
export function needPartition(fstab: Fstab, mountPoint: string): FstabEntry & { readonly type: "MTD" | "EMMC" } {
  const entry = fstab.get(mountPoint);
  if (entry === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", { what: `${mountPoint} is missing`, where: "recovery.fstab" });
  }
  const type = partitionType(entry.fsType);
  if (type === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: `unknown file system type of ${mountPoint}`,
      where: "recovery.fstab",
      found: printable(entry.fsType),
    });
  }
  return { ...entry, type };
}
