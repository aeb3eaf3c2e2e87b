/** Whether a manifest means something: types, ranges, overlaps, coverage, order of the data (formats/android.md 8.1). */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import { countBlocks } from "./extents.ts";
import { SPARSE_HOLE, type Extent, type Manifest, type Operation, type PartitionUpdate } from "./manifest.ts";
import { OPERATION_NUMBER, OPERATION_TYPES, operationName } from "./operation-types.ts";

const SHA256_SIZE = 32;
/** Minor versions of deltas whose rules are known. */
const MINORS = [2, 9] as const;
/** A partition's name becomes a file's and a node's name. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

function bad(what: string, where: string, expected?: string | number, found?: string | number): OtaError {
  return new OtaError("ANDROID_PAYLOAD", {
    what,
    where,
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
  });
}

function checkExtents(extents: readonly Extent[], blocks: number, where: string): void {
  for (const { startBlock = 0, numBlocks = 0 } of extents) {
    if (numBlocks === 0) throw bad("an extent has no blocks", where);
    if (startBlock === SPARSE_HOLE) {
      if (numBlocks > Number.MAX_SAFE_INTEGER / 65536) throw bad("a hole is larger than any partition", where);
    } else if (startBlock + numBlocks > blocks) {
      throw bad("an extent reaches past the partition", where, `at most block ${blocks}`, startBlock + numBlocks);
    }
  }
}

/** What an operation's number may go with. */
function checkShape(op: Operation, full: boolean, minor: number, where: string): void {
  const type = OPERATION_TYPES[op.type ?? 0];
  if (type === undefined) throw bad("an operation of an unknown type", where, "0 to 13", op.type);
  const allowed = full ? type.full : type.sinceMinor !== undefined && minor >= type.sinceMinor;
  if (!allowed) {
    throw bad(`${type.name} may not stand in ${full ? "a full payload" : `a delta of minor version ${minor}`}`, where);
  }
  if (op.dstExtents.length === 0) throw bad("the operation writes nothing", where);
  if (type.source !== op.srcExtents.length > 0) {
    throw bad(type.source ? "the operation has no source" : "the operation has a source it cannot use", where);
  }
  const length = op.dataLength ?? 0;
  if (type.data !== length > 0) {
    throw bad(type.data ? "the operation has no data" : "the operation has data it cannot use", where);
  }
  if (type.data && op.dataSha256?.length !== SHA256_SIZE) {
    throw bad("the operation's data has no SHA-256", where, `${SHA256_SIZE} bytes`, op.dataSha256?.length ?? 0);
  }
  if (op.srcSha256 !== undefined && op.srcSha256.length !== SHA256_SIZE) {
    throw bad("the source digest is no SHA-256", where, `${SHA256_SIZE} bytes`, op.srcSha256.length);
  }
}

function checkLengths(op: Operation, blockSize: number, minor: number, where: string): void {
  const dstBytes = countBlocks(op.dstExtents) * blockSize;
  const srcBytes = countBlocks(op.srcExtents) * blockSize;
  if (!Number.isSafeInteger(dstBytes) || !Number.isSafeInteger(srcBytes)) {
    throw bad("the operation is larger than any partition", where);
  }
  // REPLACE of an image whose last block is not full may be shorter, never longer.
  const length = op.dataLength ?? 0;
  if (
    op.type === undefined || op.type === OPERATION_NUMBER.REPLACE ? length > dstBytes : length >= dstBytes && length > 0
  ) {
    throw bad("the operation's data is larger than what it writes", where, `less than ${dstBytes} bytes`, length);
  }
  if (op.type === OPERATION_NUMBER.SOURCE_COPY && srcBytes !== dstBytes) {
    throw bad("a copy has more blocks on one side", where, srcBytes / blockSize, dstBytes / blockSize);
  }
  const lengths = op.srcLength !== undefined || op.dstLength !== undefined;
  if (lengths && (op.type !== OPERATION_NUMBER.SOURCE_BSDIFF || minor > 3)) {
    throw bad("byte lengths belong to SOURCE_BSDIFF of minor versions up to 3", where);
  }
  if ((op.srcLength ?? 0) > srcBytes || (op.dstLength ?? 0) > dstBytes) {
    throw bad("a byte length is larger than its blocks", where);
  }
}

/** Every block of the new partition is written once: by an operation, or by the device (hash tree, error correction). */
function checkCoverage(partition: PartitionUpdate, blocks: number, where: string): void {
  const own = [partition.hashTreeExtent, partition.fecExtent].filter((e) => e !== undefined);
  checkExtents(own, blocks, where);
  const ranges = [...partition.operations.flatMap((op) => op.dstExtents), ...own]
    .map((e) => ({ start: e.startBlock ?? 0, end: (e.startBlock ?? 0) + (e.numBlocks ?? 0) }))
    .filter((r) => r.start !== SPARSE_HOLE)
    .sort((a, b) => a.start - b.start);
  let next = 0;
  for (const { start, end } of ranges) {
    if (start < next) throw bad("a block is written twice", where, `${next} or more`, start);
    if (start > next) throw bad("blocks are written by no operation", where, next, start);
    next = end;
  }
  if (next !== blocks) throw bad("blocks are written by no operation", where, blocks, next);
}

