/** The zip around a payload: metadata, properties, care map, and the places of all of them (formats/android.md 8.2). */
import { METADATA_NAME } from "../entry-names.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { encodeText } from "../../core/text.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { metadataText } from "../releasetools/finish.ts";
import { createPlan, modeAttributes, type PackagePlan } from "../releasetools/package-plan.ts";
import { signedPlaces } from "../signing/sign-package.ts";
import type { AbBuild } from "./ab-build.ts";
import type { MadePayload } from "./make.ts";
import { OTA_METADATA, OTA_TYPE_AB, type DeviceState, type OtaMetadata } from "./ota-metadata.ts";
import { encodeMessage } from "./proto.ts";
import { propertiesText } from "./seal.ts";

export interface AbPackageOptions {
  readonly wipeUserData?: boolean;
  /** An older build over a newer one: user data is wiped. */
  readonly downgrade?: boolean;
  /** An older build over a newer one by its build time alone: the device is told, and user data stays. */
  readonly overrideTimestamp?: boolean;
  /** The device keeps its slot after the next boot; someone else switches. */
  readonly keepSlot?: boolean;
  readonly fota?: boolean;
}

export const METADATA_PB_NAME = "META-INF/com/android/metadata.pb";
export const PAYLOAD_NAME = "payload.bin";
export const PROPERTIES_NAME = "payload_properties.txt";
/** Entries that are taken over from META/, and stand in the property files when they are there. */
const OPTIONAL = ["apex_info.pb", "care_map.pb", "care_map.txt"] as const;
/** What the place of the metadata may take: `:offset:size`. */
const RESERVED = 15;
const MOST_OPTIONAL = 256 * 2 ** 20;

const STREAMING_KEY = "ota-streaming-property-files";
const ALL_KEY = "ota-property-files";

function deviceState(build: AbBuild): DeviceState {
  const sdkLevel = build.prop("ro.build.version.sdk");
  const securityPatchLevel = build.prop("ro.build.version.security_patch");
  return {
    device: [build.needProp("ro.product.device")],
    build: [build.needProp("ro.build.fingerprint")],
    buildIncremental: build.needProp("ro.build.version.incremental"),
    timestamp: Number(build.needProp("ro.build.date.utc")),
    ...(sdkLevel === undefined ? {} : { sdkLevel }),
    ...(securityPatchLevel === undefined ? {} : { securityPatchLevel }),
  };
}

/** The metadata lines; the property files are added once the places are known. */
function metadataOf(target: AbBuild, source: AbBuild | undefined, options: AbPackageOptions): Map<string, string> {
  const after = deviceState(target);
  const before = source === undefined ? undefined : deviceState(source);
  const metadata = new Map<string, string>([
    ["ota-required-cache", "0"],
    ["ota-type", "AB"],
    ["post-build", after.build[0] as string],
    ["post-build-incremental", after.buildIncremental as string],
    ["post-timestamp", String(after.timestamp)],
    ["pre-device", (before ?? after).device[0] as string],
  ]);
  if (after.sdkLevel !== undefined) metadata.set("post-sdk-level", after.sdkLevel);
  if (after.securityPatchLevel !== undefined) metadata.set("post-security-patch-level", after.securityPatchLevel);
  if (before !== undefined) {
    metadata.set("pre-build", before.build[0] as string);
    metadata.set("pre-build-incremental", before.buildIncremental as string);
  }
  if (options.wipeUserData === true || options.downgrade === true) metadata.set("ota-wipe", "yes");
  if (options.downgrade === true || options.overrideTimestamp === true) metadata.set("ota-downgrade", "yes");
  if (options.fota === true) metadata.set("fota", "on");
  return metadata;
}

function messageOf(target: AbBuild, source: AbBuild | undefined, metadata: ReadonlyMap<string, string>): OtaMetadata {
  const after = deviceState(target);
  const before = source === undefined ? undefined : deviceState(source);
  return {
    type: OTA_TYPE_AB,
    ...(metadata.has("ota-wipe") ? { wipe: true } : {}),
    ...(metadata.has("ota-downgrade") ? { downgrade: true } : {}),
    propertyFiles: [ALL_KEY, STREAMING_KEY].map((key) => ({ key, value: metadata.get(key) ?? "" })),
    precondition:
      before === undefined
        ? { device: after.device, build: [] }
        : {
            device: before.device,
            build: before.build,
            ...(before.buildIncremental === undefined ? {} : { buildIncremental: before.buildIncremental }),
          },
    postcondition: after,
    requiredCache: 0,
  };
}

export function addStored(plan: PackagePlan, name: string, size: number, content: () => ByteStream): void {
  plan.add({ input: { name, method: 0, externalAttributes: modeAttributes(0o644) }, size, content });
}

export function addBytes(plan: PackagePlan, name: string, bytes: Uint8Array): void {
  addStored(plan, name, bytes.length, async function* () {
    await Promise.resolve();
    if (bytes.length > 0) yield bytes;
  });
}

export interface Place {
  readonly dataOffset: number;
  readonly size: number;
}

