/** `otaforge inspect|extract|compare` for Android packages. */
import { METADATA_NAME, SCRIPT_NAME } from "../android/entry-names.ts";
import { encodePartition, explainScript, openPayload, parseEdify, readFooter, type Payload } from "../android/index.ts";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { formatBytes } from "../core/progress.ts";
import { checkCancel } from "../core/streams.ts";
import { decodeText, encodeText, printable } from "../core/text.ts";
import { fromDosTime, openZip, unixMode, type ZipArchive, type ZipEntry } from "../core/zip/index.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { describePayload, extractImages, isPayloadFile, partitionOf, payloadOfZip } from "./android-payload.ts";
import { openTree } from "./extract-tree.ts";
import type { CommonOptions, ExtractOptions, Family, PackageInput, Report } from "./family.ts";

/** Texts shown by `inspect` are cut here. */
const MAX_TEXT = 4 * 2 ** 20;

export function readerOf(input: PackageInput): RandomReader {
  if (input.reader === undefined) {
    throw new OtaError("UNSUPPORTED", {
      what: "an Android package cannot be read from standard input: its directory stands at its end",
      hint: "Store the package in a file and name that.",
    });
  }
  return input.reader;
}

/** The package as a zip. */
export function openAndroidZip(input: PackageInput): Promise<ZipArchive> {
  return openZip(readerOf(input), { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) });
}

async function textOf(zip: ZipArchive, name: string): Promise<string | undefined> {
  const entry = zip.get(name);
  return entry === undefined ? undefined : decodeText(await zip.read(entry, MAX_TEXT));
}

/** What kind of zip it is, by the entries that only one kind has. */
export function androidKind(zip: ZipArchive): "a-b" | "block" | "files" | "target-files" | "zip" {
  if (zip.get("payload.bin") !== undefined) return "a-b";
  if (zip.get("META/misc_info.txt") !== undefined) return "target-files";
  if (zip.get(SCRIPT_NAME) === undefined) return "zip";
  return zip.entries.some((e) => e.name.endsWith(".transfer.list")) ? "block" : "files";
}

const KINDS = {
  "a-b": "A/B package (payload.bin)",
  block: "block-based package",
  files: "file-based package",
  "target-files": "target files of a build, not a package",
  zip: "zip without an update script",
} as const;

