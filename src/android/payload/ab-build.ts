/** Target files of an A/B device (formats/android.md 8.2): what a payload needs of them. */
import { OtaError } from "../../core/errors.ts";
import { decodeText, printable } from "../../core/text.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { parseInteger, parseKeyValues } from "../target-files/key-values.ts";
import { DEFAULT_KEY } from "../target-files/misc-info.ts";
import type { Manifest } from "./manifest.ts";
import type { PayloadPartition } from "./make.ts";

export interface AbBuild {
  readonly zip: ZipArchive;
  /** META/misc_info.txt. */
  readonly info: ReadonlyMap<string, string>;
  /** Path of the default signing key without suffix. */
  readonly defaultKey: string;
  /** Names of META/ab_partitions.txt, in its order. */
  readonly partitions: readonly string[];
  /** PAYLOAD_MINOR_VERSION of META/update_engine_config.txt. */
  readonly minorVersion: number | undefined;
  readonly dynamicPartitions: Manifest["dynamicPartitions"];
  postinstall(partition: string): NonNullable<PayloadPartition["postinstall"]>;
  /** A property of the build; undefined when no build.prop has it. */
  prop(name: string): string | undefined;
  /** @throws OtaError ANDROID_TARGET_FILES when it is missing */
  needProp(name: string): string;
}

const MAX_TEXT = 16 * 2 ** 20;
/** Images whose build.prop may hold what SYSTEM/build.prop of later builds does not, in the order they win. */
const PROP_FILES = ["SYSTEM", "PRODUCT", "ODM", "VENDOR", "SYSTEM_EXT"] as const;

type ReadText = (name: string) => Promise<string | undefined>;

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((l) => l.trim())
    .filter((l) => l !== "" && !l.startsWith("#"));
}

/** Groups of the super partition from META/dynamic_partitions_info.txt; undefined when the build has none. */
function dynamicPartitionsOf(values: ReadonlyMap<string, string>): Manifest["dynamicPartitions"] {
  const names = (values.get("super_partition_groups") ?? "").split(/\s+/).filter((n) => n !== "");
  if (names.length === 0) return undefined;
  const of = (group: string, key: string): string | undefined =>
    values.get(`super_${group}_${key}`) ?? values.get(`${group}_${key}`);
  return {
    groups: names.map((name) => ({
      name,
      size: parseInteger(of(name, "group_size") ?? of(name, "size") ?? "0", `super_${name}_group_size`),
      partitionNames: (of(name, "partition_list") ?? "").split(/\s+/).filter((n) => n !== ""),
    })),
    ...(values.get("virtual_ab") === "true" ? { snapshotEnabled: true } : {}),
  };
}

/** build.prop of all partitions; import lines and others without `=` are what later builds write there. */
async function readProps(read: ReadText): Promise<Map<string, string>> {
  const props = new Map<string, string>();
  for (const folder of PROP_FILES) {
    for (const path of [`${folder}/build.prop`, `${folder}/etc/build.prop`]) {
      for (const line of lines((await read(path)) ?? "")) {
        const equals = line.indexOf("=");
        if (equals > 0 && !props.has(line.slice(0, equals))) props.set(line.slice(0, equals), line.slice(equals + 1));
      }
    }
  }
  return props;
}

/** Names a property may have where the plain one is absent. */
function otherNames(name: string): string[] {
  const folders = ["product", "odm", "vendor", "system_ext", "system"];
  if (name.startsWith("ro.product.")) return folders.map((f) => `ro.product.${f}.${name.slice(11)}`);
  if (name.startsWith("ro.build.")) return folders.map((f) => `ro.${f}.build.${name.slice(9)}`).reverse();
  return [];
}

/** @throws OtaError ANDROID_TARGET_FILES when it is no build of an A/B device */
export async function openAbBuild(zip: ZipArchive): Promise<AbBuild> {
  const read: ReadText = async (name) => {
    const entry = zip.get(name);
    return entry === undefined ? undefined : decodeText(await zip.read(entry, MAX_TEXT));
  };
  const values = async (name: string): Promise<Map<string, string>> => parseKeyValues((await read(name)) ?? "", name);
  const info = await values("META/misc_info.txt");
  const engine = await values("META/update_engine_config.txt");
  const post = await values("META/postinstall_config.txt");
  const partitionText = await read("META/ab_partitions.txt");
  if (partitionText === undefined) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: "the target files lack an entry",
      where: "META/ab_partitions.txt",
      hint: "Only builds of A/B devices (ab_update=true) have one; leave out --payload for others.",
    });
  }
  const partitions = lines(partitionText);
  const bad = partitions.find(
    (name, i) => !/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name) || partitions.indexOf(name) !== i,
  );
  if (bad !== undefined || partitions.length === 0) {
    throw new OtaError("ANDROID_TARGET_FILES", {
      what: "not a list of partitions",
      where: "META/ab_partitions.txt",
      found: printable(bad ?? "nothing"),
    });
  }
  const major = engine.get("PAYLOAD_MAJOR_VERSION") ?? "2";
  if (major.trim() !== "2") {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "payloads of this major version are not made",
      where: "META/update_engine_config.txt",
      expected: "PAYLOAD_MAJOR_VERSION=2",
      found: printable(major),
    });
  }
  const minor = engine.get("PAYLOAD_MINOR_VERSION");
  const props = await readProps(read);
  const prop = (name: string): string | undefined => {
    for (const one of [name, ...otherNames(name)]) if (props.has(one)) return props.get(one);
    return undefined;
  };
  return {
    zip,
    info,
    defaultKey: info.get("default_system_dev_certificate") ?? DEFAULT_KEY,
    partitions,
    minorVersion: minor === undefined ? undefined : parseInteger(minor, "PAYLOAD_MINOR_VERSION"),
    dynamicPartitions: dynamicPartitionsOf(await values("META/dynamic_partitions_info.txt")),
    postinstall(partition) {
      const path = post.get(`POSTINSTALL_PATH_${partition}`);
      const type = post.get(`FILESYSTEM_TYPE_${partition}`);
      const optional = post.get(`POSTINSTALL_OPTIONAL_${partition}`);
      return {
        ...(post.get(`RUN_POSTINSTALL_${partition}`) === "true" ? { runPostinstall: true } : {}),
        ...(path === undefined ? {} : { postinstallPath: path }),
        ...(type === undefined ? {} : { filesystemType: type }),
        ...(optional === undefined ? {} : { postinstallOptional: optional === "true" }),
      };
    },
    prop,
    needProp(name) {
      const value = prop(name);
      if (value === undefined) {
        throw new OtaError("ANDROID_TARGET_FILES", { what: `${name} is missing`, where: "SYSTEM/build.prop" });
      }
      return value;
    },
  };
}
