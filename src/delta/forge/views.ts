/**
 * Plans how old and new are opened.
 *
 * Old's view holds every packed part unpacked. In new, a part is opened when re-packing is proven and the same part is not in
 * old already: a part that did not change is copied packed, so that no device packs it again for nothing.
 */
import type { Cancel } from "../../core/ports.ts";
import { checkCancel } from "../../core/streams.ts";
import type { RepackerSet } from "./repack.ts";
import { scanPacked, type PackedPart, type PartFinder } from "./scan.ts";
import { SegmentList } from "./segments.ts";

/** Stretches of a view, joined for whoever looks for covers. */
export class Stretches {
  readonly #viewAt: number[] = [];
  readonly #at: number[] = [];
  readonly #parts: Uint8Array[] = [];
  readonly #byView = new Map<number, Uint8Array>();
  size = 0;

  add(viewAt: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#byView.set(viewAt, bytes);
    this.#viewAt.push(viewAt);
    this.#at.push(this.size);
    this.#parts.push(bytes);
    this.size += bytes.length;
  }

  /** The stretch that begins at a view position. */
  at(viewAt: number): Uint8Array | undefined {
    return this.#byView.get(viewAt);
  }

  joined(): Uint8Array {
    if (this.#parts.length === 1) return this.#parts[0] as Uint8Array;
    const out = new Uint8Array(this.size);
    for (const [i, part] of this.#parts.entries()) out.set(part, this.#at[i]);
    return out;
  }

  /** View position of a joined position, and how many bytes from there lie together in the view. */
  locate(at: number): { viewAt: number; together: number } {
    let low = 0;
    let high = this.#at.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#at[middle] as number) <= at) low = middle;
      else high = middle - 1;
    }
    let viewAt = (this.#viewAt[low] as number) + at - (this.#at[low] as number);
    const inside = at - (this.#at[low] as number);
    let together = (this.#parts[low] as Uint8Array).length - inside;
    const first = viewAt;
    viewAt += together;
    // Neighbours in the view count as one.
    for (let i = low + 1; i < this.#at.length && this.#viewAt[i] === viewAt; i++) {
      together += (this.#parts[i] as Uint8Array).length;
      viewAt += (this.#parts[i] as Uint8Array).length;
    }
    return { viewAt: first, together };
  }
}

/** A packed part that is in old and new alike. */
export interface SamePart {
  readonly newViewAt: number;
  readonly oldViewAt: number;
  readonly size: number;
}

export interface OpenedPair {
  readonly oldSegments: SegmentList;
  readonly newSegments: SegmentList;
  /** What covers are looked for in. */
  readonly oldStretches: Stretches;
  readonly newStretches: Stretches;
  readonly same: readonly SamePart[];
  /** Content of new's view by segment, for encoding: plain ones are undefined. */
  readonly newContents: readonly (Uint8Array | undefined)[];
}

export interface OpenOptions {
  readonly repackers: RepackerSet;
  readonly finders?: readonly PartFinder[];
  readonly signal?: Cancel;
}

function keyOf(bytes: Uint8Array): string {
  // 64 bits of two sums; equality is checked afterwards.
  let a = 0x811c9dc5;
  let b = bytes.length;
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b + byte, 0x85ebca6b) ^ (b >>> 13);
  }
  return `${bytes.length}:${a}:${b}`;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}

const packedOf = (bytes: Uint8Array, part: PackedPart): Uint8Array => bytes.subarray(part.at, part.at + part.size);

/** The pair without opening anything. */
export function closedPair(oldBytes: Uint8Array, newBytes: Uint8Array): OpenedPair {
  const plain = (bytes: Uint8Array): [SegmentList, Stretches] => {
    const segments = new SegmentList();
    segments.plain(bytes.length);
    const stretches = new Stretches();
    stretches.add(0, bytes);
    return [segments, stretches];
  };
  const [oldSegments, oldStretches] = plain(oldBytes);
  const [newSegments, newStretches] = plain(newBytes);
  return { oldSegments, newSegments, oldStretches, newStretches, same: [], newContents: [undefined] };
}

/** Opens both files as far as re-packing is proven. */
export async function openPair(oldBytes: Uint8Array, newBytes: Uint8Array, options: OpenOptions): Promise<OpenedPair> {
  const { repackers, finders = [], signal } = options;
  const newParts = await scanPacked(newBytes, repackers, finders);
  if (newParts.length === 0) return closedPair(oldBytes, newBytes);
  const oldParts = await scanPacked(oldBytes, repackers, finders);
  const inOld = new Map<string, PackedPart>();
  for (const part of oldParts) inOld.set(keyOf(packedOf(oldBytes, part)), part);

  // Which parts of new are opened.
  const opened: { part: PackedPart; parameters: readonly number[] }[] = [];
  const copied: { part: PackedPart; from: PackedPart }[] = [];
  const keptInOld = new Set<PackedPart>();
  const hints = new Map<number, readonly number[]>();
  for (const part of newParts) {
    checkCancel(signal);
    const packed = packedOf(newBytes, part);
    const from = inOld.get(keyOf(packed));
    if (from !== undefined && same(packedOf(oldBytes, from), packed)) {
      copied.push({ part, from });
      keptInOld.add(from);
      continue;
    }
    const parameters = await repackers.get(part.repacker).prove(part.content, packed, hints.get(part.repacker));
    if (parameters === undefined) continue;
    hints.set(part.repacker, parameters);
    opened.push({ part, parameters });
  }
  if (opened.length === 0) return closedPair(oldBytes, newBytes);

  // Old: parts that stay packed for copies are plain; so they cannot serve as sources of changed parts.
  const oldSegments = new SegmentList();
  const oldStretches = new Stretches();
  const oldViewAt = new Map<PackedPart, number>();
  let at = 0;
  const oldPlain = (to: number): void => {
    oldStretches.add(oldSegments.viewSize, oldBytes.subarray(at, to));
    oldSegments.plain(to - at);
    at = to;
  };
  for (const part of oldParts) {
    oldPlain(part.at);
    if (keptInOld.has(part)) {
      oldViewAt.set(part, oldSegments.viewSize);
      oldSegments.plain(part.size);
    } else {
      oldStretches.add(oldSegments.viewSize, part.content);
      oldSegments.packed(part.size, part.content.length, part.repacker);
    }
    at = part.at + part.size;
  }
  oldPlain(oldBytes.length);

  const newSegments = new SegmentList();
  const newStretches = new Stretches();
  const contents = new Map<number, Uint8Array>();
  const sameParts: SamePart[] = [];
  at = 0;
  const newPlain = (to: number): void => {
    newStretches.add(newSegments.viewSize, newBytes.subarray(at, to));
    newSegments.plain(to - at);
    at = to;
  };
  const byPart = new Map(opened.map((o) => [o.part, o]));
  const copies = new Map(copied.map((c) => [c.part, c]));
  for (const part of newParts) {
    const open = byPart.get(part);
    const copy = copies.get(part);
    if (open !== undefined) {
      newPlain(part.at);
      newStretches.add(newSegments.viewSize, part.content);
      contents.set(newSegments.viewSize, part.content);
      newSegments.packed(part.size, part.content.length, part.repacker, open.parameters);
      at = part.at + part.size;
    } else if (copy !== undefined) {
      newPlain(part.at);
      sameParts.push({
        newViewAt: newSegments.viewSize,
        oldViewAt: oldViewAt.get(copy.from) as number,
        size: part.size,
      });
      newSegments.plain(part.size);
      at = part.at + part.size;
    }
  }
  newPlain(newBytes.length);
  const newContents = newSegments.items.map((s) => (s.repacker === 0 ? undefined : contents.get(s.viewAt)));
  return { oldSegments, newSegments, oldStretches, newStretches, same: sameParts, newContents };
}