/** `name:offset:size` of everything in a package; `metadata` entries as blanks while their own place is not known. */
function placesText(
  payload: MadePayload,
  places: ReadonlyMap<string, Place>,
  which: "all" | "streaming",
  known: boolean,
): string {
  const token = (name: string): string => {
    const place = places.get(name) as Place;
    return `${name.slice(name.lastIndexOf("/") + 1)}:${place.dataOffset}:${place.size}`;
  };
  const payloadAt = (places.get(PAYLOAD_NAME) as Place).dataOffset;
  const metadataSize = payload.metadataSize + payload.metadataSignatureSize;
  const later = [METADATA_NAME, METADATA_PB_NAME].map((name) =>
    known ? token(name) : `${name.slice(name.lastIndexOf("/") + 1)}:${" ".repeat(RESERVED)}`,
  );
  return [
    ...(which === "all" ? [`payload_metadata.bin:${payloadAt}:${metadataSize}`] : []),
    token(PAYLOAD_NAME),
    token(PROPERTIES_NAME),
    ...OPTIONAL.filter((name) => places.has(name)).map(token),
    ...later,
  ].join(",");
}

/** A package, ready to be signed in the manner of 7.1, and what {@link checkPlaces} compares. */
export interface MadeAbPackage {
  readonly plan: PackagePlan;
  readonly metadata: ReadonlyMap<string, string>;
  readonly places: ReadonlyMap<string, Place>;
}

/**
 * Puts the package together. The property files hold the places of entries in the signed package, their own included; so it
 * is laid out with room for them first, and then again with them in it.
 * @throws OtaError ANDROID_TARGET_FILES (missing properties)
 */
export async function planAbPackage(
  payload: MadePayload,
  target: AbBuild,
  source: AbBuild | undefined,
  options: AbPackageOptions = {},
): Promise<MadeAbPackage> {
  const properties = [...payload.properties];
  if (options.wipeUserData === true || options.downgrade === true) properties.push(["POWERWASH", "1"]);
  if (options.keepSlot === true) properties.push(["SWITCH_SLOT_ON_REBOOT", "0"]);
  const extra: [string, Uint8Array][] = [];
  for (const name of OPTIONAL) {
    const entry = target.zip.get(`META/${name}`);
    if (entry !== undefined) extra.push([name, await target.zip.read(entry, MOST_OPTIONAL)]);
  }
  const metadata = metadataOf(target, source, options);
  const lay = async (): Promise<{ plan: PackagePlan; places: ReadonlyMap<string, Place> }> => {
    const plan = createPlan();
    addStored(plan, PAYLOAD_NAME, payload.size, () => payload.content());
    addBytes(plan, PROPERTIES_NAME, encodeText(propertiesText(properties)));
    for (const [name, bytes] of extra) addBytes(plan, name, bytes);
    addBytes(plan, METADATA_NAME, encodeText(metadataText(metadata)));
    addBytes(plan, METADATA_PB_NAME, encodeMessage(OTA_METADATA, messageOf(target, source, metadata)));
    return { plan, places: await signedPlaces(plan) };
  };
  // Offsets move with the texts that hold them; a digit more or less moves them again. The text is filled up with blanks to
  // what was reserved, so three layouts settle it.
  const keys = [[ALL_KEY, "all"] as const, [STREAMING_KEY, "streaming"] as const];
  const nothing = new Map<string, Place>(
    [PAYLOAD_NAME, PROPERTIES_NAME, ...extra.map(([name]) => name)].map((name) => [
      name,
      { dataOffset: 1e15, size: 1e15 },
    ]),
  );
  for (const [key, which] of keys) metadata.set(key, placesText(payload, nothing, which, false));
  const rough = await lay();
  for (const [key, which] of keys) metadata.set(key, placesText(payload, rough.places, which, false));
  const reserved = keys.map(([key]) => (metadata.get(key) as string).length);
  let laid = await lay();
  for (let round = 0; round < 8; round++) {
    const before = [...metadata.values()].join();
    for (const [i, [key, which]] of keys.entries()) {
      metadata.set(key, placesText(payload, laid.places, which, true).padEnd(reserved[i] as number));
    }
    if ([...metadata.values()].join() === before) return { ...laid, metadata };
    laid = await lay();
  }
  throw new OtaError("ANDROID_NOT_POSSIBLE", "the places of the package's entries do not settle");
}

/** Checks in the finished package that nothing stands elsewhere than its property files say. @throws OtaError ANDROID_SIGNER */
export function checkPlaces(made: Pick<MadeAbPackage, "places">, zip: ZipArchive): void {
  for (const [name, { dataOffset, size }] of made.places) {
    const entry = zip.need(name);
    if (entry.method === 0 && entry.dataOffset === dataOffset && entry.size === size) continue;
    throw new OtaError("ANDROID_SIGNER", {
      what: "an entry does not stand where the property files say",
      where: name,
      expected: `${dataOffset}:${size}`,
      found: `${entry.dataOffset}:${entry.size}`,
    });
  }
}
