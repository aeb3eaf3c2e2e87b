/** The port through which the packer sees source files: like a shell user does, symbolic links followed. */
import type { RandomReader } from "../core/ports.ts";

export interface SourceInfo {
  readonly kind: "file" | "folder" | "other";
  readonly size: number;
  /** Full `st_mode`, type bits included (0o100644). */
  readonly mode: number;
  /** Equal for two paths exactly when they are one file or folder. */
  readonly identity: string;
}

/** A source that is open: size and mode are those of the open file, whatever happens to its name. */
export interface SourceFile extends RandomReader {
  readonly mode: number;
  /** Fills all of `target` from `offset`; optional, for long sources. */
  readInto?(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface PackFiles {
  /** What a path leads to; undefined when nothing is there (a dangling link included). */
  info(path: string): Promise<SourceInfo | undefined>;
  /** Names in a folder, ascending byte order. */
  list(path: string): Promise<string[]>;
  /** @throws OtaError SIGMASTAR_SOURCE_MISSING, SIGMASTAR_SOURCE_KIND, DEVICE_IO */
  open(path: string): Promise<SourceFile>;
}
