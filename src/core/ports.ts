/**
 * The ports: everything of the outside world that formats and installers may touch.
 *
 * An installer never knows which device it runs on. `device/` implements these three times (board, image, simulated); what a
 * real board does, what the tests do on a card image and what the rehearsal cuts is the same installer code.
 *
 * All offsets and sizes are bytes, exact to 2^53-1. Failures are OtaError with a DEVICE_* code.
 */

/** Something of known size that can be read anywhere. */
export interface RandomReader {
  readonly size: number;
  /** Exactly `length` bytes at `offset`. The array may be reused by nobody. @throws OtaError READ_PAST_END, DEVICE_IO */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Fills the caller's array with what stands at `offset`, where a reader can: long reads then leave no garbage behind. */
  readInto?(offset: number, out: Uint8Array): Promise<void>;
}

/** A stream of bytes in order. Chunks are of any size and never empty. */
export type ByteStream = AsyncIterable<Uint8Array>;

/** Running digest. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** The digest; the object is finished with it. */
  digest(): Uint8Array;
}

export type DigestName = "md5" | "sha1" | "sha256" | "sha512";

/** Digests and checksums, native where there are any. */
export interface Digests {
  create(name: DigestName): Digest;
  /** CRC-32 of zlib; `crc` continues an earlier value. */
  crc32(bytes: Uint8Array, crc?: number): number;
}

