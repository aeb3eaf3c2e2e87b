/** A K230's medium as an updater sees it: layout, version blocks, which slot runs and which is to be written. */
import { hexOffset } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { BlockTarget, Clock, Device, Digests, FileStore, RandomReader } from "../core/ports.ts";
import type { Repacker } from "../delta/index.ts";
import { readMetaAsLoader } from "./explain-boot.ts";
import type { Medium } from "./explain-boot.ts";
import { SECTOR_SIZE, TOC_OFFSET, TOC_SIZE } from "./layouts.ts";
import { chooseSlot, metaOffsets } from "./ota-meta.ts";
import type { MetaPair, Slot } from "./ota-meta.ts";
import { findEntry, readToc } from "./toc.ts";
import type { TocEntry } from "./toc.ts";

/** Everything an update of a K230 touches. */
export interface K230Card {
  /** The whole medium. */
  readonly target: BlockTarget;
  readonly medium: Medium;
  readonly digests: Digests;
  readonly clock?: Pick<Clock, "nowMs" | "monotonicMs">;
  /** Journals and trial counters; without it an interrupted update starts anew and there is no trial boot. */
  readonly state?: FileStore;
  /** Compared with the image's texts where both say something. */
  readonly board?: string;
  readonly chip?: string;
  /** The slot that really runs, where the platform tells; otherwise the loader's choice. */
  readonly running?: Slot;
  /** Text that changes with every start; absent where every command is a new start. */
  readonly bootId?: string;
  /** The device's loader reads `ota_meta` on this medium, although the stock one does not. */
  readonly readsMeta?: boolean;
  /** Re-packers of delta images beyond those inside the toolkit; asked for when a patch is expanded. */
  readonly repackers?: RepackerSource;
  /** What stays the same while the card is opened again and again; default: the target. */
  readonly owner?: object;
}

/** Where a device has its card and what is known of it. */
export interface CardOptions {
  /** Node of the whole medium, default `/dev/card`. */
  readonly card?: string;
  /** Default `sdcard`. */
  readonly medium?: Medium;
  readonly board?: string;
  readonly chip?: string;
  /** Media on which the device's loader reads `ota_meta`; default those of the stock one. */
  readonly readsMetaOn?: readonly Medium[];
  readonly repackers?: RepackerSource;
}

/** Gives all re-packers of this device; a function, because programs are loaded only when a patch wants them. */
export type RepackerSource = () => Promise<readonly Repacker[]>;

export const CARD_NODE = "/dev/card";

/** The card of a device, for an update or its health. The caller closes `target`. @throws OtaError DEVICE_* */
export async function openCard(
  device: Device,
  options: CardOptions = {},
  access: "read" | "write" = "write",
): Promise<K230Card> {
  const { medium = "sdcard", readsMetaOn, chip, repackers } = options;
  const board = options.board ?? device.hardware;
  const bootId = await device.bootId();
  const target = await device.nodes.open(options.card ?? CARD_NODE, access);
  const { digests, clock, state, running } = device;
  return {
    target,
    medium,
    digests,
    clock,
    state,
    owner: device,
    ...(board === undefined ? {} : { board }),
    ...(chip === undefined ? {} : { chip }),
    ...(running === undefined ? {} : { running }),
    ...(bootId === undefined ? {} : { bootId }),
    ...(repackers === undefined ? {} : { repackers }),
    ...(readsMetaOn === undefined ? {} : { readsMeta: readsMetaOn.includes(medium) }),
  };
}

export interface CardLayout {
  readonly toc: readonly TocEntry[];
  readonly meta: MetaPair;
  /** Byte offsets of the version blocks. */
  readonly metaAt: Readonly<Record<Slot, number>>;
  /** The slot the loader would choose now. */
  readonly choice: Slot;
}

