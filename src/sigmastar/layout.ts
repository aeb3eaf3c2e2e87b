/**
 * The binary layouts of SigmaStar OTA packages, one table per structure and generation (specification sections 2.1 to 2.3).
 *
 * v0.3 follows the specification only: no vendor program of that generation was available to test against.
 * Not handled here: integrity values (`integrity.ts`), reading (`read.ts`) and writing (`pack.ts`).
 */
import { array, layout, raw, s32, text, u32, u64 } from "../core/layout.ts";
import type { FieldNotes } from "../core/layout.ts";

/** The generations this room reads and writes, oldest first. */
export const GENERATIONS = Object.freeze(["v0.2", "v0.3", "v0.4", "v1.6"] as const);

export type Generation = (typeof GENERATIONS)[number];

const H = "section 2.1";
const R = "section 2.2";
const I = "section 2.4";

const n = {
  headerCheckSum: { meaning: "sum of all following header bytes and both scripts", source: I, hex: true },
  verMajor: { meaning: "major version", source: H },
  verMinor: { meaning: "minor version", source: H },
  blkCount: { meaning: "number of records", source: H },
  totalSize: { meaning: "sum of the payload sizes of all records", unit: "bytes", source: H },
  begin: { meaning: "size of the begin script", unit: "bytes", source: H },
  end: { meaning: "size of the end script", unit: "bytes", source: H },
  fileSize: { meaning: "size of the payload", unit: "bytes", source: R },
  dstFilePath: { meaning: "destination, as given with -d", source: R },
  dstFileSize: { meaning: "size of the destination, 0 when not given", unit: "bytes", source: R },
  mode: { meaning: "file mode", source: R, hex: true },
  fileCheckSum: { meaning: "sum of all payload bytes; 0 for a delete record", source: I, hex: true },
  opt: { meaning: "operation: see the table of operations", source: "section 2.3" },
  padding: { meaning: "zero", source: H },
} as const satisfies Record<string, FieldNotes>;

export const HEADER_V02 = layout("header v0.2", 20, {
  headerCheckSum: u32(0, n.headerCheckSum),
  blkCount: u32(4, n.blkCount),
  totalSize: u32(8, n.totalSize),
  beginShFileSize: u32(12, n.begin),
  endShFileSize: u32(16, n.end),
});

export const HEADER_V03 = layout("header v0.3", 28, {
  headerCheckSum: u32(0, n.headerCheckSum),
  verMajor: u32(4, n.verMajor),
  verMinor: u32(8, n.verMinor),
  blkCount: u32(12, n.blkCount),
  totalSize: u32(16, n.totalSize),
  beginShFileSize: u32(20, n.begin),
  endShFileSize: u32(24, n.end),
});

export const HEADER_V04 = layout("header v0.4", 32, {
  headerCheckSum: u32(0, n.headerCheckSum),
  verMajor: u32(4, n.verMajor),
  verMinor: u32(8, n.verMinor),
  blkCount: u32(12, n.blkCount),
  totalSize: u64(16, n.totalSize),
  beginShFileSize: u32(24, n.begin),
  endShFileSize: u32(28, n.end),
});

export const HEADER_V16 = layout("header v1.6", 128, {
  fileHeaderMd5: raw(0, 16, { meaning: "MD5 of header bytes 16 to 127", source: I }),
  scriptFileMd5: raw(16, 16, { meaning: "MD5 of the begin script followed by the end script", source: I }),
  verMajor: u32(32, n.verMajor),
  verMinor: u32(36, n.verMinor),
  blkCount: u32(40, n.blkCount),
  padding: u32(44, n.padding),
  totalSize: u64(48, n.totalSize),
  beginShFileSize: u32(56, n.begin),
  endShFileSize: u32(60, n.end),
  packGitCommit: text(64, 64, { meaning: "build id of the packer", source: H }),
});