function checkPartition(partition: PartitionUpdate, manifest: Manifest, isDelta: boolean): void {
  const name = printable(partition.name ?? "");
  if (!NAME.test(partition.name ?? "")) throw bad("a partition has no usable name", name);
  const blockSize = manifest.blockSize as number;
  for (const info of [partition.oldInfo, partition.newInfo]) {
    if (info !== undefined && info.sha256?.length !== SHA256_SIZE) throw bad("the partition has no SHA-256", name);
  }
  if (partition.newInfo === undefined) throw bad("the partition's new size and digest are missing", name);
  if (!isDelta && partition.oldInfo !== undefined) throw bad("a full payload names an old partition", name);
  const newBlocks = Math.ceil((partition.newInfo.size ?? 0) / blockSize);
  const oldBlocks = Math.ceil((partition.oldInfo?.size ?? 0) / blockSize);
  partition.operations.forEach((op, i) => {
    const where = `${name} operation ${i} ${operationName(op.type)}`;
    checkShape(op, !isDelta, manifest.minorVersion ?? 0, where);
    checkExtents(op.dstExtents, newBlocks, where);
    checkExtents(op.srcExtents, oldBlocks, where);
    checkLengths(op, blockSize, manifest.minorVersion ?? 0, where);
  });
  checkCoverage(partition, newBlocks, name);
}

/** Data lie one behind the other, in the order of the operations, and the signature behind them all. */
function checkData(manifest: Manifest, dataSize: number): void {
  let next = 0;
  for (const partition of manifest.partitions) {
    partition.operations.forEach((op, i) => {
      if (op.dataLength === undefined || op.dataLength === 0) return;
      const where = `${printable(partition.name ?? "")} operation ${i}`;
      if (op.dataOffset !== next && !(op.dataOffset === undefined && next === 0)) {
        throw bad("the operation's data does not follow that of the one before", where, next, op.dataOffset ?? 0);
      }
      next += op.dataLength;
      if (next > dataSize) throw bad("the operation's data reaches past the end", where, `at most ${dataSize}`, next);
    });
  }
  const { signaturesOffset, signaturesSize } = manifest;
  if ((signaturesOffset === undefined) !== (signaturesSize === undefined)) {
    throw bad("the payload signature has only an offset or only a size", "manifest");
  }
  if (signaturesSize !== undefined && signaturesSize > 0) {
    if (signaturesOffset !== next)
      throw bad("the payload signature does not follow the data", "manifest", next, signaturesOffset);
    next += signaturesSize;
  }
  if (next !== dataSize) {
    throw bad(
      next > dataSize ? "the payload is cut short" : "bytes of the payload belong to nothing",
      `data ${hexOffset(Math.min(next, dataSize))}`,
      `${next} bytes`,
      dataSize,
    );
  }
}

/** Whether a manifest is one of a delta: it names old partitions, or updates only some. */
export function isDeltaManifest(manifest: Manifest): boolean {
  return manifest.partialUpdate === true || manifest.partitions.some((p) => p.oldInfo !== undefined);
}

/**
 * Checks everything a manifest says against itself.
 * @param dataSize bytes behind the metadata signature
 * @throws OtaError ANDROID_PAYLOAD, ANDROID_PAYLOAD_VERSION
 */
export function checkManifest(manifest: Manifest, dataSize: number): void {
  const { blockSize = 4096, minorVersion = 0 } = manifest;
  if (blockSize < 512 || blockSize > 65536 || !Number.isInteger(Math.log2(blockSize))) {
    throw bad("the block size is none", "manifest", "a power of two from 512 to 65536", blockSize);
  }
  const isDelta = isDeltaManifest(manifest);
  if (isDelta ? minorVersion < MINORS[0] || minorVersion > MINORS[1] : minorVersion !== 0) {
    throw new OtaError("ANDROID_PAYLOAD_VERSION", {
      what: `a ${isDelta ? "delta" : "full"} payload of an unknown minor version`,
      where: "manifest",
      expected: isDelta ? `${MINORS[0]} to ${MINORS[1]}` : 0,
      found: minorVersion,
    });
  }
  const names = new Set<string | undefined>();
  for (const partition of manifest.partitions) {
    if (names.has(partition.name)) throw bad("a partition stands twice", printable(partition.name ?? ""));
    names.add(partition.name);
    checkPartition(partition, { ...manifest, blockSize }, isDelta);
  }
  if (names.size === 0) throw bad("the payload updates no partition", "manifest");
  checkData(manifest, dataSize);
}