interface Range {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

const TABLES: readonly Range[] = [
  { name: "the master boot record", offset: 0, size: SECTOR_SIZE },
  { name: "the table of contents", offset: TOC_OFFSET, size: TOC_SIZE },
];

/** A partition an update writes. */
export interface Target extends Range {
  readonly part: "rtt" | "rtapp";
}

/** Whether the stock loader, or the one the description declares, obeys `ota_meta` on this medium. */
export function loaderReadsMeta(card: Pick<K230Card, "medium" | "readsMeta">): boolean {
  return card.readsMeta ?? (card.medium === "sdcard" || card.medium === "emmc");
}

/**
 * Reads the table of contents and the version blocks and checks that they can carry an A/B update.
 * @throws OtaError K230_MEDIUM, K230_NO_TOC, K230_NOT_AB, K230_NO_META, K230_META_GEOMETRY
 */
export async function readCardLayout(card: Pick<K230Card, "target" | "medium" | "readsMeta">): Promise<CardLayout> {
  if (!loaderReadsMeta(card)) {
    throw new OtaError("K230_MEDIUM", {
      what: "the stock loader does not read ota_meta on this medium, so a new slot would never start",
      where: card.medium,
      hint: 'If your loader does, declare it: "loader": {"readsMetaOn": [...]} in the device description.',
    });
  }
  const { target } = card;
  const toc = await readToc(target);
  if (toc.length === 0) {
    throw new OtaError("K230_NO_TOC", {
      what: "no table of contents on the medium",
      where: `${target.path}, offset ${hexOffset(TOC_OFFSET)}`,
    });
  }
  for (const name of ["rtt_a", "rtt_b"]) {
    if (findEntry(toc, name) === undefined) {
      throw new OtaError("K230_NOT_AB", {
        what: `the table of contents has no ${name}`,
        where: target.path,
        found: toc.map((e) => printable(e.name)).join(", "),
      });
    }
  }
  const metaAt = checkMetaGeometry(target, toc);
  const meta = await readMetaAsLoader(target, toc);
  return { toc, meta, metaAt, choice: chooseSlot(meta) };
}

function checkMetaGeometry(target: BlockTarget, toc: readonly TocEntry[]): Readonly<Record<Slot, number>> {
  const entry = findEntry(toc, "ota_meta");
  const at = metaOffsets(toc);
  if (entry === undefined || at === undefined) {
    throw new OtaError("K230_NO_META", {
      what: entry === undefined ? "the table of contents has no ota_meta" : "ota_meta has no offset or no size",
      where: target.path,
    });
  }
  const span = at.b - at.a;
  const unit = target.erase === undefined ? SECTOR_SIZE : (target.eraseSize ?? SECTOR_SIZE);
  const fits = at.a % unit === 0 && span % unit === 0 && span >= unit && at.b + SECTOR_SIZE <= target.size;
  if (fits) {
    checkMetaApart(toc, at, unit);
    return at;
  }
  throw new OtaError("K230_META_GEOMETRY", {
    what: "version blocks must lie apart, each at a sector (or erase block) of its own, inside the medium",
    where: `ota_meta at ${hexOffset(entry.offset)}`,
    expected: `offset and half of the size in multiples of ${unit}`,
    found: `blocks at ${hexOffset(at.a)} and ${hexOffset(at.b)}`,
  });
}

/** Writing a version block must change nothing else: no table, and no partition of either slot. */
function checkMetaApart(toc: readonly TocEntry[], at: Readonly<Record<Slot, number>>, unit: number): void {
  const others: Range[] = [...TABLES];
  for (const name of ["rtt_a", "rtapp_a", "rtt_b", "rtapp_b"]) {
    const entry = findEntry(toc, name);
    if (entry !== undefined) others.push(entry);
  }
  for (const block of [at.a, at.b]) {
    const other = others.find((o) => block < o.offset + o.size && o.offset < block + unit);
    if (other === undefined) continue;
    throw new OtaError("K230_META_GEOMETRY", {
      what: `a version block of ota_meta overlaps ${printable(other.name)}`,
      where: hexOffset(block),
      expected: `${unit} bytes of its own`,
      found: `${hexOffset(other.offset)} to ${hexOffset(other.offset + other.size)}`,
    });
  }
}

/** The partitions for `parts` in `slot`. @throws OtaError K230_TARGET_MISSING, K230_TARGET_UNFIT, K230_TARGET_TOO_SMALL */
export function findTargets(
  layout: CardLayout,
  slot: Slot,
  parts: readonly { readonly name: "rtt" | "rtapp"; readonly result: { readonly size: number } }[],
  medium: BlockTarget,
): Target[] {
  const targets = parts.map(({ name, result }): Target => {
    const entry = findEntry(layout.toc, `${name}_${slot}`);
    if (entry === undefined) {
      throw new OtaError("K230_TARGET_MISSING", {
        what: `no partition ${name}_${slot} for part ${name}`,
        where: medium.path,
      });
    }
    checkTarget(entry, medium, result.size);
    if (result.size > entry.size) {
      throw new OtaError("K230_TARGET_TOO_SMALL", {
        what: `part ${name} is larger than its partition`,
        where: entry.name,
        expected: `at most ${entry.size} bytes`,
        found: result.size,
      });
    }
    return { part: name, name: entry.name, offset: entry.offset, size: entry.size };
  });
  checkApart(layout, slot, targets);
  return targets;
}

function unfit(name: string, what: string, more: { expected?: string; found?: string | number } = {}): OtaError {
  return new OtaError("K230_TARGET_UNFIT", { what, where: name, ...more });
}

function checkTarget({ name, offset, size }: TocEntry, medium: BlockTarget, contentSize: number): void {
  if (size === 0) throw unfit(name, "partition has size 0 in the table of contents, so nothing bounds what is written");
  const unit = medium.erase === undefined ? SECTOR_SIZE : (medium.eraseSize ?? SECTOR_SIZE);
  if (offset % unit !== 0)
    throw unfit(name, "partition is unaligned", { expected: `a multiple of ${unit}`, found: hexOffset(offset) });
  const erased = Math.ceil(contentSize / unit) * unit;
  if (medium.erase !== undefined && contentSize <= size && erased > size) {
    throw unfit(name, "the last erase block of the content reaches past the partition", {
      expected: `at least ${erased} bytes`,
      found: size,
    });
  }
  if (offset + size > medium.size) {
    throw unfit(name, "partition reaches past the end of the medium", {
      expected: `at most ${hexOffset(medium.size)}`,
      found: hexOffset(offset + size),
    });
  }
}

/** Targets must not touch each other, the other slot, the table of contents, ota_meta or the partition table. */
function checkApart({ toc, metaAt }: CardLayout, slot: Slot, targets: readonly Target[]): void {
  const others: Range[] = [...TABLES, { name: "ota_meta", offset: metaAt.a, size: metaAt.b + SECTOR_SIZE - metaAt.a }];
  for (const name of ["rtt", "rtapp"]) {
    const entry = findEntry(toc, `${name}_${slot === "a" ? "b" : "a"}`);
    if (entry !== undefined) others.push(entry);
  }
  for (const [i, target] of targets.entries()) {
    for (const other of [...others, ...targets.slice(0, i)]) {
      if (target.offset < other.offset + other.size && other.offset < target.offset + target.size) {
        throw unfit(target.name, `partition overlaps ${printable(other.name)}`, { found: hexOffset(target.offset) });
      }
    }
  }
}

/**
 * Reads ahead by one piece, so that reading and what is done with the bytes overlap. A piece is valid until the next one is
 * asked for: two arrays serve the whole range where the reader can fill them.
 */
export async function* readAhead(
  reader: RandomReader,
  offset: number,
  length: number,
  piece: number,
): AsyncGenerator<Uint8Array> {
  const end = offset + length;
  const arrays: Uint8Array[] = [];
  const fill = async (at: number, size: number): Promise<Uint8Array> => {
    if (reader.readInto === undefined) return reader.read(at, size);
    const out = (arrays.pop() ?? new Uint8Array(Math.min(piece, length))).subarray(0, size);
    await reader.readInto(at, out);
    return out;
  };
  const start = (at: number): Promise<Uint8Array> => {
    const next = fill(at, Math.min(piece, end - at));
    // A consumer that stops early never awaits it; its failure is then nobody's.
    next.catch(() => undefined);
    return next;
  };
  let pending = length > 0 ? start(offset) : undefined;
  for (let at = offset; pending !== undefined;) {
    const bytes: Uint8Array = await pending;
    at += bytes.length;
    pending = at < end ? start(at) : undefined;
    yield bytes;
    // Only a short last piece is no whole array, and nothing is read after it.
    if (reader.readInto !== undefined) arrays.push(bytes);
  }
}
