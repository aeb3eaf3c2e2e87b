/** `META-INF/com/android/metadata` as the device reads it (formats/android.md sections 2.4 and 8.2). */
import { METADATA_NAME } from "../entry-names.ts";
import { decodeText } from "../../core/text.ts";
import type { ZipArchive } from "../../core/zip/index.ts";

/** Largest metadata text, bytes. */
const MAX_METADATA = 1 << 20;

/** What a package says of itself. Every field is absent where the package does not say it. */
export interface PackageMetadata {
  readonly type?: string;
  /** Devices it is for: `ro.product.device` must be one of them. */
  readonly devices: readonly string[];
  /** Build fingerprints it starts from; empty for a full package. */
  readonly preBuilds: readonly string[];
  readonly postBuild?: string;
  /** Seconds since 1970 at which the new build was made. */
  readonly postTimestamp?: number;
  readonly postIncremental?: string;
  /** The signer allows going back to an older build. */
  readonly downgrade: boolean;
  readonly serials: readonly string[];
}

const list = (text: string | undefined): string[] =>
  text === undefined ? [] : text.split(/[|,]/).filter((part) => part !== "");

/** Reads `key=value` lines; the last one of a key wins, other lines are nothing. */
export function parseMetadata(text: string): PackageMetadata {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const equal = line.indexOf("=");
    if (equal > 0) values.set(line.slice(0, equal).trim(), line.slice(equal + 1).trim());
  }
  const text1 = <K extends string>(key: K, name: string): Partial<Record<K, string>> => {
    const value = values.get(name);
    return value === undefined || value === "" ? {} : ({ [key]: value } as Partial<Record<K, string>>);
  };
  const stamp = values.get("post-timestamp");
  return {
    devices: list(values.get("pre-device")),
    preBuilds: list(values.get("pre-build")),
    serials: list(values.get("serialno")),
    downgrade: values.get("ota-downgrade") === "yes",
    ...(stamp !== undefined && /^\d{1,15}$/.test(stamp) ? { postTimestamp: Number(stamp) } : {}),
    ...text1("type", "ota-type"),
    ...text1("postBuild", "post-build"),
    ...text1("postIncremental", "post-build-incremental"),
  };
}

/** The metadata of a package; nothing is known of one that has none. @throws OtaError ZIP_* */
export async function readMetadata(zip: ZipArchive): Promise<PackageMetadata> {
  const entry = zip.get(METADATA_NAME);
  return parseMetadata(entry === undefined ? "" : decodeText(await zip.read(entry, MAX_METADATA)));
}
