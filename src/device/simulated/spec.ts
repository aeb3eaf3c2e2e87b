/** What a simulated device is made of. Plain data (structured clone), so that worker threads make the same device again. */

export interface SimulatedNode {
  readonly kind: "block" | "nand" | "nor";
  /** Bytes; default: those of `content`. */
  readonly size?: number;
  /** What the node holds at first; behind it zeros (block) or 0xff (flash). */
  readonly content?: Uint8Array;
  /** Flash: bytes of an erase block, default 131072 (nand), 65536 (nor). */
  readonly eraseSize?: number;
  /** Flash: bytes of a page, default 2048 (nand), 1 (nor). */
  readonly writeSize?: number;
  /** NAND: numbers of bad erase blocks. */
  readonly badBlocks?: readonly number[];
  /** Block: unit that a power cut never splits, default 512. */
  readonly sectorSize?: number;
}

export interface SimulatedVolume {
  /** Default: `vol` and the number in the node's name. */
  readonly name?: string;
  readonly size: number;
  readonly content?: Uint8Array;
  readonly type?: "static" | "dynamic";
  /** An update was begun and not finished. */
  readonly updating?: boolean;
}

export interface SimulatedFile {
  readonly kind?: "file" | "folder" | "link";
  readonly content?: Uint8Array;
  /** Text of a symbolic link. */
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly selinuxLabel?: string;
  readonly capabilities?: bigint;
}

export interface SimulatedFileSystem {
  /** Room for file content in bytes, default 1 GiB. */
  readonly capacityBytes?: number;
  /** A tmpfs: forgotten at every power cut. */
  readonly volatile?: boolean;
  /** Node, as scripts name it. */
  readonly node?: string;
  readonly fsType?: string;
  readonly readOnly?: boolean;
  /** Why it cannot be mounted; absent: it can. */
  readonly unreadable?: string;
  /** Whether it is mounted when the device starts, default true. */
  readonly mounted?: boolean;
}

export interface SimulatedSpec {
  readonly hardware?: string;
  readonly running?: "a" | "b";
  readonly nodes?: Readonly<Record<string, SimulatedNode>>;
  /** UBI volumes by node (`/dev/ubi0_1`). */
  readonly ubi?: Readonly<Record<string, SimulatedVolume>>;
  /** Room for more volumes on each UBI device, default 0. */
  readonly ubiFreeBytes?: number;
  /** Files by path; a text stands for a file with that content, missing folders are made. */
  readonly files?: Readonly<Record<string, string | Uint8Array | SimulatedFile>>;
  /** File systems by the folder they are mounted at; `/` is always there. */
  readonly fileSystems?: Readonly<Record<string, SimulatedFileSystem>>;
  readonly properties?: Readonly<Record<string, string>>;
  /** State left by earlier runs: file names and contents. */
  readonly state?: Readonly<Record<string, string | Uint8Array>>;
}
