/** Makes an operation of a draft: the smallest of all forms that its payload may hold. */
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Codecs, Digests, RandomReader } from "../../core/ports.ts";
import { memoryReader, sliceReader, streamRange } from "../../core/streams.ts";
import { readBsdiff40Header, BSDIFF40_HEADER_SIZE } from "../../delta/bsdiff40/header.ts";
import { decompressBzip2 } from "../../delta/bzip2/decompress.ts";
import type { DeltaMaker } from "../../delta/maker.ts";
import { writeBsdf2Header, type Bsdf2Compression } from "./bsdf2.ts";
import { countBlocks, extentReader } from "./extents.ts";
import type { Operation } from "./manifest.ts";
import { OPERATION_NUMBER, OPERATION_TYPES } from "./operation-types.ts";
import type { PayloadPackers } from "./packers.ts";
import type { Draft } from "./plan-delta.ts";

export interface EncodeInput {
  readonly fresh: RandomReader;
  readonly old?: RandomReader;
  readonly blockSize: number;
  /** 0: a full payload. */
  readonly minorVersion: number;
  readonly packers: PayloadPackers;
  readonly delta: DeltaMaker;
  readonly digests: Pick<Digests, "create">;
  readonly codecs: Pick<Codecs, "brotliDecompress">;
  readonly cancel?: Cancel;
}

/** An operation without its place among the data, and its data. */
export interface EncodedOperation {
  readonly operation: Operation;
  readonly data: Uint8Array;
}

/** Minor version from which an operation carries the digest of its source. */
const SOURCE_DIGESTS = 3;
/** Up to this minor version SOURCE_BSDIFF carries byte lengths. */
const BYTE_LENGTHS = 3;
/** A patch below this share of what it makes is not compared with packed data, which is never as small. */
const SURELY_SMALLER = 1 / 16;

interface Form {
  readonly type: number;
  readonly data: Uint8Array;
}

function allowed(type: number, minor: number): boolean {
  const known = OPERATION_TYPES[type];
  if (known === undefined) return false;
  return minor === 0 ? known.full : known.sinceMinor !== undefined && known.sinceMinor <= minor;
}

async function gather(reader: RandomReader, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of decompressBzip2(streamRange(reader), maxBytes)) parts.push(part);
  return concatBytes(...parts);
}

/** A BSDIFF40 patch as BSDF2, each stream packed with whatever makes it smallest. */
async function toBsdf2(patch: Uint8Array, packers: PayloadPackers): Promise<Uint8Array> {
  const header = readBsdiff40Header(patch);
  const whole = memoryReader(patch);
  const diffAt = BSDIFF40_HEADER_SIZE + header.controlSize;
  const extraAt = diffAt + header.diffSize;
  const streams = [
    [BSDIFF40_HEADER_SIZE, header.controlSize],
    [diffAt, header.diffSize],
    [extraAt, patch.length - extraAt],
  ] as const;
  const packed: [Bsdf2Compression, Uint8Array][] = [];
  for (const [at, length] of streams) {
    const bzip2 = patch.subarray(at, at + length);
    const plain = await gather(sliceReader(whole, at, length), Number.MAX_SAFE_INTEGER);
    const brotli = await packers.brotli(plain);
    packed.push(brotli.length < bzip2.length ? ["brotli", brotli] : ["bzip2", bzip2]);
  }
  const [control, diff, extra] = packed as [
    [Bsdf2Compression, Uint8Array],
    [Bsdf2Compression, Uint8Array],
    [Bsdf2Compression, Uint8Array],
  ];
  const head = writeBsdf2Header({
    compression: [control[0], diff[0], extra[0]],
    controlSize: control[1].length,
    diffSize: diff[1].length,
    newSize: header.newSize,
  });
  return concatBytes(head, control[1], diff[1], extra[1]);
}

