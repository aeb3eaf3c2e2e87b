/** What an install remembers between two runs. The journal in `device/` keeps it whole through power cuts. */

/** A whole content by its size and SHA-256 (hex). */
export interface ContentDigest {
  readonly size: number;
  readonly sha256: string;
}

/** What a difference was applied to and what came out, noted before anything was put in place. */
export interface SeenDifference {
  readonly base: ContentDigest;
  readonly result: ContentDigest;
}

/** The work that was begun, as far as a second run must know it. */
export type StepNote =
  | {
      readonly kind: "files";
      /** Position behind the last change of the batch. */
      readonly end: number;
      /** Everything is completed beside its target; only renames and removals are left. */
      readonly prepared: boolean;
      /** Files completed beside their targets, to be removed by whoever finds them left over. */
      readonly temporaries: readonly string[];
    }
  | {
      readonly kind: "volume";
      readonly node: string;
      /** The volume's own name, and the one of the second volume while there is one. */
      readonly name: string;
      readonly second: string;
      /** `filling` the second volume; `ready`: it is whole; `copied`: the first one is whole again, too. */
      readonly stage: "filling" | "ready" | "copied";
      /** Bytes of the new content. */
      readonly size: number;
    }
  | {
      readonly kind: "raw difference";
      readonly node: string;
      /** The completed content in the folder for differences. */
      readonly file: string;
      readonly result: ContentDigest;
    };

/**
 * Where an install stands. A position is `16 * record + destination`: the first target that is not done. Everything before
 * it is written, read back and on the medium.
 */
export interface InstallState {
  readonly version: 1;
  /** Which package: its digest. */
  readonly package: string;
  /** False once everything was written and the end script ran. */
  readonly unfinished: boolean;
  readonly position: number;
  readonly step?: StepNote;
  /** By position. */
  readonly differences: Readonly<Record<string, SeenDifference>>;
  /** What earlier packages' differences saw, newest first: installing one of them again must not patch a result. */
  readonly earlier?: readonly {
    readonly package: string;
    readonly differences: Readonly<Record<string, SeenDifference>>;
  }[];
}

/** Earlier packages that are remembered. */
const MAX_EARLIER = 4;

/** The state a run of `pkg` begins with, and whether it goes on with an interrupted one. */
export function firstState(pkg: string, loaded: InstallState | undefined): { state: InstallState; resumed: boolean } {
  if (loaded?.package === pkg && loaded.unfinished) return { state: loaded, resumed: true };
  const known = [
    ...(loaded === undefined ? [] : [{ package: loaded.package, differences: loaded.differences }]),
    ...(loaded?.earlier ?? []),
  ];
  const differences = known.find((k) => k.package === pkg)?.differences ?? {};
  const earlier = known.filter((k) => k.package !== pkg && Object.keys(k.differences).length > 0).slice(0, MAX_EARLIER);
  return {
    state: {
      version: 1,
      package: pkg,
      unfinished: true,
      position: 0,
      differences,
      ...(earlier.length > 0 ? { earlier } : {}),
    },
    resumed: false,
  };
}

/** Where an {@link InstallState} is kept: written twice with sequence number and CRC. */
export interface InstallJournal {
  load(): Promise<unknown>;
  save(state: InstallState): Promise<void>;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A state read from a journal; undefined when there is none or a version wrote it that this one does not know. */
export function asInstallState(value: unknown): InstallState | undefined {
  if (!isObject(value) || value["version"] !== 1) return undefined;
  if (typeof value["package"] !== "string" || typeof value["position"] !== "number") return undefined;
  if (typeof value["unfinished"] !== "boolean" || !isObject(value["differences"])) return undefined;
  return value as unknown as InstallState;
}
