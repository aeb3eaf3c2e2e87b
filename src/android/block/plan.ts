/** A block-based update of one partition: transfer list, new data and patch data (formats/android.md 3.3). */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, ProgressSink } from "../../core/ports.ts";
import { checkCancel, streamRange } from "../../core/streams.ts";
import { patchKind, type PatchMaker } from "../releasetools/patches.ts";
import { memoryScratch, scratchReader, type Scratch } from "../scratch.ts";
import { readBlocks, type MappedImage } from "./image-map.ts";
import { orderWithoutStash, orderWithStash } from "./order.ts";
import { EMPTY, equal, mapWithin, overlaps, rawText, size, splitAt, subtract, union, type Ranges } from "./ranges.ts";
import { findTransfers, type Transfer } from "./transfers.ts";

export type TransferVersion = 1 | 2 | 3 | 4;

/** A patch and where it is kept. */
export interface KeptPatch {
  readonly in: Scratch;
  readonly offset: number;
  readonly size: number;
}

export interface BlockPlan {
  readonly version: TransferVersion;
  /** Lines of the transfer list, each ending in a newline. */
  readonly list: string;
  /** Blocks of the new image, in the order the updater consumes them. */
  readonly newBlocks: readonly Ranges[];
  readonly newSize: number;
  /** Bytes of the patch data. */
  readonly patchSize: number;
  /** The patches, in the order of the list. */
  readonly patches: readonly KeptPatch[];
  /** Most blocks in the stash at once, implicit ones included (version 3 and later). */
  readonly maxStashedBlocks: number;
  /** Blocks of the old image that are read. */
  readonly touched: Ranges;
}

export interface PlanOptions {
  readonly version: TransferVersion;
  readonly patches: PatchMaker;
  readonly digests: Digests;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel | undefined;
  /** Most bytes in the stash; absent: no limit. */
  readonly stashLimitBytes?: number;
  /** Keeps the patches; absent: memory does. */
  readonly scratch?: Scratch;
}

/** `new` and `zero` commands are cut into pieces of this many blocks. */
const PIECE = 1024;

function pieces(blocks: Ranges): Ranges[] {
  const out: Ranges[] = [];
  for (let rest = blocks; rest.length > 0;) {
    const [first, more] = splitAt(rest, PIECE);
    out.push(first);
    rest = more;
  }
  return out;
}

/** How a `diff` is carried out. */
type Delta =
  | { readonly command: "move"; readonly sourceHash: string; readonly targetHash: string }
  | {
      readonly command: "bsdiff" | "imgdiff";
      readonly patch: KeptPatch;
      readonly sourceHash: string;
      readonly targetHash: string;
    };

interface Context {
  readonly target: MappedImage;
  readonly source: MappedImage | undefined;
  readonly options: PlanOptions;
  readonly scratch: Scratch;
  hash(bytes: Uint8Array): string;
}

async function keep(patch: Uint8Array, scratch: Scratch): Promise<KeptPatch> {
  const offset = scratch.size;
  await scratch.append(patch);
  return { in: scratch, offset, size: patch.length };
}

async function makeDelta(t: Transfer, c: Context): Promise<Delta> {
  const source = await readBlocks((c.source as MappedImage).image, t.source);
  const target = await readBlocks(c.target.image, t.target);
  const hashes = { sourceHash: c.hash(source), targetHash: c.hash(target) };
  if (equalBytes(source, target)) return { command: "move", ...hashes };
  if (t.intact && patchKind(t.name) === "imgdiff-zip") {
    const patch = await c.options.patches.imgdiff(source, target, { zip: true });
    if (patch !== undefined) return { command: "imgdiff", patch: await keep(patch, c.scratch), ...hashes };
  }
  const patch = await c.options.patches.bsdiff(source, target);
  return { command: "bsdiff", patch: await keep(patch, c.scratch), ...hashes };
}

/** Deltas of all `diff` transfers, several at once. */
async function makeDeltas(transfers: readonly Transfer[], c: Context): Promise<Map<Transfer, Delta>> {
  const deltas = new Map<Transfer, Delta>();
  const waiting = transfers.filter((t) => t.style === "diff").sort((a, b) => size(b.target) - size(a.target));
  const totalBytes = waiting.reduce((sum, t) => sum + size(t.target), 0) * c.target.image.blockSize;
  let doneBytes = 0;
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let t = waiting[next++]; t !== undefined; t = waiting[next++]) {
      checkCancel(c.options.cancel);
      const delta = await makeDelta(t, c);
      deltas.set(t, delta);
      const bytes = size(t.target) * c.target.image.blockSize;
      doneBytes += bytes;
      if (delta.command !== "move") {
        const percent = ((delta.patch.size * 100) / bytes).toFixed(2).padStart(6);
        c.options.progress.note(
          "info",
          `${String(delta.patch.size).padStart(8)} / ${String(bytes).padStart(8)} bytes (${percent}%) ${t.name}`,
        );
      }
      c.options.progress.progress({ phase: "patch", doneBytes, totalBytes });
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, c.options.patches.jobs) }, worker));
  return deltas;
}

