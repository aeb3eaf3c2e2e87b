/** A finished A/B package with another payload signature: its property files follow (formats/android.md 8.2). */
import { METADATA_NAME } from "../entry-names.ts";
import { OtaError } from "../../core/errors.ts";
import { streamRange } from "../../core/streams.ts";
import { decodeText, encodeText, printable } from "../../core/text.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { archiveEntry, createPlan, type PackagePlan } from "../releasetools/package-plan.ts";
import { signedPlaces } from "../signing/sign-package.ts";
import { addBytes, addStored, METADATA_PB_NAME, PAYLOAD_NAME, PROPERTIES_NAME, type Place } from "./ab-package.ts";
import type { Payload } from "./open.ts";
import { OTA_METADATA } from "./ota-metadata.ts";
import { decodeMessage, encodeMessage, replaceFields } from "./proto.ts";
import { propertiesText, type SealedPayload } from "./seal.ts";

/** A package, ready to be signed in the manner of 7.1. */
export interface SignedAgain {
  readonly plan: PackagePlan;
  /** Where the stored entries will stand. */
  readonly places: ReadonlyMap<string, Place>;
}

const MOST_TEXT = 16 * 2 ** 20;
const MOST_OBJECTS = 65536;
const METADATA_TOKEN = "payload_metadata.bin";
/** Metadata lines with places. */
const PROPERTY_LINE = /^([^=\n]*property-files)=(.*)$/gm;

type PlacesText = (places: ReadonlyMap<string, Place>) => string;

/** `name:offset:size,…` as a function of where the entries will stand. Names there are without folders. */
function placesTextOf(text: string, zip: ZipArchive, metadataSize: number): PlacesText {
  const tokens = text
    .trim()
    .split(",")
    .filter((t) => t !== "");
  const names = tokens.map((token): readonly [string, string | undefined] => {
    const [, name = "", offset, size] = /^(.+):([0-9]+):([0-9]+)\s*$/.exec(token) ?? [];
    if (name === METADATA_TOKEN) return [name, undefined];
    const called = zip.entries.filter((e) => e.name === name || e.name.endsWith(`/${name}`));
    const entry = called.find((e) => e.dataOffset === Number(offset) && e.size === Number(size)) ?? called[0];
    if (entry === undefined) {
      throw new OtaError("ANDROID_NOT_POSSIBLE", {
        what: "the property files name what is no entry of the package",
        where: METADATA_NAME,
        found: printable(token),
      });
    }
    return [name, entry.name];
  });
  return (places) =>
    names
      .map(([token, entry]) => {
        const place = places.get(entry ?? PAYLOAD_NAME);
        if (place === undefined) {
          throw new OtaError("ANDROID_NOT_POSSIBLE", {
            what: "the property files name an entry that is packed",
            where: printable(entry ?? PAYLOAD_NAME),
            expected: "a stored entry",
          });
        }
        return `${token}:${place.dataOffset}:${entry === undefined ? metadataSize : place.size}`;
      })
      .join(",");
}

/** payload_properties.txt with what it says of the payload replaced; what was asked for beside it stays. */
function mergeProperties(old: string, properties: SealedPayload["properties"]): string {
  const own = new Set(properties.map(([key]) => key));
  const others = old
    .split("\n")
    .map((line) => [line.split("=", 1)[0] as string, line.slice(line.indexOf("=") + 1)] as const)
    .filter(([key]) => key.trim() !== "" && !own.has(key));
  return propertiesText([...properties, ...others]);
}

/**
 * Plans a package anew, with its payload as it is or another one. All other entries stay; property files name the places in
 * the package that signing makes, where entries may stand elsewhere than in this one.
 * @throws OtaError ANDROID_NOT_POSSIBLE, ANDROID_PAYLOAD, ZIP_*
 */
export async function planSignedAgain(
  zip: ZipArchive,
  old: Payload,
  fresh: SealedPayload | undefined,
): Promise<SignedAgain> {
  const bytesOf = async (name: string): Promise<Uint8Array | undefined> => {
    const entry = zip.get(name);
    return entry === undefined ? undefined : zip.read(entry, MOST_TEXT);
  };
  const textBytes = await bytesOf(METADATA_NAME);
  const text = textBytes === undefined ? undefined : decodeText(textBytes);
  const message = await bytesOf(METADATA_PB_NAME);
  const entries = message === undefined ? [] : decodeMessage(OTA_METADATA, message, MOST_OBJECTS).propertyFiles;
  const metadataSize = fresh === undefined ? old.dataOffset : fresh.metadataSize + fresh.metadataSignatureSize;
  const lines = [...(text ?? "").matchAll(PROPERTY_LINE)].map(([, key = "", value = ""]) => [key, value] as const);
  const before = new Map([...entries.map(({ key = "", value = "" }) => [key, value] as const), ...lines]);
  const write = new Map([...before].map(([key, value]) => [key, placesTextOf(value, zip, metadataSize)] as const));
  const values = new Map(before);
  const oldProperties = await bytesOf(PROPERTIES_NAME);

  const lay = async (): Promise<SignedAgain> => {
    const plan = createPlan();
    if (fresh === undefined) addStored(plan, PAYLOAD_NAME, old.reader.size, () => streamRange(old.reader));
    else addStored(plan, PAYLOAD_NAME, fresh.size, () => fresh.content());
    if (oldProperties !== undefined) {
      const properties = decodeText(oldProperties);
      const merged = fresh === undefined ? properties : mergeProperties(properties, fresh.properties);
      addBytes(plan, PROPERTIES_NAME, encodeText(merged));
    }
    if (text !== undefined) {
      const changed = text.replace(PROPERTY_LINE, (_, key: string) => `${key}=${values.get(key) ?? ""}`);
      addBytes(plan, METADATA_NAME, encodeText(changed));
    }
    if (message !== undefined) {
      const propertyFiles = entries.map(({ key = "" }) => ({ key, value: values.get(key) ?? "" }));
      const { number } = OTA_METADATA.fields.propertyFiles;
      const fields = encodeMessage(OTA_METADATA, { propertyFiles });
      addBytes(plan, METADATA_PB_NAME, replaceFields(message, new Set([number]), fields));
    }
    for (const entry of zip.entries) {
      if (!plan.has(entry.name)) plan.add(archiveEntry(zip, entry, entry.name, true));
    }
    return { plan, places: await signedPlaces(plan) };
  };
  // Texts are never shortened, so their sizes settle, and with them the places.
  for (let round = 0; round < 16; round++) {
    const laid = await lay();
    let moved = false;
    for (const [key, textOf] of write) {
      const earlier = values.get(key) ?? "";
      const value = textOf(laid.places).padEnd(earlier.length);
      moved ||= value !== earlier;
      values.set(key, value);
    }
    if (!moved) return laid;
  }
  throw new OtaError("ANDROID_NOT_POSSIBLE", "the places of the package's entries do not settle");
}