/** Record head of v0.2 and v0.3. */
export const RECORD_V02 = layout("record v0.2", 276, {
  fileSize: u32(0, n.fileSize),
  dstFilePath: text(4, 256, n.dstFilePath),
  dstFileSize: u32(260, n.dstFileSize),
  mode: u32(264, n.mode),
  fileCheckSum: u32(268, n.fileCheckSum),
  opt: u32(272, n.opt),
});

export const RECORD_V04 = layout("record v0.4", 288, {
  fileSize: u64(0, n.fileSize),
  dstFilePath: text(8, 256, n.dstFilePath),
  dstFileSize: u64(264, n.dstFileSize),
  mode: u32(272, n.mode),
  fileCheckSum: u32(276, n.fileCheckSum),
  opt: u32(280, n.opt),
  padding: u32(284, n.padding),
});

/** Destinations (and masks) a v1.6 record can have. */
export const MAX_DESTINATIONS = 16;

export const RECORD_V16 = layout("record v1.6", 1640, {
  fileMd5: raw(0, 16, { meaning: "MD5 of the rest of the record head followed by the payload", source: I }),
  fileSize: u64(16, n.fileSize),
  srcFileName: text(24, 512, { meaning: "name of the source file", source: "section 3.4" }),
  dstFilePath: text(536, 512, { ...n.dstFilePath, meaning: "destinations separated by spaces, as given with -d" }),
  userLog: text(1048, 512, { meaning: "text of -l", source: R }),
  dstFileSize: u64(1560, n.dstFileSize),
  mode: u32(1568, n.mode),
  defMask: array(1572, MAX_DESTINATIONS, s32, {
    meaning: "default mask of each destination, 1 when not given",
    source: "section 3.3",
  }),
  opt: u32(1636, n.opt),
});

/** What a record does: the values of `opt` (section 2.3). */
export const OPERATIONS = Object.freeze([
  { opt: 0, name: "BLK_UPDATE", option: "block-update", does: "write a raw image onto a block device or flash" },
  { opt: 1, name: "UBI_UPDATE", option: "ubi-update", does: "replace the content of a UBI volume" },
  { opt: 2, name: "FILE_UPDATE", option: "file-update", does: "replace the content of an existing file" },
  { opt: 3, name: "FILE_ADD", option: "file-add", does: "make a file, with its missing parent folders" },
  { opt: 4, name: "FILE_DELETE", option: "file-delete", does: "remove a file" },
  { opt: 5, name: "FILE_DIFF", option: "file-update-diff", does: "patch a file or raw image with BSDIFF40" },
  { opt: 6, name: "SCRIPT_EXEC", option: "script-add", does: "run a shell script" },
] as const);

export type OperationName = (typeof OPERATIONS)[number]["name"];

/** `opt` by name. */
export const OPT = Object.freeze({
  BLK_UPDATE: 0,
  UBI_UPDATE: 1,
  FILE_UPDATE: 2,
  FILE_ADD: 3,
  FILE_DELETE: 4,
  FILE_DIFF: 5,
  SCRIPT_EXEC: 6,
} as const) satisfies Readonly<Record<OperationName, number>>;

/** The header of any generation. Fields a generation lacks are absent. */
export interface PackageHeader {
  readonly generation: Generation;
  readonly recordCount: number;
  /** Sum of all payload sizes, bytes. */
  readonly totalSize: number;
  readonly beginScriptSize: number;
  readonly endScriptSize: number;
  /** v0.x: sum over header and scripts. */
  readonly checkSum?: number;
  /** v1.6. */
  readonly headerMd5?: Uint8Array;
  /** v1.6: over both scripts. */
  readonly scriptMd5?: Uint8Array;
  /** v1.6: build id of the packer. */
  readonly buildId?: string;
}

/** The head of a record of any generation. Fields a generation lacks are absent. */
export interface RecordHead {
  readonly opt: number;
  /** Payload size, bytes. */
  readonly fileSize: number;
  /** Text of `-d`; v1.6: several destinations separated by spaces. */
  readonly destination: string;
  /** Declared size of the destination, bytes; 0 when not given. */
  readonly destinationSize: number;
  /** As stored: add and script records hold the full `st_mode` (0o100640). */
  readonly mode: number;
  /** v0.x: sum of the payload bytes. */
  readonly checkSum?: number;
  /** v1.6: over the rest of the head and the payload. */
  readonly md5?: Uint8Array;
  readonly sourceName?: string;
  readonly log?: string;
  /** v1.6: 16 masks, one a destination. */
  readonly masks?: readonly number[];
}

