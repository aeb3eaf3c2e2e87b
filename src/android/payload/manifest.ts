/** The messages of a payload (formats/android.md 8.1): manifest, partitions, operations, signatures. */
import {
  BOOL,
  BYTES,
  encodeMessage,
  field,
  FIXED32,
  I64,
  listOf,
  message,
  nested,
  nestedList,
  TEXT,
  U32,
  U64,
  type MessageValue,
  type Scalar,
} from "./proto.ts";

/** Start block of an extent that lies nowhere: reads as zeros, and what is written there is dropped. On the wire 2^64-1. */
export const SPARSE_HOLE = -1;
const HOLE_ON_WIRE = 0xffffffffffffffffn;

const START_BLOCK: Scalar<number> = {
  name: "u64",
  wire: U64.wire,
  read(reader) {
    const at = reader.pos;
    if (BigInt(reader.uint64()) === HOLE_ON_WIRE) return SPARSE_HOLE;
    reader.pos = at;
    return U64.read(reader);
  },
  write: (writer, v) => void writer.uint64(v === SPARSE_HOLE ? HOLE_ON_WIRE : v),
};

export const EXTENT = message("Extent", {
  startBlock: field(1, START_BLOCK, "first block, or SPARSE_HOLE"),
  numBlocks: field(2, U64, "blocks"),
});
/** Blocks of a partition, one behind the other. */
export type Extent = MessageValue<typeof EXTENT>;

export const OPERATION = message("InstallOperation", {
  type: field(1, U32, "what is done, see OPERATION_TYPES"),
  dataOffset: field(2, U64, "where its data begin, from the end of the metadata signature, bytes"),
  dataLength: field(3, U64, "size of its data, bytes"),
  srcExtents: nestedList(4, EXTENT, "blocks of the old partition it reads, in this order"),
  srcLength: field(5, U64, "bytes of the source that are used; minor versions up to 3 only"),
  dstExtents: nestedList(6, EXTENT, "blocks of the new partition it writes, in this order"),
  dstLength: field(7, U64, "bytes of the result; minor versions up to 3 only"),
  dataSha256: field(8, BYTES, "SHA-256 of its data"),
  srcSha256: field(9, BYTES, "SHA-256 of the source blocks"),
});
export type Operation = MessageValue<typeof OPERATION>;

export const PARTITION_INFO = message("PartitionInfo", {
  size: field(1, U64, "size of the partition's content, bytes"),
  sha256: field(2, BYTES, "its SHA-256"),
});
export type PartitionInfo = MessageValue<typeof PARTITION_INFO>;

export const SIGNATURE = message("Signature", {
  version: field(1, U32, "unused"),
  data: field(2, BYTES, "signature value, perhaps with padding behind it"),
  unpaddedSize: field(3, FIXED32, "size of the value without padding, bytes"),
});
export const SIGNATURES = message("Signatures", {
  signatures: nestedList(1, SIGNATURE, "one of them has to verify"),
});
export type Signatures = MessageValue<typeof SIGNATURES>;

export const MERGE_OPERATION = message("CowMergeOperation", {
  type: field(1, U32, "0 COPY, 1 XOR, 2 REPLACE"),
  srcExtent: nested(2, EXTENT, "blocks it comes from"),
  dstExtent: nested(3, EXTENT, "blocks it goes to"),
  srcOffset: field(4, U32, "bytes the source begins inside its first block"),
});

export const PARTITION = message("PartitionUpdate", {
  name: field(1, TEXT, "name without slot suffix"),
  runPostinstall: field(2, BOOL, "a program of the new partition is run before the slots change"),
  postinstallPath: field(3, TEXT, "its path in the partition"),
  filesystemType: field(4, TEXT, "how the partition is mounted for it"),
  newPartitionSignatures: nestedList(5, SIGNATURE, "unused"),
  oldInfo: nested(6, PARTITION_INFO, "the partition a delta was made for; absent in full payloads"),
  newInfo: nested(7, PARTITION_INFO, "the partition afterwards"),
  operations: nestedList(8, OPERATION, "in the order of their data"),
  postinstallOptional: field(9, BOOL, "the update goes on when that program fails"),
  hashTreeDataExtent: nested(10, EXTENT, "blocks the verity hash tree covers"),
  hashTreeExtent: nested(11, EXTENT, "where the device writes the tree"),
  hashTreeAlgorithm: field(12, TEXT, "sha1 or sha256"),
  hashTreeSalt: field(13, BYTES, "salt of the tree"),
  fecDataExtent: nested(14, EXTENT, "blocks the error correction covers"),
  fecExtent: nested(15, EXTENT, "where the device writes it"),
  fecRoots: field(16, U32, "parity bytes per code word, 2 when absent"),
  version: field(17, TEXT, "version of this partition, for partial updates"),
  mergeOperations: nestedList(18, MERGE_OPERATION, "how virtual A/B merges the snapshot"),
  estimateCowSize: field(19, U64, "room the snapshot needs, bytes"),
  estimateOpCountMax: field(20, U64, "operations of the snapshot"),
});
export type PartitionUpdate = MessageValue<typeof PARTITION>;

/** Bytes of a partition's description, the same for the same content. */
export function encodePartition(partition: PartitionUpdate): Uint8Array {
  return encodeMessage(PARTITION, partition);
}

export const PARTITION_GROUP = message("DynamicPartitionGroup", {
  name: field(1, TEXT, "name without slot suffix"),
  size: field(2, U64, "most its partitions may take together, bytes"),
  partitionNames: listOf(3, TEXT, "its partitions"),
});
export const VABC_FEATURE_SET = message("VABCFeatureSet", {
  threaded: field(1, BOOL, "snapshots are compressed on threads"),
  batchWrites: field(2, BOOL, "snapshots are written in batches"),
});
export const DYNAMIC_PARTITIONS = message("DynamicPartitionMetadata", {
  groups: nestedList(1, PARTITION_GROUP, "groups of the super partition"),
  snapshotEnabled: field(2, BOOL, "virtual A/B"),
  vabcEnabled: field(3, BOOL, "virtual A/B with compressed snapshots"),
  vabcCompression: field(4, TEXT, "how they are compressed"),
  cowVersion: field(5, U32, "format of the snapshot"),
  vabcFeatureSet: nested(6, VABC_FEATURE_SET, "how snapshots are written"),
  compressionFactor: field(7, U64, "bytes compressed at once"),
});

export const APEX_INFO = message("ApexInfo", {
  packageName: field(1, TEXT, "name of the module"),
  version: field(2, I64, "its version"),
  isCompressed: field(3, BOOL, "the device unpacks it once"),
  decompressedSize: field(4, I64, "room that takes, bytes"),
});

export const MANIFEST = message("DeltaArchiveManifest", {
  blockSize: field(3, U32, "bytes of a block, 4096"),
  signaturesOffset: field(4, U64, "where the payload signature lies among the data, bytes"),
  signaturesSize: field(5, U64, "its size, bytes"),
  minorVersion: field(12, U32, "0 full, 2 to 9 delta"),
  partitions: nestedList(13, PARTITION, "what is updated, in this order"),
  maxTimestamp: field(14, I64, "build time, seconds since 1970: a newer system refuses the payload"),
  dynamicPartitions: nested(15, DYNAMIC_PARTITIONS, "layout of the super partition"),
  partialUpdate: field(16, BOOL, "only some partitions of the device are named"),
  apexInfo: nestedList(17, APEX_INFO, "modules the new system holds"),
  securityPatchLevel: field(18, TEXT, "date of the new system's security patches"),
});
export type Manifest = MessageValue<typeof MANIFEST>;
