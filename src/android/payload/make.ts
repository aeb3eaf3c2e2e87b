/** Makes payload.bin: full or delta, signed or not (formats/android.md 8.1, 8.2). */
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Codecs, Digests, ProgressSink, RandomReader } from "../../core/ports.ts";
import { checkCancel, memoryReader, streamRange } from "../../core/streams.ts";
import type { DeltaMaker } from "../../delta/maker.ts";
import type { MappedFile } from "../block/image-map.ts";
import type { PayloadSigner } from "../signing/signer.ts";
import { checkManifest } from "./check.ts";
import { encodeOperation } from "./encode-operation.ts";
import { inOrder } from "./in-order.ts";
import { PAYLOAD_HEADER, PAYLOAD_MAGIC, PAYLOAD_MAJOR } from "./layout.ts";
import { MANIFEST, SIGNATURES, type Manifest, type Operation, type PartitionUpdate } from "./manifest.ts";
import type { PayloadPackers, Scratch } from "./packers.ts";
import { planPartition } from "./plan-delta.ts";
import { encodeMessage } from "./proto.ts";

/** One partition of a payload to be. */
export interface PayloadPartition {
  readonly name: string;
  /** The raw image; a multiple of the block size. */
  readonly fresh: RandomReader;
  /** The image it is now; absent: sent whole. */
  readonly old?: RandomReader;
  /** Blocks of the files, from the build's block maps: patches are made file by file. */
  readonly freshFiles?: ReadonlyMap<string, MappedFile>;
  readonly oldFiles?: ReadonlyMap<string, MappedFile>;
  /** What runs after the update, from META/postinstall_config.txt. */
  readonly postinstall?: Pick<
    PartitionUpdate,
    "runPostinstall" | "postinstallPath" | "filesystemType" | "postinstallOptional"
  >;
}

export interface MakePayloadOptions {
  /** Minor version of a delta, 2 to 9; ignored for full payloads, which have 0. */
  readonly minorVersion: number;
  /** Build time, seconds: a device with a newer system refuses the payload. Absent: an older one is taken as well. */
  readonly maxTimestamp?: number;
  readonly dynamicPartitions?: Manifest["dynamicPartitions"];
  readonly securityPatchLevel?: string;
  readonly partialUpdate?: boolean;
  /** Signs with SHA-256. Absent: the payload is unsigned. */
  readonly signer?: PayloadSigner;
  readonly packers: PayloadPackers;
  readonly delta: DeltaMaker;
  readonly digests: Pick<Digests, "create">;
  readonly codecs: Pick<Codecs, "brotliDecompress">;
  /** Keeps the operations' data. */
  readonly scratch: Scratch;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel;
}

/** A finished payload. */
export interface MadePayload {
  readonly manifest: Manifest;
  readonly kind: "full" | "delta";
  readonly size: number;
  /** Header and manifest, bytes. */
  readonly metadataSize: number;
  readonly metadataSignatureSize: number;
  /** The file. */
  content(): ByteStream;
  /** payload_properties.txt. */
  readonly properties: readonly (readonly [key: string, value: string])[];
}

const BLOCK_SIZE = 4096;

async function infoOf(
  reader: RandomReader,
  options: MakePayloadOptions,
): Promise<{ size: number; sha256: Uint8Array }> {
  const digest = options.digests.create("sha256");
  for await (const chunk of streamRange(reader)) {
    checkCancel(options.cancel);
    digest.update(chunk);
  }
  return { size: reader.size, sha256: digest.digest() };
}

async function makePartition(
  partition: PayloadPartition,
  minorVersion: number,
  options: MakePayloadOptions,
): Promise<PartitionUpdate> {
  const { name, fresh, old, freshFiles, oldFiles } = partition;
  if (fresh.size % BLOCK_SIZE !== 0) {
    throw new OtaError("ANDROID_SPARSE", {
      what: "an image is not made of whole blocks",
      where: `${name}.img`,
      expected: `a multiple of ${BLOCK_SIZE} bytes`,
      found: fresh.size,
    });
  }
  const { cancel } = options;
  const stop = cancel === undefined ? {} : { cancel };
  const images = { fresh, ...(old === undefined ? {} : { old }), blockSize: BLOCK_SIZE, digests: options.digests };
  const drafts = await planPartition({
    ...images,
    zeros: minorVersion >= 4,
    ...(freshFiles === undefined ? {} : { freshFiles }),
    ...(oldFiles === undefined ? {} : { oldFiles }),
    ...stop,
  });
  const { packers, delta, codecs, scratch } = options;
  const operations: Operation[] = [];
  let doneBytes = 0;
  const encoded = inOrder(
    drafts,
    packers.jobs,
    (draft) => encodeOperation(draft, { ...images, minorVersion, packers, delta, codecs, ...stop }),
    cancel,
  );
  for await (const { operation, data } of encoded) {
    if (data.length > 0) {
      operations.push({ ...operation, dataOffset: scratch.size });
      await scratch.append(data);
    } else operations.push(operation);
    for (const e of operation.dstExtents) doneBytes += (e.numBlocks ?? 0) * BLOCK_SIZE;
    options.progress.progress({ phase: "payload", item: name, doneBytes, totalBytes: fresh.size });
  }
  return {
    name,
    ...partition.postinstall,
    newPartitionSignatures: [],
    ...(old === undefined ? {} : { oldInfo: await infoOf(old, options) }),
    newInfo: await infoOf(fresh, options),
    operations,
    mergeOperations: [],
  };
}

