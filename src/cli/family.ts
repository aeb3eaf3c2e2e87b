/**
 * What a family brings to the front door: `otaforge pack|inspect|verify|extract|compare|install|rehearse` find the family by
 * the package's bytes and call it through this interface.
 */
import type { Command } from "commander";
import type { ManifestItem } from "../trust/index.ts";
import type { ByteStream, Cancel, Device, ProgressSink, RandomReader } from "../core/ports.ts";
import type { ReportFacts, StripStyle } from "../rehearse/index.ts";
import type { Io } from "./io.ts";

export type FamilyName = "sigmastar" | "k230" | "android";

/** An opened package. Everything that is checked and everything that is written comes from this one open file. */
export interface PackageInput {
  /** As the user named it; `-` is standard input. */
  readonly name: string;
  /** Absent for standard input, which can only be streamed once. */
  readonly reader?: RandomReader;
  /** The whole input in order; of a file as often as wanted, of standard input once. */
  stream(): ByteStream;
  /** First bytes of the file, up to 4 KiB. */
  readonly head: Uint8Array;
  /** First bytes behind gzip, up to 4 KiB; the same as `head` when it is not compressed. */
  readonly plainHead: Uint8Array;
  readonly gzipped: boolean;
  /** Of standard input, its first bytes, up to 68 KiB: a signature inside a package is found there. */
  readonly begin?: Uint8Array;
  /** `stream()` can be asked for again although there is no `reader`: what is unpacked from a file on the way. */
  readonly repeatable?: boolean;
}

export interface CommonOptions {
  readonly progress: ProgressSink;
  readonly cancel: Cancel;
  /** `vendor` reproduces the original program, harmful behaviour included. */
  readonly profile: "safe" | "vendor";
}

/** Text for people and the same as JSON for scripts. `text` ends without a newline. */
export interface Report {
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
  /** 0, or the code of a finding (3 damaged, 4 not trusted …): the report is printed all the same. */
  readonly exitCode: number;
}

export interface VerifyOptions extends CommonOptions {
  /**
   * Key files of a family that signs in its own way: PEM public keys or certificates, `res/keys` texts, otacerts.zip. Empty:
   * integrity only. For the other families the front door checks the manifest itself and this is always empty.
   */
  readonly keyFiles: readonly string[];
  readonly era: "4.4" | "7.1";
}

export interface ExtractOptions extends CommonOptions {
  /** Folder with the old images, for deltas that make new ones of them. */
  readonly baseFolder?: string;
}

export interface InstallOptions extends CommonOptions {
  readonly runScripts: boolean;
  readonly acceptVolatile: boolean;
  /** Folder for patched content of differential records. */
  readonly temporary?: string;
  readonly running?: "a" | "b";
  readonly allowPartial: boolean;
  /** Android: whose updater the script was written for; default: told from the script. */
  readonly era?: "4.4" | "7.1";
  /** Android: the package's own program runs instead of our interpreter. */
  readonly runUpdateBinary?: boolean;
  /** Keys of the device description for a family that signs in its own way, absolute paths. */
  readonly keyFiles: readonly string[];
  readonly minimumVersion?: string;
  /** Digests of differential items, from the manifest; empty when there is none. */
  readonly items: readonly ManifestItem[];
  /** `unsigned` or `signed by …`: every result carries it. */
  readonly signature: string;
}

export interface RehearseOptions extends CommonOptions {
  readonly deviceFile: string;
  readonly cuts: "all" | number;
  readonly seed: number;
  /** One chain of cuts and nothing else, as a report's `firstBroken.cut` says it. */
  readonly only?: string;
  /** HTML page; the same as JSON is written beside it, with the ending `.json`. */
  readonly reportFile?: string;
  /** What the report is of. */
  readonly facts: ReportFacts;
  /** How the strip is drawn on the terminal. */
  readonly strip: StripStyle;
  readonly items: readonly ManifestItem[];
}

export interface SignOptions extends CommonOptions {
  /** Private key files as the user named them, absolute paths. */
  readonly keyFiles: readonly string[];
  readonly signCommand?: string;
  /** Public key or certificate that belongs to `signCommand`. */
  readonly publicKeyFile?: string;
  /** File to write; absent: the package is replaced. */
  readonly outputFile?: string;
}

/** One family's commands. A verb a family does not have is absent, and the front door says so. */
export interface Family {
  readonly name: FamilyName;
  /** A phrase for the error of an unknown package: `SigmaStar package (SStarOta.bin, .bin.gz)`. */
  readonly what: string;
  /** Whether the bytes are this family's; damage behind the recognising part is not its business. */
  detect(input: PackageInput): Promise<boolean>;
  /** Adds `otaforge pack <family>` with the family's own options. */
  pack?(command: Command, io: Io, done: (exitCode: number) => void): void;
  inspect?(input: PackageInput, options: CommonOptions): Promise<Report>;
  verify?(input: PackageInput, options: VerifyOptions): Promise<Report>;
  /** Writes the package's parts into `folder` (made when missing); `names` empty = all. */
  extract?(input: PackageInput, folder: string, names: readonly string[], options: ExtractOptions): Promise<Report>;
  /** Exit code 0 when both carry the same content, 5 when they differ. */
  compare?(a: PackageInput, b: PackageInput, options: CommonOptions): Promise<Report>;
  /** Signs in the family's own way (Android). Families without it are signed by a manifest. */
  sign?(input: PackageInput, options: SignOptions): Promise<Report>;
  install?(input: PackageInput, device: Device, options: InstallOptions): Promise<Report>;
  /** JSON as the command contract has it: `{cuts, endedOld, endedNew, resumed, broken, seed, seconds, firstBroken?}`. */
  rehearse?(input: PackageInput, options: RehearseOptions): Promise<Report>;
}
