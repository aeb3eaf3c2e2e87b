/** What a build record says. */

export interface RecordedFile {
  /** As the maker named it: relative to the step's folder, or absolute. */
  readonly path: string;
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Permission bits, octal: packages carry them. */
  readonly mode: string;
}

export interface BuildStep {
  /** Command and arguments. */
  readonly command: readonly string[];
  /** Where the command ran, relative to the record's folder. */
  readonly folder: string;
  /** The package, relative to where the command ran. */
  readonly output: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly inputs: readonly RecordedFile[];
  /** Folders that were listed, also empty ones. Links are followed, as makers do. */
  readonly folders: readonly string[];
  /** Paths of private keys; nothing of their content is recorded, not even a digest. */
  readonly secrets: readonly string[];
}

export interface BuildRecord {
  readonly otaforgeBuild: 1;
  readonly tool: { readonly name: "otaforge"; readonly version: string; readonly node: string; readonly zlib: string };
  readonly package: { readonly file: string; readonly size: number; readonly sha256: string };
  /** A package that is appended to has one a call. */
  readonly steps: readonly BuildStep[];
}
