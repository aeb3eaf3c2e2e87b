/**
 * One operation of a payload applied: a function from data and old blocks to new blocks (formats/android.md 8.1). It writes
 * nothing; whoever drives it places the output ({@link placeOutput}) and keeps the journal.
 */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Codecs, Digests, RandomReader } from "../../core/ports.ts";
import { checkCancel, streamRange } from "../../core/streams.ts";
import { applyBsdiff40 } from "../../delta/bsdiff40/apply.ts";
import { isBsdiff40 } from "../../delta/bsdiff40/header.ts";
import { decompressBzip2 } from "../../delta/bzip2/decompress.ts";
import type { Core } from "../../delta/core.ts";
import { applyBsdf2, isBsdf2 } from "./bsdf2.ts";
import { countBlocks, extentReader } from "./extents.ts";
import type { Operation } from "./manifest.ts";
import { OPERATION_NUMBER, OPERATION_TYPES, operationName } from "./operation-types.ts";

export interface OperationInput {
  /** Bytes of a block: the manifest's. */
  readonly blockSize: number;
  /** The operation's data, exactly `dataLength` bytes; absent when it has none. */
  readonly data?: RandomReader;
  /** The old partition; absent in full payloads. */
  readonly source?: RandomReader;
  readonly codecs: Pick<Codecs, "brotliDecompress" | "xzDecompress">;
  readonly digests: Pick<Digests, "create">;
  /** Names the operation in errors: `system operation 17`. */
  readonly where?: string;
  readonly cancel?: Cancel;
  /** A core with the memory of a BSDIFF40 reader (`PATCH_MEMORY_SIZE`), used again by the next operation. */
  readonly core?: Core;
}

type Shown = Pick<OperationInput, "where">;

function fail(what: string, input: Shown, expected?: string | number, found?: string | number): OtaError {
  return new OtaError("ANDROID_PAYLOAD_DATA", {
    what,
    ...(input.where === undefined ? {} : { where: input.where }),
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
  });
}

async function sha256Of(reader: RandomReader, input: OperationInput): Promise<Uint8Array> {
  const digest = input.digests.create("sha256");
  for await (const chunk of streamRange(reader)) {
    checkCancel(input.cancel);
    digest.update(chunk);
  }
  return digest.digest();
}

/** The old blocks an operation reads, as one file. @throws OtaError ANDROID_PAYLOAD_BASE without an old partition */
function sourceOf(op: Operation, input: OperationInput): RandomReader {
  if (input.source === undefined) {
    throw new OtaError("ANDROID_PAYLOAD_BASE", {
      what: "a delta payload needs the old partition",
      ...(input.where === undefined ? {} : { where: input.where }),
      hint: "Give the image of the version the payload was made for.",
    });
  }
  return extentReader(input.source, op.srcExtents, input.blockSize, op.srcLength);
}

/**
 * Checks an operation's data and source digests, both before either is used.
 * @throws OtaError ANDROID_PAYLOAD_DATA, ANDROID_PAYLOAD_BASE, CANCELLED
 */
export async function checkOperationInputs(op: Operation, input: OperationInput): Promise<void> {
  const type = OPERATION_TYPES[op.type ?? 0];
  if (type?.data === true) {
    const length = op.dataLength ?? 0;
    if (input.data?.size !== length) throw fail("the data has another size", input, length, input.data?.size ?? 0);
    if (op.dataSha256 !== undefined) {
      const found = await sha256Of(input.data, input);
      if (!equalBytes(found, op.dataSha256)) {
        throw fail("the data is damaged: its SHA-256 is wrong", input, toHex(op.dataSha256), toHex(found));
      }
    }
  }
  if (type?.source === true && op.srcSha256 !== undefined) {
    const found = await sha256Of(sourceOf(op, input), input);
    if (!equalBytes(found, op.srcSha256)) {
      throw new OtaError("ANDROID_PAYLOAD_BASE", {
        what: "the old partition is not the one the payload was made for",
        ...(input.where === undefined ? {} : { where: input.where }),
        expected: toHex(op.srcSha256),
        found: toHex(found),
        hint: "Install the version before it first, or a full payload.",
      });
    }
  }
}