/** Everything that differs between the generations. */
export interface GenerationFormat {
  readonly generation: Generation;
  readonly headerSize: number;
  readonly recordSize: number;
  readonly integrity: "sum" | "md5";
  /** Whether script records (opt 6) exist. */
  readonly scriptRecords: boolean;
  /** Bytes of the destination field; the longest text is one less. */
  readonly destinationBytes: number;
  /** Largest value of fileSize and totalSize. */
  readonly maxSize: number;
  readonly header: typeof HEADER_V02 | typeof HEADER_V03 | typeof HEADER_V04 | typeof HEADER_V16;
  readonly record: typeof RECORD_V02 | typeof RECORD_V04 | typeof RECORD_V16;
  decodeHeader(bytes: Uint8Array): PackageHeader;
  encodeHeader(header: PackageHeader): Uint8Array;
  decodeRecord(bytes: Uint8Array): RecordHead;
  encodeRecord(head: RecordHead): Uint8Array;
}

const U32_MAX = 0xffffffff;
const NO_DIGEST = new Uint8Array(16);

function counts(h: { blkCount: number; totalSize: number; beginShFileSize: number; endShFileSize: number }) {
  return {
    recordCount: h.blkCount,
    totalSize: h.totalSize,
    beginScriptSize: h.beginShFileSize,
    endScriptSize: h.endShFileSize,
  };
}

function fields(h: PackageHeader) {
  return {
    headerCheckSum: h.checkSum ?? 0,
    blkCount: h.recordCount,
    totalSize: h.totalSize,
    beginShFileSize: h.beginScriptSize,
    endShFileSize: h.endScriptSize,
  };
}

type SumRecord = {
  fileSize: number;
  dstFilePath: string;
  dstFileSize: number;
  mode: number;
  fileCheckSum: number;
  opt: number;
};

function fromSumRecord(r: SumRecord): RecordHead {
  return {
    opt: r.opt,
    fileSize: r.fileSize,
    destination: r.dstFilePath,
    destinationSize: r.dstFileSize,
    mode: r.mode,
    checkSum: r.fileCheckSum,
  };
}

function toSumRecord(h: RecordHead): SumRecord {
  return {
    fileSize: h.fileSize,
    dstFilePath: h.destination,
    dstFileSize: h.destinationSize,
    mode: h.mode,
    fileCheckSum: h.checkSum ?? 0,
    opt: h.opt,
  };
}

const V02: GenerationFormat = {
  generation: "v0.2",
  headerSize: HEADER_V02.size,
  recordSize: RECORD_V02.size,
  integrity: "sum",
  scriptRecords: false,
  destinationBytes: 256,
  maxSize: U32_MAX,
  header: HEADER_V02,
  record: RECORD_V02,
  decodeHeader(bytes) {
    const h = HEADER_V02.decode(bytes);
    return { generation: "v0.2", ...counts(h), checkSum: h.headerCheckSum };
  },
  encodeHeader: (h) => HEADER_V02.encode(fields(h)),
  decodeRecord: (bytes) => fromSumRecord(RECORD_V02.decode(bytes)),
  encodeRecord: (h) => RECORD_V02.encode(toSumRecord(h)),
};

const V03: GenerationFormat = {
  ...V02,
  generation: "v0.3",
  headerSize: HEADER_V03.size,
  scriptRecords: true,
  header: HEADER_V03,
  decodeHeader(bytes) {
    const h = HEADER_V03.decode(bytes);
    return { generation: "v0.3", ...counts(h), checkSum: h.headerCheckSum };
  },
  encodeHeader: (h) => HEADER_V03.encode({ ...fields(h), verMajor: 0, verMinor: 3 }),
};

