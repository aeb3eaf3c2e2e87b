/** Makes payload.bin: full or delta, signed or not (formats/android.md 8.1, 8.2). */
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Codecs, Digests, ProgressSink, RandomReader } from "../../core/ports.ts";
import { checkCancel, streamRange } from "../../core/streams.ts";
import type { DeltaMaker } from "../../delta/maker.ts";
import type { MappedFile } from "../block/image-map.ts";
import type { PayloadSigner } from "../signing/signer.ts";
import { checkManifest } from "./check.ts";
import { encodeOperation } from "./encode-operation.ts";
import { inOrder } from "./in-order.ts";
import { MANIFEST, type Manifest, type Operation, type PartitionUpdate } from "./manifest.ts";
import { scratchReader, type Scratch } from "../scratch.ts";
import type { PayloadPackers } from "./packers.ts";
import { planPartition } from "./plan-delta.ts";
import { encodeMessage } from "./proto.ts";
import { sealPayload, sizeOfSignatures, type SealedPayload } from "./seal.ts";

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
export interface MadePayload extends SealedPayload {
  readonly manifest: Manifest;
  readonly kind: "full" | "delta";
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
  const { signer, scratch } = options;
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
  const signaturesSize = signer === undefined ? 0 : sizeOfSignatures(signer);
  const { maxTimestamp, dynamicPartitions, securityPatchLevel, partialUpdate } = options;
  const manifest: Manifest = {
    blockSize: BLOCK_SIZE,
    ...(signer === undefined ? {} : { signaturesOffset: dataSize, signaturesSize }),
    minorVersion,
    partitions: updates,
    ...(maxTimestamp === undefined ? {} : { maxTimestamp }),
    ...(dynamicPartitions === undefined ? {} : { dynamicPartitions }),
    ...(partialUpdate === undefined ? {} : { partialUpdate }),
    apexInfo: [],
    ...(securityPatchLevel === undefined ? {} : { securityPatchLevel }),
  };
  checkManifest(manifest, dataSize + signaturesSize);
  const sealed = await sealPayload(encodeMessage(MANIFEST, manifest), scratchReader(scratch), signer, options);
  return { ...sealed, manifest, kind: isDelta ? "delta" : "full" };
}