/** Stashed blocks while a list is written: slots, and contents that several transfers share. */
class StashBook {
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #shared = new Map<string, number>();
  slotCount = 0;
  blocks = 0;
  most = 0;

  slot(id: number): number {
    return this.#slots.get(id) as number;
  }

  /** Whether the blocks must really be saved; contents that are there already are only counted. */
  save(id: number, key: string, blocks: number): boolean {
    this.#slots.set(id, this.#free.sort((a, b) => a - b).shift() ?? this.slotCount++);
    const users = this.#shared.get(key) ?? 0;
    this.#shared.set(key, users + 1);
    if (users > 0) return false;
    this.blocks += blocks;
    this.most = Math.max(this.most, this.blocks);
    return true;
  }

  /** Whether this was the last use. */
  release(id: number, key: string, blocks: number): boolean {
    this.#free.push(this.slot(id));
    const users = (this.#shared.get(key) as number) - 1;
    this.#shared.set(key, users);
    if (users > 0) return false;
    this.blocks -= blocks;
    return true;
  }

  /** The space that a transfer over its own source takes for a moment. */
  moment(blocks: number): void {
    this.most = Math.max(this.most, this.blocks + blocks);
  }
}

/** A transfer list that would save more than it may. */
class StashTooLarge extends Error {
  readonly at: Transfer;
  constructor(at: Transfer) {
    super("stash limit");
    this.at = at;
  }
}

async function writeList(
  ordered: readonly Transfer[],
  deltas: ReadonlyMap<Transfer, Delta>,
  c: Context,
): Promise<BlockPlan> {
  const { version, stashLimitBytes } = c.options;
  const { target, source } = c;
  const lines: string[] = [];
  const newBlocks: Ranges[] = [];
  const patches: KeptPatch[] = [];
  const book = new StashBook();
  const limit = stashLimitBytes === undefined ? Infinity : Math.floor(stashLimitBytes / target.image.blockSize);
  let patchOffset = 0;
  let total = 0;
  let touched: Ranges = EMPTY;
  const hashOf = async (blocks: Ranges): Promise<string> =>
    c.hash(await readBlocks((source as MappedImage).image, blocks));
  const keys = new Map<number, string>();
  const keyOf = async (id: number, blocks: Ranges): Promise<string> => {
    let key = keys.get(id);
    if (key === undefined) keys.set(id, (key = version >= 3 ? await hashOf(blocks) : `#${id}`));
    return key;
  };

  /** `<n> <src>` of a transfer: what is read in place, and what comes from the stash. */
  const sourceText = async (t: Transfer): Promise<string> => {
    if (version === 1) return rawText(t.source);
    let inPlace = t.source;
    const saved: string[] = [];
    for (const s of t.useStash) {
      inPlace = subtract(inPlace, s.blocks);
      const name = version >= 3 ? await keyOf(s.id, s.blocks) : String(book.slot(s.id));
      saved.push(`${name}:${rawText(mapWithin(t.source, s.blocks))}`);
    }
    const places = inPlace.length > 0 && saved.length > 0 ? [rawText(mapWithin(t.source, inPlace))] : [];
    return [size(t.source), inPlace.length === 0 ? "-" : rawText(inPlace), ...places, ...saved].join(" ");
  };

  const writeDelta = async (t: Transfer): Promise<void> => {
    const delta = deltas.get(t) as Delta;
    // Blocks that stay where they are are neither mentioned nor counted.
    if (delta.command === "move" && equal(t.source, t.target)) return;
    total += size(t.target);
    touched = union(touched, t.source);
    if (version >= 3 && overlaps(t.source, t.target)) {
      book.moment(size(t.source));
      if (book.most > limit) throw new StashTooLarge(t);
    }
    const places =
      version === 1 ? `${rawText(t.source)} ${rawText(t.target)}` : `${rawText(t.target)} ${await sourceText(t)}`;
    if (delta.command === "move") {
      lines.push(version >= 3 ? `move ${delta.targetHash} ${places}` : `move ${places}`);
      return;
    }
    const hashes = version >= 3 ? ` ${delta.sourceHash} ${delta.targetHash}` : "";
    lines.push(`${delta.command} ${patchOffset} ${delta.patch.size}${hashes} ${places}`);
    patches.push(delta.patch);
    patchOffset += delta.patch.size;
  };

  for (const t of ordered) {
    checkCancel(c.options.cancel);
    for (const s of t.stashBefore) {
      const key = await keyOf(s.id, s.blocks);
      if (book.save(s.id, key, size(s.blocks))) {
        lines.push(`stash ${version >= 3 ? key : book.slot(s.id)} ${rawText(s.blocks)}`);
      }
      if (book.most > limit) throw new StashTooLarge(ordered.find((u) => u.useStash.includes(s)) ?? t);
    }
    if (t.style === "new") {
      for (const piece of pieces(t.target)) {
        lines.push(`new ${rawText(piece)}`);
        newBlocks.push(piece);
        total += size(piece);
      }
    } else if (t.style === "zero") {
      for (const piece of pieces(subtract(t.target, t.source))) {
        lines.push(`zero ${rawText(piece)}`);
        total += size(piece);
      }
    } else await writeDelta(t);
    for (const s of t.useStash) {
      const key = await keyOf(s.id, s.blocks);
      const slot = book.slot(s.id);
      if (book.release(s.id, key, size(s.blocks))) lines.push(`free ${version >= 3 ? key : slot}`);
    }
  }
  for (const piece of pieces(target.extended)) lines.push(`zero ${rawText(piece)}`);
  total += size(target.extended);
  const unused = subtract(subtract([0, target.image.blocks], target.extended), target.image.care);
  const eraseFirst = subtract(unused, touched);
  const eraseLast = subtract(unused, eraseFirst);
  if (eraseFirst.length > 0) lines.unshift(`erase ${rawText(eraseFirst)}`);
  if (eraseLast.length > 0) lines.push(`erase ${rawText(eraseLast)}`);
  const head = version === 1 ? [version, total] : [version, total, book.slotCount, book.most];
  return {
    version,
    list: `${[...head, ...lines].join("\n")}\n`,
    newBlocks,
    newSize: newBlocks.reduce((sum, r) => sum + size(r), 0) * target.image.blockSize,
    patchSize: patchOffset,
    patches,
    maxStashedBlocks: book.most,
    touched,
  };
}

/** The content of `new.dat`. */
export async function* newDataOf(plan: BlockPlan, target: MappedImage): ByteStream {
  for (const blocks of plan.newBlocks) yield await readBlocks(target.image, blocks);
}

/** The content of `patch.dat`. */
export async function* patchDataOf(plan: BlockPlan): ByteStream {
  for (const { in: scratch, offset, size } of plan.patches) yield* streamRange(scratchReader(scratch), offset, size);
}

/**
 * Plans the update of one partition; without a source everything is sent.
 * @throws OtaError ANDROID_NOT_POSSIBLE when no list stays within the stash limit, CANCELLED
 */
export async function planBlocks(
  target: MappedImage,
  source: MappedImage | undefined,
  options: PlanOptions,
): Promise<BlockPlan> {
  if (source !== undefined && source.image.blockSize !== target.image.blockSize) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "the two images have different block sizes",
      expected: target.image.blockSize,
      found: source.image.blockSize,
    });
  }
  const hash = (bytes: Uint8Array): string => {
    const digest = options.digests.create("sha1");
    digest.update(bytes);
    return toHex(digest.digest());
  };
  const context: Context = { target, source, options, hash, scratch: options.scratch ?? memoryScratch() };
  const transfers = findTransfers(target, source);
  // Version 1 may shorten sources while it orders; later ones do not, so patches are made once.
  let deltas: Map<Transfer, Delta> | undefined;
  for (;;) {
    const ordered =
      options.version === 1 ? orderWithoutStash(transfers) : orderWithStash(transfers, options.version >= 3);
    deltas ??= await makeDeltas(ordered, context);
    try {
      return await writeList(ordered, deltas, context);
    } catch (e) {
      if (!(e instanceof StashTooLarge)) throw e;
      // What does not fit is sent: each round has one reader less, so this ends.
      options.progress.note("info", `${e.at.name}: sent as new data, the stash would be too large`);
      e.at.style = "new";
      e.at.source = EMPTY;
    }
  }
}