const V04: GenerationFormat = {
  generation: "v0.4",
  headerSize: HEADER_V04.size,
  recordSize: RECORD_V04.size,
  integrity: "sum",
  scriptRecords: true,
  destinationBytes: 256,
  maxSize: Number.MAX_SAFE_INTEGER,
  header: HEADER_V04,
  record: RECORD_V04,
  decodeHeader(bytes) {
    const h = HEADER_V04.decode(bytes);
    return { generation: "v0.4", ...counts(h), checkSum: h.headerCheckSum };
  },
  encodeHeader: (h) => HEADER_V04.encode({ ...fields(h), verMajor: 0, verMinor: 4 }),
  decodeRecord: (bytes) => fromSumRecord(RECORD_V04.decode(bytes)),
  encodeRecord: (h) => RECORD_V04.encode({ ...toSumRecord(h), padding: 0 }),
};

const V16: GenerationFormat = {
  generation: "v1.6",
  headerSize: HEADER_V16.size,
  recordSize: RECORD_V16.size,
  integrity: "md5",
  scriptRecords: true,
  destinationBytes: 512,
  maxSize: Number.MAX_SAFE_INTEGER,
  header: HEADER_V16,
  record: RECORD_V16,
  decodeHeader(bytes) {
    const h = HEADER_V16.decode(bytes);
    return {
      generation: "v1.6",
      ...counts(h),
      headerMd5: h.fileHeaderMd5,
      scriptMd5: h.scriptFileMd5,
      buildId: h.packGitCommit,
    };
  },
  encodeHeader: (h) =>
    HEADER_V16.encode({
      ...fields(h),
      fileHeaderMd5: h.headerMd5 ?? NO_DIGEST,
      scriptFileMd5: h.scriptMd5 ?? NO_DIGEST,
      verMajor: 1,
      verMinor: 6,
      padding: 0,
      packGitCommit: h.buildId ?? "",
    }),
  decodeRecord(bytes) {
    const r = RECORD_V16.decode(bytes);
    return {
      opt: r.opt,
      fileSize: r.fileSize,
      destination: r.dstFilePath,
      destinationSize: r.dstFileSize,
      mode: r.mode,
      md5: r.fileMd5,
      sourceName: r.srcFileName,
      log: r.userLog,
      masks: r.defMask,
    };
  },
  encodeRecord: (h) =>
    RECORD_V16.encode({
      fileMd5: h.md5 ?? NO_DIGEST,
      fileSize: h.fileSize,
      srcFileName: h.sourceName ?? "",
      dstFilePath: h.destination,
      userLog: h.log ?? "",
      dstFileSize: h.destinationSize,
      mode: h.mode,
      defMask: h.masks ?? Array.from({ length: MAX_DESTINATIONS }, () => 1),
      opt: h.opt,
    }),
};

/** The formats by generation. */
export const FORMATS: Readonly<Record<Generation, GenerationFormat>> = Object.freeze({
  "v0.2": V02,
  "v0.3": V03,
  "v0.4": V04,
  "v1.6": V16,
});

/** One target of a record. */
export interface Destination {
  readonly path: string;
  /** Default mask; always 1 before v1.6. 0 means: skip unless asked for. */
  readonly mask: number;
}

/**
 * The targets of a record: v1.6 splits the text at spaces (runs count once) and pairs it with the masks; a delete, folder or
 * older record has exactly one. Parts beyond the sixteenth get mask 1 here and are refused by the reader.
 */
export function destinationsOf(generation: Generation, head: RecordHead): Destination[] {
  if (generation !== "v1.6") return head.destination === "" ? [] : [{ path: head.destination, mask: 1 }];
  const parts = head.destination.split(" ").filter((part) => part !== "");
  return parts.map((path, i) => ({ path, mask: head.masks?.[i] ?? 1 }));
}

/** Name and meaning of an `opt` value; undefined for values no packer writes. */
export function operationOf(opt: number): (typeof OPERATIONS)[number] | undefined {
  return OPERATIONS[opt];
}
