/** What a package for Android is asked for, and what comes of it. */
import type { Cancel, ProgressSink } from "../core/ports.ts";
import type { SigningRequest } from "./android-signer.ts";

/** A package request, as the command line said it. Paths are relative to `cwd`. */
export interface OtaRequest {
  readonly cwd: string;
  readonly targetFiles: string;
  readonly output: string;
  readonly source?: string;
  readonly profile: "safe" | "vendor";
  readonly wipeUserData: boolean;
  readonly omitPrereq: boolean;
  readonly extraScript?: string;
  readonly twoStep: boolean;
  readonly fota: boolean;
  readonly extension?: string;
  readonly extras: ReadonlyMap<string, string>;
  readonly jobs?: number;
  readonly verbose: boolean;
  /** Which year's tool; block-based packages are 7.1's. */
  readonly era: "4.4" | "7.1";
  /** Block-based packages; absent: file-based ones. */
  readonly block?: BlockRequest;
  /** 7.1: check the partitions or files again after they were written. */
  readonly verify: boolean;
  /** 7.1: file with the lines of oem.prop. */
  readonly oemSettings?: string;
  /** 7.1: the script does not mount /oem. */
  readonly oemNoMount: boolean;
  /** 7.1: file with the program, instead of the build's updater. */
  readonly binary?: string;
  /** Packages with payload.bin: `auto` for builds that say ab_update=true. */
  readonly payload: "auto" | "always" | "never";
  /** An older build over a newer one: user data is wiped. */
  readonly downgrade: boolean;
  /** An older build over a newer one whose build times are in the wrong order: user data stays. */
  readonly overrideTimestamp: boolean;
  /** File for what differs between the two builds. */
  readonly logDiff?: string;
  /** A/B: the device keeps its slot at the next boot. */
  readonly keepSlot: boolean;
  /** A/B: who signs the payload, when the package's signer does not. */
  readonly payloadSigner?: PayloadSignerRequest;
  readonly signing: SigningRequest;
}

/** A program that is called with `-in HASH_FILE -out SIGNATURE_FILE` behind its arguments. */
export interface PayloadSignerRequest {
  readonly program: string;
  readonly args: readonly string[];
  /** Most bytes of a signature; absent: that of the package's key, or 256. */
  readonly signatureSize?: number;
}

export interface BlockRequest {
  /** Make a package that only checks. */
  readonly genVerify: boolean;
  readonly brotli: boolean;
  readonly stashThreshold?: number;
}

export interface OtaResult {
  readonly output: string;
  readonly size: number;
  /** SHA-256, hex. */
  readonly sha256: string;
  readonly kind: "full" | "incremental";
  readonly signed: boolean;
  readonly entries: number;
  readonly patches: number;
  /** A/B packages: operations of the payload. */
  readonly operations?: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface OtaPorts {
  readonly progress: ProgressSink;
  readonly cancel: Cancel;
}