/** A Signatures message of a size that does not depend on the value: ECDSA signatures of one key differ by a few bytes. */
function signatureMessage(value: Uint8Array, size: number): Uint8Array {
  const data = new Uint8Array(size);
  data.set(value.subarray(0, size));
  return encodeMessage(SIGNATURES, { signatures: [{ data, unpaddedSize: value.length }] });
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base64 of a SHA-256. */
function base64(bytes: Uint8Array): string {
  let bits = "";
  for (const b of bytes) bits += b.toString(2).padStart(8, "0");
  const text = bits.match(/.{1,6}/g)?.map((s) => ALPHABET.charAt(Number.parseInt(s.padEnd(6, "0"), 2))) ?? [];
  return text.join("").padEnd(Math.ceil(bytes.length / 3) * 4, "=");
}

/** The text of payload_properties.txt. */
export function propertiesText(properties: MadePayload["properties"]): string {
  return properties.map(([key, value]) => `${key}=${value}\n`).join("");
}

/**
 * Makes a payload: a delta when any partition has an old image, else a full one. The same inputs give the same bytes,
 * whatever the number of jobs, on machines with the same xz.
 * @throws OtaError ANDROID_SPARSE, ANDROID_NOT_POSSIBLE (minor version),
 *   CANCELLED, what signing and reading throw
 */
export async function makePayload(
  partitions: readonly PayloadPartition[],
  options: MakePayloadOptions,
): Promise<MadePayload> {
  const { signer, scratch, digests } = options;
  const isDelta = options.partialUpdate === true || partitions.some((p) => p.old !== undefined);
  const minorVersion = isDelta ? options.minorVersion : 0;
  if (isDelta && (minorVersion < 2 || minorVersion > 9)) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "deltas of this minor version cannot be made",
      where: "PAYLOAD_MINOR_VERSION",
      expected: "2 to 9",
      found: minorVersion,
    });
  }
  const updates: PartitionUpdate[] = [];
  for (const partition of partitions) updates.push(await makePartition(partition, minorVersion, options));
  const dataSize = scratch.size;
  const blankSignature =
    signer === undefined ? new Uint8Array(0) : signatureMessage(new Uint8Array(0), signer.signatureSize);
  const { maxTimestamp, dynamicPartitions, securityPatchLevel, partialUpdate } = options;
  const manifest: Manifest = {
    blockSize: BLOCK_SIZE,
    ...(signer === undefined ? {} : { signaturesOffset: dataSize, signaturesSize: blankSignature.length }),
    minorVersion,
    partitions: updates,
    ...(maxTimestamp === undefined ? {} : { maxTimestamp }),
    ...(dynamicPartitions === undefined ? {} : { dynamicPartitions }),
    ...(partialUpdate === undefined ? {} : { partialUpdate }),
    apexInfo: [],
    ...(securityPatchLevel === undefined ? {} : { securityPatchLevel }),
  };
  checkManifest(manifest, dataSize + blankSignature.length);
  const body = encodeMessage(MANIFEST, manifest);
  const header = PAYLOAD_HEADER.encode({
    magic: PAYLOAD_MAGIC,
    version: PAYLOAD_MAJOR,
    manifestSize: body.length,
    metadataSignatureSize: blankSignature.length,
  });
  const metadata = concatBytes(header, body);
  const data = (): ByteStream =>
    streamRange({ size: dataSize, read: (offset, length) => scratch.read(offset, length) }, 0, dataSize);
  const sign = async (message: ByteStream): Promise<Uint8Array> => {
    if (signer === undefined) return blankSignature;
    const value = await signer.sign(message, "sha256");
    if (value.length > signer.signatureSize) {
      throw new OtaError("ANDROID_SIGNER", {
        what: "the signature is longer than the key's",
        expected: `at most ${signer.signatureSize} bytes`,
        found: value.length,
      });
    }
    return signatureMessage(value, signer.signatureSize);
  };
  const metadataSignature = await sign(streamRange(memoryReader(metadata)));
  const signed = async function* (): ByteStream {
    yield metadata;
    yield* data();
  };
  const payloadSignature = await sign(signed());
  const content = async function* (): ByteStream {
    yield metadata;
    if (metadataSignature.length > 0) yield metadataSignature;
    yield* data();
    if (payloadSignature.length > 0) yield payloadSignature;
  };
  const file = digests.create("sha256");
  for await (const chunk of content()) file.update(chunk);
  const metadataDigest = digests.create("sha256");
  metadataDigest.update(metadata);
  const size = metadata.length + metadataSignature.length + dataSize + payloadSignature.length;
  return {
    manifest,
    kind: isDelta ? "delta" : "full",
    size,
    metadataSize: metadata.length,
    metadataSignatureSize: metadataSignature.length,
    content,
    properties: [
      ["FILE_HASH", base64(file.digest())],
      ["FILE_SIZE", String(size)],
      ["METADATA_HASH", base64(metadataDigest.digest())],
      ["METADATA_SIZE", String(metadata.length)],
    ],
  };
}
