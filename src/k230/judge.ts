/** Judges a card after a power cut: does the loader start a complete old or a complete new pair? */
import { toHex } from "../core/bytes.ts";
import type { Digests, RandomReader } from "../core/ports.ts";
import { readAhead, readCardLayout } from "./card.ts";
import type { K230Card } from "./card.ts";
import { explainBoot } from "./explain-boot.ts";
import type { BootOptions } from "./explain-boot.ts";
import { looksLikeFirmware } from "./firmware.ts";
import { FIRMWARE_HEADER, FIRMWARE_HEADER_SIZE } from "./layouts.ts";
import type { InstallPart } from "./installable.ts";
import type { Slot } from "./ota-meta.ts";
import { findEntry, readToc } from "./toc.ts";
import type { TocEntry } from "./toc.ts";

/** What a complete pair looks like: digests of the first bytes of its partitions. */
export interface PairIdentity {
  readonly rtt: ContentIdentity;
  readonly rtapp?: ContentIdentity;
}

interface ContentIdentity {
  readonly size: number;
  /** Hex SHA-256. */
  readonly sha256: string;
}

export type PairVerdict = "old" | "new" | "broken";

export interface PairJudgement {
  readonly verdict: PairVerdict;
  readonly slot?: Slot;
  /** Why it is broken. */
  readonly why?: string;
}

const PIECE = 1024 * 1024;

async function identify(
  medium: RandomReader,
  offset: number,
  size: number,
  digests: Digests,
): Promise<ContentIdentity> {
  const digest = digests.create("sha256");
  for await (const bytes of readAhead(medium, offset, size, PIECE)) digest.update(bytes);
  return { size, sha256: toHex(digest.digest()) };
}

async function holds(medium: RandomReader, slot: Slot, pair: PairIdentity, digests: Digests): Promise<boolean> {
  const toc = await readToc(medium);
  for (const name of ["rtt", "rtapp"] as const) {
    const expected = pair[name];
    if (expected === undefined) continue;
    const entry = findEntry(toc, `${name}_${slot}`);
    if (entry === undefined || entry.offset + expected.size > medium.size) return false;
    const found = await identify(medium, entry.offset, expected.size, digests);
    if (found.sha256 !== expected.sha256) return false;
  }
  return true;
}

/** The pair an image would install. */
export function pairOf(parts: readonly InstallPart[]): PairIdentity {
  const identity = (name: string): ContentIdentity | undefined => {
    const part = parts.find((p) => p.name === name);
    return part === undefined ? undefined : { size: part.result.size, sha256: toHex(part.result.sha256) };
  };
  const rtapp = identity("rtapp");
  return { rtt: identity("rtt") as ContentIdentity, ...(rtapp === undefined ? {} : { rtapp }) };
}

/** Bytes of a partition that its content takes: those of the firmware in it, or all of it. */
async function contentLength(medium: RandomReader, { offset, size }: TocEntry): Promise<number> {
  if (size < FIRMWARE_HEADER_SIZE || offset + size > medium.size) return size;
  const head = await medium.read(offset, FIRMWARE_HEADER_SIZE);
  if (!looksLikeFirmware(head)) return size;
  return Math.min(size, FIRMWARE_HEADER_SIZE + FIRMWARE_HEADER.fields.length.get(head, 4));
}

/** The pair in the slot the loader chooses now. */
export async function runningPair(
  card: Pick<K230Card, "target" | "medium" | "readsMeta" | "digests">,
): Promise<PairIdentity> {
  const { toc, choice } = await readCardLayout(card);
  const identity = async (name: string): Promise<ContentIdentity | undefined> => {
    const entry = findEntry(toc, `${name}_${choice}`);
    if (entry === undefined) return undefined;
    return identify(card.target, entry.offset, await contentLength(card.target, entry), card.digests);
  };
  const rtapp = await identity("rtapp");
  return { rtt: (await identity("rtt")) as ContentIdentity, ...(rtapp === undefined ? {} : { rtapp }) };
}

/**
 * What the loader would start.
 * @param boots the card held bootable firmware before: then only a pair that really starts, without the loader's fallback,
 *   is complete; otherwise the loader's choice of the slot is judged
 */
export async function judgeCard(
  medium: RandomReader,
  pairs: { readonly old: PairIdentity; readonly new: PairIdentity },
  digests: Digests,
  options: BootOptions & { readonly boots: boolean },
): Promise<PairJudgement> {
  const report = await explainBoot(medium, options);
  if (report.firstSlot === null) return { verdict: "broken", why: "no table of contents" };
  const slot: Slot = report.firstSlot === "A" ? "a" : "b";
  if (options.boots && (report.status !== "boots" || report.finalSlot !== report.firstSlot)) {
    return { verdict: "broken", slot, why: report.steps.join(" ") };
  }
  if (await holds(medium, slot, pairs.new, digests)) return { verdict: "new", slot };
  if (await holds(medium, slot, pairs.old, digests)) return { verdict: "old", slot };
  return { verdict: "broken", slot, why: `slot ${slot} is neither the old nor the new pair` };
}