function dateText(entry: ZipEntry): string {
  const t = fromDosTime(entry);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${t.year}-${two(t.month)}-${two(t.day)} ${two(t.hour)}:${two(t.minute)}:${two(t.second)}`;
}

function parseMetadata(text: string | undefined): Record<string, string> {
  const out: Record<string, string> = {};
  for (const line of (text ?? "").split("\n")) {
    const equals = line.indexOf("=");
    if (equals > 0) out[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return out;
}

async function inspectPayload(input: PackageInput): Promise<Report> {
  const { lines, json } = describePayload(await openPayload(readerOf(input)));
  return {
    text: [`${input.name}: Android A/B payload`, ...lines].join("\n"),
    json: { family: "android", ...json, kind: "payload", payloadKind: json["kind"] },
    exitCode: 0,
  };
}

async function inspect(input: PackageInput, options: CommonOptions): Promise<Report> {
  if (isPayloadFile(input)) return inspectPayload(input);
  const zip = await openAndroidZip(input);
  const kind = androidKind(zip);
  const footer = await readFooter(readerOf(input), "safe");
  const signature =
    "signature" in footer ? "signed" : footer.unsigned === true ? "unsigned" : `broken: ${footer.reason}`;
  const metadata = parseMetadata(await textOf(zip, METADATA_NAME));
  const script = await textOf(zip, SCRIPT_NAME);
  const totalBytes = zip.entries.reduce((sum, e) => sum + e.size, 0);
  const entries = [];
  let doneBytes = 0;
  for (const entry of zip.entries) {
    checkCancel(options.cancel);
    const digest = nodeDigests.create("sha256");
    for await (const chunk of zip.stream(entry)) digest.update(chunk);
    doneBytes += entry.size;
    options.progress.progress({ phase: "inspect", doneBytes, totalBytes });
    entries.push({
      name: printable(entry.name),
      size: entry.size,
      packedSize: entry.compressedSize,
      method: entry.method === 0 ? "stored" : "deflated",
      date: dateText(entry),
      mode: unixMode(entry).toString(8),
      sha256: toHex(digest.digest()),
    });
  }
  const payload = kind === "a-b" ? describePayload(await payloadOfZip(zip)) : undefined;
  const parsed =
    script === undefined ? undefined : parseEdify(encodeText(script), { era: kind === "block" ? "7.1" : "4.4" });
  const steps = parsed === undefined || parsed.errors.length > 0 ? [] : explainScript(parsed);
  const errors = (parsed?.errors ?? []).map((e) => `updater-script line ${e.line} column ${e.column}: ${e.message}`);
  const lines = [
    `${input.name}: Android ${KINDS[kind]}, ${formatBytes(readerOf(input).size)}, ${zip.entries.length} entries, ${signature}`,
    ...Object.entries(metadata).map(([k, v]) => `  ${k} = ${printable(v)}`),
    "entries",
    ...entries.map((e) => `  ${String(e.size).padStart(10)}  ${e.name}`),
    ...(payload?.lines ?? []),
    ...(steps.length === 0 ? [] : ["script", ...steps.map((s) => `  ${"  ".repeat(s.depth)}${s.text}`)]),
    ...errors,
  ];
  return {
    text: lines.join("\n"),
    json: {
      family: "android",
      kind,
      signature,
      metadata,
      entries,
      ...(payload === undefined ? {} : { payload: payload.json }),
      ...(script === undefined ? {} : { script, steps, errors }),
    },
    exitCode: errors.length > 0 ? 3 : 0,
  };
}

async function extract(
  input: PackageInput,
  folder: string,
  names: readonly string[],
  options: ExtractOptions,
): Promise<Report> {
  if (isPayloadFile(input)) return extractPayload(await openPayload(readerOf(input)), folder, names, options);
  const zip = await openAndroidZip(input);
  // Of an A/B package whole images are what people want; its entries come out when they are named, or when nothing is.
  if (names.length > 0 && androidKind(zip) === "a-b" && !names.some((n) => zip.get(n) !== undefined)) {
    return extractPayload(await payloadOfZip(zip), folder, names, options);
  }
  const wanted = new Set(names);
  const found = new Set<string>();
  // A name stands for an entry or for everything below a folder.
  const hit = (name: string): boolean => {
    if (wanted.size === 0) return true;
    for (const w of wanted) {
      if (name !== w && !name.startsWith(w.endsWith("/") ? w : `${w}/`)) continue;
      found.add(w);
      return true;
    }
    return false;
  };
  const chosen = zip.entries.filter((e) => hit(e.name));
  const missing = [...wanted].filter((w) => !found.has(w));
  if (missing.length > 0) {
    throw new OtaError("USAGE", { what: "no such entry in the package", found: missing.map(printable).join(", ") });
  }
  const tree = await openTree(folder);
  const totalBytes = chosen.reduce((sum, e) => sum + e.size, 0);
  let doneBytes = 0;
  for (const entry of chosen) {
    checkCancel(options.cancel);
    if (entry.name.endsWith("/")) await tree.folder(entry.name);
    else await tree.write(entry.name, zip.stream(entry));
    doneBytes += entry.size;
    options.progress.progress({ phase: "extract", doneBytes, totalBytes });
  }
  const parts = chosen.map((e) => ({ name: printable(e.name), size: e.size }));
  return {
    text: parts.map((p) => `${p.name}  ${p.size} bytes`).join("\n"),
    json: { family: "android", folder, parts },
    exitCode: 0,
  };
}

async function extractPayload(
  payload: Payload,
  folder: string,
  names: readonly string[],
  options: ExtractOptions,
): Promise<Report> {
  const chosen = names.length === 0 ? payload.manifest.partitions : names.map((n) => partitionOf(payload, n));
  const missing = names.filter((_, i) => chosen[i] === undefined);
  if (missing.length > 0) {
    throw new OtaError("USAGE", {
      what: "no such partition in the payload",
      found: missing.map(printable).join(", "),
      expected: payload.manifest.partitions.map((p) => p.name ?? "").join(", "),
    });
  }
  const parts = await extractImages(
    payload,
    chosen.filter((p) => p !== undefined),
    await openTree(folder),
    options,
  );
  return {
    text: parts.map((p) => `${p.name}  ${p.size} bytes`).join("\n"),
    json: { family: "android", folder, parts },
    exitCode: 0,
  };
}

/** A payload's partitions by what they do: operations and the digests of their data. Signatures are left out. */
function partitionHashes(payload: Payload): [string, string][] {
  return payload.manifest.partitions.map((partition) => {
    const digest = nodeDigests.create("sha256");
    digest.update(encodePartition(partition));
    return [`payload.bin: ${partition.name ?? ""}`, toHex(digest.digest())];
  });
}

/** What of an A/B package says where things stand and how they are signed, not what they are. */
const PLACES = new Set(["payload.bin", "payload_properties.txt", METADATA_NAME, `${METADATA_NAME}.pb`]);

async function hashes(input: PackageInput, options: CommonOptions): Promise<Map<string, string>> {
  if (isPayloadFile(input)) return new Map(partitionHashes(await openPayload(readerOf(input))));
  const zip = await openAndroidZip(input);
  const isAb = androidKind(zip) === "a-b";
  const out = new Map<string, string>(isAb ? partitionHashes(await payloadOfZip(zip)) : []);
  for (const entry of zip.entries) {
    checkCancel(options.cancel);
    if (isAb && PLACES.has(entry.name)) continue;
    const digest = nodeDigests.create("sha256");
    for await (const chunk of zip.stream(entry)) digest.update(chunk);
    out.set(entry.name, toHex(digest.digest()));
  }
  return out;
}

/** Entries that belong to a signature say nothing of what a package does. */
const SIGNATURE_ENTRY = /^META-INF\/(MANIFEST\.MF|[^/]*\.(SF|RSA|DSA|EC)|com\/android\/otacert)$/;

async function compare(a: PackageInput, b: PackageInput, options: CommonOptions): Promise<Report> {
  const [left, right] = [await hashes(a, options), await hashes(b, options)];
  const names = [...new Set([...left.keys(), ...right.keys()])].filter(
    (n) => !SIGNATURE_ENTRY.test(n) && !n.endsWith("/"),
  );
  const onlyFirst = names.filter((n) => !right.has(n)).map(printable);
  const onlySecond = names.filter((n) => !left.has(n)).map(printable);
  const different = names.filter((n) => left.has(n) && right.has(n) && left.get(n) !== right.get(n)).map(printable);
  const same = onlyFirst.length + onlySecond.length + different.length === 0;
  const lines = [
    ...onlyFirst.map((n) => `only in ${a.name}: ${n}`),
    ...onlySecond.map((n) => `only in ${b.name}: ${n}`),
    ...different.map((n) => `different: ${n}`),
  ];
  return {
    text: same ? `the same content, ${names.length} entries (signatures not compared)` : lines.join("\n"),
    json: { family: "android", same, onlyFirst, onlySecond, different },
    exitCode: same ? 0 : 5,
  };
}

/** The building side's verbs; sign, verify, install and rehearse stand beside them. */
export const androidPackageVerbs: Pick<Family, "inspect" | "extract" | "compare"> = { inspect, extract, compare };