/** A raw target: a partition, a card, a flash. Writes may stay in a cache until {@link BlockTarget.flush}. */
export interface BlockTarget extends RandomReader {
  readonly path: string;
  /** Flash: bytes of one erase block. Absent on block devices. */
  readonly eraseSize?: number;
  /** Flash: smallest unit a write may start and end at, bytes. */
  readonly writeSize?: number;
  /** Writes all bytes at `offset`. On flash the range must have been erased since it was last written. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Flash only: erases whole erase blocks. */
  erase?(offset: number, length: number): Promise<void>;
  /** NAND only: whether the erase block at `offset` is bad. */
  isBad?(offset: number): Promise<boolean>;
  /** NAND only: marks the erase block at `offset` bad for ever. */
  markBad?(offset: number): Promise<void>;
  /** After it everything written is on the medium. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Compression the toolkit borrows. All of it streams with bounded memory; malformed input is OtaError CODEC_DAMAGED,
 * output beyond `maxBytes` is CODEC_BOMB.
 */
export interface Codecs {
  /** Raw deflate (zip method 8). Ends at the end of the deflate stream; bytes behind it are CODEC_DAMAGED. */
  inflateRaw(input: ByteStream, maxBytes: number): ByteStream;
  /** One or more gzip members, as gunzip reads them; a cut member and trailing garbage are CODEC_DAMAGED. */
  gunzip(input: ByteStream, maxBytes: number): ByteStream;
  /** One reproducible gzip member: no name, no time. `level` 1 to 9, default 9. */
  gzip(input: ByteStream, level?: number): ByteStream;
  /** Raw deflate whose exact bytes do not matter. */
  deflateRaw(input: ByteStream, level?: number): ByteStream;
  brotliDecompress(input: ByteStream, maxBytes: number): ByteStream;
  brotliCompress(input: ByteStream): ByteStream;
  xzDecompress(input: ByteStream, maxBytes: number): ByteStream;
}

export type NodeKind = "block" | "nand" | "nor" | "ubi" | "file";

export interface NodeInfo {
  readonly kind: NodeKind;
  readonly size: number;
  readonly eraseSize?: number;
  readonly writeSize?: number;
}

/** The raw nodes of a device (`/dev/mtd4`, `/dev/mmcblk0p5`, `/dev/ubi0_1`). */
export interface NodeStore {
  /** What a path is; undefined when there is no such node. */
  info(path: string): Promise<NodeInfo | undefined>;
  /** @throws OtaError DEVICE_NOT_FOUND, DEVICE_READ_ONLY, DEVICE_BUSY */
  open(path: string, access: "read" | "write"): Promise<BlockTarget>;
}

export type FileKind = "file" | "folder" | "link" | "other";

export interface FileInfo {
  readonly kind: FileKind;
  readonly size: number;
  /** Permission bits with set-uid, set-gid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
}

export interface OpenFile extends RandomReader {
  /** Writes all bytes at `offset`, extending the file when needed. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  truncate(size: number): Promise<void>;
  /** After it the content and size are on the medium. The file's name needs {@link FileStore.syncFolder} as well. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * How a file is opened. `read`; `update`: existing file, read and write, no truncation; `create`: new or emptied;
 * `create-new`: must not exist.
 */
export type OpenMode = "read" | "update" | "create" | "create-new";

/** Owner, label and capabilities, which some families keep beside the mode. Absent fields stay as they are. */
export interface FileAttributes {
  readonly uid?: number;
  readonly gid?: number;
  readonly mode?: number;
  readonly selinuxLabel?: string;
  /** Linux capability bits of `security.capability`; 0n takes the attribute away. */
  readonly capabilities?: bigint;
  /** Time of the last change, ms since 1970. */
  readonly mtimeMs?: number;
}

/**
 * Files of the device. Paths are absolute in the device (`/system/bin/sh`), with `/` between parts. No operation follows a
 * symbolic link, in the last part or before it, unless it says so: a planted link is DEVICE_LINK_REFUSED.
 */
export interface FileStore {
  /** Like `lstat`; undefined when nothing is there. */
  stat(path: string): Promise<FileInfo | undefined>;
  /** Names in a folder, ascending byte order, without `.` and `..`. */
  list(path: string): Promise<string[]>;
  /** `mode`: permissions of a file that is made, default 0o644. */
  open(path: string, how: OpenMode, mode?: number): Promise<OpenFile>;
  /** Makes a folder and its missing parents; one that is there already is left as it is. */
  makeFolder(path: string, mode?: number): Promise<void>;
  /** Atomic; replaces a file at `to`. Durable after {@link FileStore.syncFolder} of both folders. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, link or empty folder. @throws OtaError DEVICE_NOT_FOUND */
  remove(path: string): Promise<void>;
  readLink(path: string): Promise<string>;
  /** Makes a symbolic link at `path`; the text is stored as it is. */
  makeLink(path: string, text: string): Promise<void>;
  /** Makes a second name for a file. */
  makeHardLink(existing: string, path: string): Promise<void>;
  setAttributes(path: string, attributes: FileAttributes): Promise<void>;
  /** Attributes kept for `path`, with those an image device holds beside its files. */
  attributes(path: string): Promise<FileAttributes>;
  /** After it names made, removed and renamed in the folder are on the medium. */
  syncFolder(path: string): Promise<void>;
  /** Free bytes for a file at `path`, and whether the file system forgets them at a power cut (tmpfs, ramfs). */
  space(path: string): Promise<{ readonly freeBytes: number; readonly volatile: boolean }>;
}

export interface UbiVolumeInfo {
  readonly name: string;
  readonly volumeId: number;
  /** Bytes the volume can hold. */
  readonly size: number;
  readonly type: "static" | "dynamic";
  /** An update was begun and not finished: reads fail until a whole update has been written. */
  readonly updating: boolean;
  /** Free bytes of the UBI device for another volume. */
  readonly availableBytes: number;
}

/** UBI volumes (`/dev/ubi0_1`), with the kernel's rules: an update cut in the middle leaves the volume unreadable. */
export interface UbiVolumes {
  info(path: string): Promise<UbiVolumeInfo | undefined>;
  /** Replaces the whole content. `size` must be the number of bytes `content` delivers. */
  update(path: string, size: number, content: ByteStream): Promise<void>;
  /** Makes a volume beside `path` on the same UBI device; gives its node. @throws OtaError DEVICE_NO_SPACE */
  create(beside: string, name: string, size: number): Promise<string>;
  remove(path: string): Promise<void>;
  /** Atomically exchanges the names of two volumes of one UBI device; nodes keep their content. */
  swapNames(a: string, b: string): Promise<void>;
  /** Opens the content for reading. */
  open(path: string): Promise<RandomReader & { close(): Promise<void> }>;
}

export interface ScriptRun {
  /** What the script is, for logs: `begin script`, `record 3 kernel_otaenv.sh`. */
  readonly name: string;
  /** Text given to `sh` on standard input. */
  readonly text: Uint8Array;
  /** Variables, both in the environment and set in the shell. */
  readonly variables: Readonly<Record<string, string>>;
}

export interface ScriptResult {
  /** False when the device only notes scripts (image device without `--run-scripts`, simulated device). */
  readonly ran: boolean;
  readonly exitCode: number;
}

export interface ScriptRunner {
  run(script: ScriptRun): Promise<ScriptResult>;
}

/** System properties (`ro.product.device`). */
export interface Properties {
  get(name: string): Promise<string | undefined>;
}

export interface MountInfo {
  /** Folder it is mounted at. */
  readonly at: string;
  /** The node, as scripts name it. */
  readonly node: string;
  readonly fsType?: string;
  readonly readOnly: boolean;
}

export interface Mounts {
  list(): Promise<readonly MountInfo[]>;
  mount(node: string, at: string, options: { fsType: string; flags?: string }): Promise<void>;
  unmount(at: string): Promise<void>;
  /**
   * The file system that the device has on `node`, mounted or not, and whether it can be mounted for writing; undefined: there is
   * none. Absent: a node that is there may hold one.
   */
  known?(node: string): Promise<{ readonly readOnly: boolean } | undefined>;
  /**
   * Makes an empty file system on a node that is not mounted. `sizeBytes`: its size when it is not the whole node. A mount
   * that is a folder is emptied. Absent: this device makes no file systems.
   */
  format?(node: string, options: { readonly fsType: string; readonly sizeBytes?: number }): Promise<void>;
}

export interface Clock {
  /** Milliseconds since 1970; may be wrong on a board. Never a reason to refuse a package. */
  nowMs(): number;
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number;
}

/** What stops work early; an `AbortSignal` fits. */
export interface Cancel {
  readonly aborted: boolean;
}

/** One step of progress. Byte counts never run backwards inside a phase. */
export interface ProgressEvent {
  /** What is going on: `verify`, `write`, `read back` …; names of phases are the room's own. */
  readonly phase: string;
  /** Item being worked on: a destination, a part. */
  readonly item?: string;
  /** 1-based number of the item and how many there are. */
  readonly index?: number;
  readonly count?: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface ProgressSink {
  progress(event: ProgressEvent): void;
  /** A line for the log: what was noted, skipped, warned about. */
  note(level: "info" | "warning", text: string): void;
}

/** Everything an installer may touch. */
export interface Device {
  readonly kind: "board" | "image" | "simulated";
  /** Text compared with the package's hardware name, where it has one. */
  readonly hardware?: string;
  /** The running slot, where the description declares it. */
  readonly running?: "a" | "b";
  readonly nodes: NodeStore;
  readonly files: FileStore;
  readonly ubi: UbiVolumes;
  readonly scripts: ScriptRunner;
  readonly properties: Properties;
  readonly mounts: Mounts;
  readonly clock: Clock;
  readonly digests: Digests;
  readonly codecs: Codecs;
  /** Journals, counters and version floors: files of their own, never on a target. Paths begin at `/`. */
  readonly state: FileStore;
  /** A text that changes with every boot; undefined where every command is a new boot. */
  bootId(): Promise<string | undefined>;
}