async function* zeros(length: number): ByteStream {
  const block = new Uint8Array(Math.min(length, 262144));
  for (let left = length; left > 0; left -= block.length) yield left < block.length ? block.subarray(0, left) : block;
}

/** Output up to the end of the last block; more, or a whole block less, is an error. */
async function* filled(output: ByteStream, size: number, input: OperationInput): ByteStream {
  let made = 0;
  for await (const chunk of output) {
    checkCancel(input.cancel);
    made += chunk.length;
    if (made > size) throw fail("the operation makes more than its blocks hold", input, `${size} bytes`, made);
    yield chunk;
  }
  if (size - made >= input.blockSize) {
    throw fail("the operation makes less than its blocks hold", input, `${size} bytes`, made);
  }
  if (made < size) yield new Uint8Array(size - made);
}

async function* patched(op: Operation, data: RandomReader, input: OperationInput): ByteStream {
  const magic = await data.read(0, Math.min(8, data.size));
  const old = sourceOf(op, input);
  const signal = input.cancel === undefined ? {} : { cancel: input.cancel, signal: input.cancel };
  if (isBsdf2(magic)) {
    yield* applyBsdf2(old, data, { codecs: input.codecs, ...signal });
    return;
  }
  if (!isBsdiff40(magic)) throw fail("the patch is of no known kind", input, "BSDIFF40 or BSDF2");
  const core = input.core === undefined ? {} : { core: input.core };
  yield* applyBsdiff40(old, data, { check: "along", ...signal, ...core });
}

function produce(op: Operation, input: OperationInput, size: number): ByteStream {
  const type = op.type ?? 0;
  if (type === OPERATION_NUMBER.ZERO || type === OPERATION_NUMBER.DISCARD) return zeros(size);
  if (type === OPERATION_NUMBER.SOURCE_COPY) return streamRange(sourceOf(op, input));
  const data = input.data;
  if (data === undefined) throw fail("the operation has no data", input);
  switch (type) {
    case OPERATION_NUMBER.REPLACE:
      return streamRange(data);
    case OPERATION_NUMBER.REPLACE_BZ:
      return decompressBzip2(streamRange(data), size);
    case OPERATION_NUMBER.REPLACE_XZ:
      return input.codecs.xzDecompress(streamRange(data), size);
    case OPERATION_NUMBER.SOURCE_BSDIFF:
    case OPERATION_NUMBER.BROTLI_BSDIFF:
      return patched(op, data, input);
    default:
      throw unsupported(op, input);
  }
}

function unsupported(op: Operation, input: Shown): OtaError {
  return new OtaError("ANDROID_PAYLOAD_OPERATION", {
    what: `${operationName(op.type)} cannot be applied`,
    ...(input.where === undefined ? {} : { where: input.where }),
    hint: "Its patch format belongs to one program; make the payload without it, or use a full payload.",
  });
}

/**
 * The new blocks of an operation: as many bytes as its destination extents hold, in their order. Data and source digests
 * are checked before the first byte; a patch is checked while it is applied, so the output counts only once it has ended.
 * Memory does not grow with the operation.
 * @throws OtaError ANDROID_PAYLOAD_DATA, ANDROID_PAYLOAD_BASE, ANDROID_PAYLOAD_OPERATION, the codes of
 *   {@link applyBsdiff40} and {@link applyBsdf2}, CODEC_DAMAGED, CODEC_BOMB, CANCELLED
 */
export async function* applyOperation(op: Operation, input: OperationInput): ByteStream {
  if (OPERATION_TYPES[op.type ?? 0]?.applicable !== true) throw unsupported(op, input);
  await checkOperationInputs(op, input);
  const size = countBlocks(op.dstExtents) * input.blockSize;
  yield* filled(produce(op, input, size), size, input);
}