async function patchForms(bytes: Uint8Array, draft: Draft, input: EncodeInput): Promise<Form[]> {
  if (draft.src.length === 0 || input.old === undefined) return [];
  const old = extentReader(input.old, draft.src, input.blockSize);
  const options = input.cancel === undefined ? {} : { signal: input.cancel };
  const patch = await input.delta.bsdiff40(old, memoryReader(bytes), options);
  const forms: Form[] = [{ type: OPERATION_NUMBER.SOURCE_BSDIFF, data: patch }];
  if (allowed(OPERATION_NUMBER.BROTLI_BSDIFF, input.minorVersion)) {
    forms.push({ type: OPERATION_NUMBER.BROTLI_BSDIFF, data: await toBsdf2(patch, input.packers) });
  }
  return forms;
}

async function packedForms(bytes: Uint8Array, packers: PayloadPackers): Promise<Form[]> {
  const forms: Form[] = [{ type: OPERATION_NUMBER.REPLACE, data: bytes }];
  if (packers.xz !== undefined) forms.push({ type: OPERATION_NUMBER.REPLACE_XZ, data: await packers.xz(bytes) });
  forms.push({ type: OPERATION_NUMBER.REPLACE_BZ, data: await packers.bzip2(bytes) });
  return forms;
}

function sha256(bytes: Uint8Array, digests: Pick<Digests, "create">): Uint8Array {
  const digest = digests.create("sha256");
  digest.update(bytes);
  return digest.digest();
}

async function sourceDigest(draft: Draft, input: EncodeInput): Promise<Uint8Array> {
  const digest = input.digests.create("sha256");
  const source = extentReader(input.old as RandomReader, draft.src, input.blockSize);
  for await (const chunk of streamRange(source)) digest.update(chunk);
  return digest.digest();
}

/** Makes the smallest operation for a draft; of two that are as small the one of the lower number. @throws OtaError CANCELLED */
export async function encodeOperation(draft: Draft, input: EncodeInput): Promise<EncodedOperation> {
  const none = new Uint8Array(0);
  const { minorVersion, blockSize } = input;
  const hasDigest = minorVersion >= SOURCE_DIGESTS;
  if (draft.kind === "zero") {
    return { operation: { type: OPERATION_NUMBER.ZERO, srcExtents: [], dstExtents: draft.dst }, data: none };
  }
  if (draft.kind === "copy") {
    const operation: Operation = {
      type: OPERATION_NUMBER.SOURCE_COPY,
      srcExtents: draft.src,
      dstExtents: draft.dst,
      ...(hasDigest ? { srcSha256: await sourceDigest(draft, input) } : {}),
    };
    return { operation, data: none };
  }
  const fresh = extentReader(input.fresh, draft.dst, blockSize);
  const bytes = await fresh.read(0, fresh.size);
  const patches = await patchForms(bytes, draft, input);
  const small = patches.some((f) => f.data.length < bytes.length * SURELY_SMALLER);
  const forms = [...(small ? [] : await packedForms(bytes, input.packers)), ...patches].sort(
    (a, b) => a.data.length - b.data.length || a.type - b.type,
  );
  const best = forms[0];
  if (best === undefined) throw new OtaError("ANDROID_PAYLOAD", "an operation has no form");
  const isPatch = best.type === OPERATION_NUMBER.SOURCE_BSDIFF || best.type === OPERATION_NUMBER.BROTLI_BSDIFF;
  const lengths =
    best.type === OPERATION_NUMBER.SOURCE_BSDIFF && minorVersion <= BYTE_LENGTHS
      ? { srcLength: countBlocks(draft.src) * blockSize, dstLength: bytes.length }
      : {};
  const operation: Operation = {
    type: best.type,
    dataLength: best.data.length,
    srcExtents: isPatch ? draft.src : [],
    dstExtents: draft.dst,
    dataSha256: sha256(best.data, input.digests),
    ...lengths,
    ...(isPatch && hasDigest ? { srcSha256: await sourceDigest(draft, input) } : {}),
  };
  return { operation, data: best.data };
}
