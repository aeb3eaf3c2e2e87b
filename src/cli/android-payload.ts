/** payload.bin at the front door: what it holds, whether it is whole, and the images it makes. */
import { join } from "node:path";
import {
  applyOperation,
  isPayload,
  openPayload,
  OPERATION_TYPES,
  operationName,
  placeOutput,
  verifyPayload,
  type PartitionUpdate,
  type Payload,
  type PayloadVerdict,
  type VerifierKey,
} from "../android/index.ts";
import { equalBytes, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { formatBytes } from "../core/progress.ts";
import { checkCancel, streamRange } from "../core/streams.ts";
import { printable } from "../core/text.ts";
import type { ZipArchive } from "../core/zip/index.ts";
import { PATCH_MEMORY_SIZE } from "../delta/bsdiff40/streams.ts";
import { createAnyCore } from "../delta/any-core.node.ts";
import { nodeCodecs, nodeDigests, openFileReader } from "../device/index.ts";
import type { openTree } from "./extract-tree.ts";
import type { CommonOptions, PackageInput, Report } from "./family.ts";

/** Whether the file is a bare payload.bin. */
export function isPayloadFile(input: PackageInput): boolean {
  return isPayload(input.head);
}

/** The payload of an A/B package. @throws OtaError ANDROID_PAYLOAD when it is packed: devices read it in place */
export async function payloadOfZip(zip: ZipArchive): Promise<Payload> {
  const entry = zip.need("payload.bin");
  if (entry.method !== 0) {
    throw new OtaError("ANDROID_PAYLOAD", {
      what: "payload.bin is packed",
      where: "entry payload.bin",
      expected: "a stored entry",
      hint: "Devices read the payload where it stands in the package; make the package with payload.bin stored.",
    });
  }
  return openPayload(zip.raw(entry));
}

interface TypeCount {
  operations: number;
  dataBytes: number;
}

function countTypes(partition: PartitionUpdate): Map<string, TypeCount> {
  const counts = new Map<string, TypeCount>();
  for (const op of partition.operations) {
    const name = operationName(op.type);
    const count = counts.get(name) ?? { operations: 0, dataBytes: 0 };
    count.operations++;
    count.dataBytes += op.dataLength ?? 0;
    counts.set(name, count);
  }
  return counts;
}

/** Names of operations in it that are shown and not applied. */
function shownOnly(partition: PartitionUpdate): string[] {
  const types = new Set(partition.operations.map((op) => op.type ?? 0));
  return OPERATION_TYPES.filter((t) => types.has(t.type) && !t.applicable).map((t) => t.name);
}

/** What `inspect` says of a payload. */
export function describePayload(payload: Payload): { lines: string[]; json: Record<string, unknown> } {
  const { manifest } = payload;
  const groups = manifest.dynamicPartitions?.groups ?? [];
  const signatures = (values: readonly Uint8Array[]): string =>
    values.length === 0 ? "unsigned" : values.map((v) => `${v.length} bytes`).join(", ");
  const partitions = manifest.partitions.map((p) => ({
    name: p.name ?? "",
    size: p.newInfo?.size ?? 0,
    sha256: toHex(p.newInfo?.sha256 ?? new Uint8Array(0)),
    ...(p.oldInfo === undefined
      ? {}
      : { oldSize: p.oldInfo.size ?? 0, oldSha256: toHex(p.oldInfo.sha256 ?? new Uint8Array(0)) }),
    operations: Object.fromEntries(countTypes(p)),
    notApplicable: shownOnly(p),
    mergeOperations: p.mergeOperations.length,
    ...(p.runPostinstall === true ? { postinstall: p.postinstallPath ?? "" } : {}),
    ...(p.hashTreeExtent === undefined ? {} : { hashTree: p.hashTreeAlgorithm ?? "" }),
  }));
  const lines = [
    `payload: ${payload.kind}, major version 2, minor version ${manifest.minorVersion ?? 0}, blocks of ${manifest.blockSize} bytes, ${formatBytes(payload.reader.size)}`,
    `  metadata ${payload.metadataSize} bytes, its signature ${signatures(payload.metadataSignatures)}; payload signature ${signatures(payload.payloadSignatures)}`,
    ...(manifest.maxTimestamp === undefined ? [] : [`  refused by systems newer than ${manifest.maxTimestamp}`]),
    ...(manifest.partialUpdate === true ? ["  partial: other partitions stay as they are"] : []),
    ...groups.map(
      (g) =>
        `  group ${printable(g.name ?? "")}: ${g.size ?? 0} bytes for ${g.partitionNames.map(printable).join(", ")}`,
    ),
    ...partitions.flatMap((p) => [
      `  ${p.name}: ${p.size} bytes, sha256 ${p.sha256}${p.oldSha256 === undefined ? "" : `, from ${p.oldSha256}`}`,
      ...Object.entries(p.operations).map(
        ([name, c]) => `    ${String(c.operations).padStart(6)} ${name.padEnd(16)} ${c.dataBytes} bytes of data`,
      ),
      ...p.notApplicable.map((name) => `    ${name} is shown only: this program does not apply it`),
      ...(p.postinstall === undefined ? [] : [`    runs ${printable(p.postinstall)} afterwards`]),
      ...(p.hashTree === undefined ? [] : [`    the device writes the hash tree (${printable(p.hashTree)})`]),
    ]),
  ];
  const json = {
    kind: payload.kind,
    minorVersion: manifest.minorVersion ?? 0,
    blockSize: manifest.blockSize,
    size: payload.reader.size,
    metadataSize: payload.metadataSize,
    metadataSignatures: payload.metadataSignatures.length,
    payloadSignatures: payload.payloadSignatures.length,
    ...(manifest.maxTimestamp === undefined ? {} : { maxTimestamp: manifest.maxTimestamp }),
    ...(manifest.securityPatchLevel === undefined ? {} : { securityPatchLevel: manifest.securityPatchLevel }),
    groups,
    partitions,
  };
  return { lines, json };
}

/** Exit code 0 when data and signatures are good, 4 when a key was given and a signature is missing or of another key. */
export function payloadReport(name: string, verdict: PayloadVerdict, keys: readonly VerifierKey[]): Report {
  const states = [verdict.metadata, verdict.payload];
  const trusted = keys.length === 0 || states.every((s) => s === "good");
  const words = {
    unsigned: "unsigned",
    "not-checked": "signed, not checked (no --key)",
    good: "good",
    bad: "of another key",
  };
  const text = `metadata signature: ${words[verdict.metadata]}; payload signature: ${words[verdict.payload]}`;
  return {
    text: `${name}: ${trusted ? "payload intact" : "payload not trusted"}; ${text}`,
    json: {
      family: "android",
      accepted: trusted,
      signature:
        keys.length === 0
          ? verdict.payload === "unsigned"
            ? "unsigned"
            : "signed, not checked (no --key)"
          : trusted
            ? "signed"
            : "rejected",
      payload: {
        metadata: verdict.metadata,
        payload: verdict.payload,
        fileHash: toHex(verdict.fileHash),
        metadataHash: toHex(verdict.metadataHash),
      },
    },
    exitCode: trusted ? 0 : 4,
  };
}

/** Reads a payload once: every operation's digest, both signatures. @throws OtaError ANDROID_PAYLOAD_DATA, exit 3 */
export async function verifyPayloadReport(
  name: string,
  payload: Payload,
  keys: readonly VerifierKey[],
  options: CommonOptions,
): Promise<Report> {
  const verdict = await verifyPayload(payload, keys, {
    digests: nodeDigests,
    exact: options.profile === "safe",
    progress: options.progress,
    cancel: options.cancel,
  });
  return payloadReport(name, verdict, keys);
}

/** `system` and `system.img` name the same partition. */
export function partitionOf(payload: Payload, name: string): PartitionUpdate | undefined {
  return payload.manifest.partitions.find((p) => p.name === name || `${p.name ?? ""}.img` === name);
}

async function openBase(
  partition: PartitionUpdate,
  folder: string | undefined,
): Promise<RandomReader & { close(): Promise<void> }> {
  const name = partition.name ?? "";
  const hint = `Give the folder with the old images (${name}.img) with --base DIR.`;
  if (folder === undefined) {
    throw new OtaError("ANDROID_PAYLOAD_BASE", { what: "a delta payload needs the old partition", where: name, hint });
  }
  return openFileReader(join(folder, `${name}.img`)).catch((e: unknown) => {
    throw new OtaError(
      "ANDROID_PAYLOAD_BASE",
      { what: "the old partition's image cannot be read", where: join(folder, `${name}.img`), hint },
      e,
    );
  });
}

async function writeImage(
  payload: Payload,
  partition: PartitionUpdate,
  tree: Awaited<ReturnType<typeof openTree>>,
  options: CommonOptions & { readonly baseFolder?: string },
): Promise<{ name: string; size: number }> {
  const { blockSize } = payload.manifest;
  const name = `${partition.name ?? ""}.img`;
  const size = partition.newInfo?.size ?? 0;
  const unknown = shownOnly(partition)[0];
  if (unknown !== undefined) {
    throw new OtaError("ANDROID_PAYLOAD_OPERATION", {
      what: `${unknown} cannot be applied`,
      where: partition.name ?? "",
      hint: "Its patch format belongs to one program; use a full payload.",
    });
  }
  const base = partition.oldInfo === undefined ? undefined : await openBase(partition, options.baseFolder);
  const core = createAnyCore(PATCH_MEMORY_SIZE);
  const file = await tree.file(name);
  try {
    let doneBytes = 0;
    for (const [i, op] of partition.operations.entries()) {
      checkCancel(options.cancel);
      const data = payload.dataOf(op);
      const output = applyOperation(op, {
        blockSize,
        codecs: nodeCodecs,
        digests: nodeDigests,
        core,
        cancel: options.cancel,
        where: `${partition.name ?? ""} operation ${i}`,
        ...(data === undefined ? {} : { data }),
        ...(base === undefined ? {} : { source: base }),
      });
      for await (const { offset, bytes } of placeOutput(output, op.dstExtents, blockSize)) {
        await file.write(offset, bytes.subarray(0, Math.max(0, size - offset)));
        doneBytes += bytes.length;
        options.progress.progress({ phase: "extract", item: name, doneBytes, totalBytes: size });
      }
    }
    const digest = nodeDigests.create("sha256");
    for await (const chunk of streamRange(file.reader(size))) digest.update(chunk);
    const found = digest.digest();
    const expected = partition.newInfo?.sha256 ?? new Uint8Array(0);
    if (!equalBytes(found, expected)) {
      const computed = partition.hashTreeExtent !== undefined || partition.fecExtent !== undefined;
      throw new OtaError("ANDROID_PAYLOAD_DATA", {
        what: computed
          ? "the image lacks what only the device computes: hash tree and error correction"
          : "the image is not what the payload says",
        where: name,
        expected: toHex(expected),
        found: toHex(found),
      });
    }
    await file.keep();
    return { name, size };
  } finally {
    await file.drop();
    await base?.close();
  }
}

/** Writes the images of partitions; each appears only when its digest is right. @throws OtaError ANDROID_PAYLOAD_* */
export async function extractImages(
  payload: Payload,
  partitions: readonly PartitionUpdate[],
  tree: Awaited<ReturnType<typeof openTree>>,
  options: CommonOptions & { readonly baseFolder?: string },
): Promise<{ name: string; size: number }[]> {
  const parts: { name: string; size: number }[] = [];
  for (const partition of partitions) parts.push(await writeImage(payload, partition, tree, options));
  return parts;
}
