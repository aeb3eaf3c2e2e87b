/**
 * Plans how old and new are opened.
 *
 * Old's view holds packed parts unpacked. In new, a part is opened when re-packing is proven and the same part is not in
 * old already: a part that did not change is copied packed, so that no device packs it again for nothing, and stays packed in
 * old's view as well.
 */
import { toHex } from "../../core/bytes.ts";
import type { Cancel, Digests, ProgressEvent, RandomReader } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import type { RepackerSet } from "./repack.ts";
import { scanPacked, type PackedPart, type PartFinder } from "./scan.ts";
import { SegmentList, type Segment } from "./segments.ts";
import { ViewReader } from "./view-reader.ts";

export interface OpenOptions {
  readonly repackers: RepackerSet;
  readonly digests: Digests;
  readonly finders?: readonly PartFinder[];
  readonly signal?: Cancel;
  readonly progress?: (event: ProgressEvent) => void;
}

/** Both files as they are opened, and their views as readers. */
export interface OpenedPair {
  readonly oldSegments: SegmentList;
  readonly newSegments: SegmentList;
  readonly oldView: ViewReader;
  readonly newView: ViewReader;
}

/** Contents kept between looking for covers and coding, bytes; beyond, parts are unpacked again. */
const KEPT_CONTENTS = 128 * 1024 * 1024;

/** Contents of packed parts by their place in the file. */
class Contents {
  readonly #kept = new Map<number, Uint8Array>();
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  keep({ at, content }: PackedPart): void {
    if (content.length > this.#left) return;
    this.#left -= content.length;
    this.#kept.set(at, content);
  }

  view(file: RandomReader, segments: SegmentList, repackers: RepackerSet): ViewReader {
    return new ViewReader(
      file,
      segments,
      async ({ fileAt, repacker, viewSize }, packed) =>
        this.#kept.get(fileAt) ?? (await repackers.get(repacker).unpack(await packed(), viewSize)),
    );
  }
}

/** What is remembered of a part when its content is let go. */
interface Opening {
  readonly at: number;
  readonly size: number;
  readonly viewSize: number;
  readonly repacker: number;
  readonly parameters: readonly number[];
}

/** A part of old, which any of its re-packers unpacks. */
interface OldPart {
  readonly at: number;
  readonly size: number;
  readonly viewSize: number;
  readonly repackers: readonly number[];
}

function segmentsOf(fileSize: number, openings: readonly Opening[]): SegmentList {
  const list = new SegmentList();
  for (const { at, size, viewSize, repacker, parameters } of openings) {
    list.plain(at - list.fileSize);
    list.packed(size, viewSize, repacker, parameters);
  }
  list.plain(fileSize - list.fileSize);
  return list;
}

/** The pair without opening anything. */
export function closedPair(old: RandomReader, fresh: RandomReader): OpenedPair {
  const oldSegments = segmentsOf(old.size, []);
  const newSegments = segmentsOf(fresh.size, []);
  const unpack = (segment: Segment): never => {
    throw new Error(`nothing is packed at ${segment.fileAt}`);
  };
  return {
    oldSegments,
    newSegments,
    oldView: new ViewReader(old, oldSegments, unpack),
    newView: new ViewReader(fresh, newSegments, unpack),
  };
}

/** Which re-packer makes a part again, with which parameters. Tried first: what made the last part of that kind. */
class Prover {
  readonly #repackers: RepackerSet;
  readonly #hints = new Map<number, readonly number[]>();
  /** Kinds of parts (by their re-packers) that failed so often without ever being proven that no more are tried. */
  readonly #failures = new Map<string, number>();

  constructor(repackers: RepackerSet) {
    this.#repackers = repackers;
  }

  async prove(part: PackedPart, packed: Uint8Array): Promise<Opening | undefined> {
    const kind = part.repackers.join();
    const failures = this.#failures.get(kind) ?? 0;
    if (failures >= MOST_FAILURES) return undefined;
    for (const repacker of part.repackers) {
      const hint = this.#hints.get(repacker);
      const parameters = await this.#repackers.get(repacker).prove(part.content, packed, hint);
      if (parameters === undefined) continue;
      this.#hints.set(repacker, parameters);
      this.#failures.set(kind, 0);
      return { at: part.at, size: part.size, viewSize: part.content.length, repacker, parameters };
    }
    this.#failures.set(kind, failures + 1);
    return undefined;
  }
}

/** Parts in a row that no parameters make again, until the packer counts as unknown. */
const MOST_FAILURES = 64;

/** Opens both files as far as re-packing is proven. */
export async function openPair(old: RandomReader, fresh: RandomReader, options: OpenOptions): Promise<OpenedPair> {
  const { repackers, digests, signal } = options;
  const allowed = new Set(repackers.all.map((r) => r.id));
  const totalBytes = old.size + fresh.size;
  /** Both files are one phase, whose count goes up only. */
  const looked = (doneBytes: number): void => {
    options.progress?.({ phase: "look for containers", doneBytes, totalBytes });
  };
  const scanOf = (before: number) => ({
    ...options,
    allowed,
    progress: ({ doneBytes }: ProgressEvent) => {
      looked(before + doneBytes);
    },
  });
  const packedOf = (file: RandomReader, part: PackedPart) => file.read(part.at, part.size);
  const keyOf = (packed: Uint8Array): string => {
    const digest = digests.create("sha256");
    digest.update(packed);
    return toHex(digest.digest());
  };
  const oldContents = new Contents(KEPT_CONTENTS / 2);
  const newContents = new Contents(KEPT_CONTENTS / 2);
  const oldParts = new Map<string, OldPart[]>();
  for await (const part of scanPacked(old, scanOf(0))) {
    const key = keyOf(await packedOf(old, part));
    const { at, size, repackers: able, content } = part;
    oldParts.set(key, [...(oldParts.get(key) ?? []), { at, size, viewSize: content.length, repackers: able }]);
    oldContents.keep(part);
  }
  const prover = new Prover(repackers);
  const opened: Opening[] = [];
  const copied = new Set<string>();
  for await (const part of scanPacked(fresh, scanOf(old.size))) {
    checkCancel(signal);
    const packed = await packedOf(fresh, part);
    const key = keyOf(packed);
    if (oldParts.has(key)) {
      copied.add(key);
      continue;
    }
    const opening = await prover.prove(part, packed);
    if (opening === undefined) continue;
    opened.push(opening);
    newContents.keep(part);
  }
  looked(totalBytes);
  if (opened.length === 0) return closedPair(old, fresh);
  // Any re-packer that could have made a part unpacks it: one the device needs for new as well.
  const used = new Set(opened.map((o) => o.repacker));
  const fromOld = [...oldParts]
    .filter(([key]) => !copied.has(key))
    .flatMap(([, parts]) => parts)
    .map(({ repackers: able, ...part }) => ({
      ...part,
      repacker: able.find((id) => used.has(id)) ?? (able[0] as number),
      parameters: [],
    }));
  const oldSegments = segmentsOf(
    old.size,
    fromOld.sort((a, b) => a.at - b.at),
  );
  const newSegments = segmentsOf(fresh.size, opened);
  return {
    oldSegments,
    newSegments,
    oldView: oldContents.view(old, oldSegments, repackers),
    newView: newContents.view(fresh, newSegments, repackers),
  };
}
