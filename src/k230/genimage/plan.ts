/** Where everything of a card image lies, and whether it fits (specification section 6.1). */
import { hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import type { RandomReader } from "../../core/ports.ts";
import { describeFlag, FLAG_KIND_OOB } from "../kdimg.ts";
import { SECTOR_SIZE, TOC_MAX_ENTRIES } from "../layouts.ts";
import { encodeMbrTail } from "../mbr.ts";
import { encodeToc } from "../toc.ts";
import type { CardImage, Partition } from "./model.ts";
import { configError, cutText } from "./values.ts";

/** A file a partition is filled with. */
export interface InputFile {
  /** Tells files apart: the same key is packed once. */
  readonly key: string;
  readonly reader: RandomReader;
  /** Size an in-config image declares, bytes. */
  readonly declaredSize?: number;
}

/** Gives the file for an `image` option; undefined when it is not there. */
export type InputFiles = (image: string) => Promise<InputFile | undefined>;

export interface Placed {
  readonly partition: Partition;
  /** Bytes on the medium. */
  readonly offset: number;
  readonly size: number;
  readonly input?: InputFile;
}

const BLOCK = 4096;
export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Resolves sizes and offsets and checks that everything fits. @throws OtaError K230_CONFIG, K230_PACK_* */
export async function placePartitions(image: CardImage, inputs: InputFiles): Promise<Placed[]> {
  const placed: Placed[] = [];
  let end = image.tableType === "none" ? 0 : SECTOR_SIZE;
  for (const partition of image.partitions) {
    const input = await findInput(image, partition, inputs);
    const size =
      partition.size ?? (input === undefined ? 0 : (input.declaredSize ?? roundUp(input.reader.size, BLOCK)));
    const offset = partition.offset ?? roundUp(end, partition.align ?? image.align);
    end = offset + size;
    checkFits(partition, size, input);
    placed.push({ partition, offset, size, ...(input === undefined ? {} : { input }) });
  }
  checkOverlaps(placed);
  return placed;
}

async function findInput(image: CardImage, partition: Partition, inputs: InputFiles): Promise<InputFile | undefined> {
  if (partition.image === undefined) {
    if (image.kind === "hdimage" || partition.name === "ota_meta") return undefined;
    throw configError(partition.place, `partition ${printable(partition.name)} has no image`, {
      hint: "Only ota_meta may do without.",
    });
  }
  const input = await inputs(partition.image);
  if (input !== undefined) return input;
  throw new OtaError("K230_PACK_INPUT", {
    what: `image of partition ${printable(partition.name)} is not there`,
    where: printable(partition.image),
    hint: "Images are looked up below --inputpath and among the images made before.",
  });
}

function checkFits({ name, flag }: Partition, size: number, input: InputFile | undefined): void {
  const length = input?.reader.size ?? 0;
  if (length <= size) return;
  const { kind, pageSize, spareSize } = describeFlag(flag);
  const unit = pageSize + spareSize;
  if (kind === FLAG_KIND_OOB && unit > 0 && length % unit === 0 && (length / unit) * pageSize <= size) return;
  const oob = kind === FLAG_KIND_OOB ? `, or whole pages of ${unit} bytes that hold no more` : "";
  throw new OtaError("K230_PACK_TOO_LARGE", {
    what: "image is larger than its partition",
    where: printable(name),
    expected: `at most ${size} bytes${oob}`,
    found: length,
  });
}

interface Extent {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** @throws OtaError K230_PACK_OVERLAP for partitions that share bytes with each other or with a table of the medium */
export function checkOverlaps(placed: readonly Placed[], tables: readonly Extent[] = []): void {
  const extents = placed.map(({ partition, offset, size }) => ({ name: partition.name, offset, size }));
  const sorted = [...extents, ...tables].filter((p) => p.size > 0).sort((a, b) => a.offset - b.offset);
  sorted.forEach((p, i) => {
    const before = sorted[i - 1];
    if (before === undefined || before.offset + before.size <= p.offset) return;
    throw new OtaError("K230_PACK_OVERLAP", {
      what: `partition overlaps ${printable(before.name)}`,
      where: printable(p.name),
      expected: `at or behind ${hexOffset(before.offset + before.size)}`,
      found: hexOffset(p.offset),
    });
  });
}

/** Bytes 440 to 511 of sector 0. @throws OtaError K230_PACK_MBR */
export function buildMbrTail(placed: readonly Placed[], diskSignature: number): Uint8Array {
  const entries = placed
    .filter((p) => p.partition.inTable)
    .map(({ partition, offset, size }) => ({
      type: partition.partitionType,
      bootable: partition.bootable,
      startLba: Math.floor(offset / SECTOR_SIZE),
      sectors: Math.floor(size / SECTOR_SIZE),
    }));
  return encodeMbrTail(entries, diskSignature);
}

/**
 * The table of contents: what the configuration says, so a partition without `size` has size 0 and one without `offset`
 * offset 0, as the vendor's packer writes it.
 */
export function buildToc(image: CardImage): Uint8Array {
  const entries = image.partitions
    .filter((p) => !p.name.startsWith("["))
    .map((p) => ({
      name: cutText(p.name, 31),
      offset: p.offset ?? 0,
      size: p.size ?? 0,
      load: p.load ? 1 : 0,
      boot: p.boot,
    }));
  const toc = encodeToc(entries);
  if (image.mediumType !== "spi_nand" || toc.length >= image.pageSize) return toc;
  const page = new Uint8Array(image.pageSize);
  page.set(toc);
  return page;
}

/** What a release engineer should know of a layout that packs but may not do what is meant. */
export function layoutWarnings(image: CardImage): string[] {
  const warnings: string[] = [];
  if (!image.toc) return warnings;
  if (image.partitions.length > TOC_MAX_ENTRIES) {
    warnings.push(`the loader sees only the first ${TOC_MAX_ENTRIES} of ${image.partitions.length} partitions`);
  }
  for (const { name, load, size } of image.partitions) {
    if (load && size === undefined) {
      warnings.push(`partition ${printable(name)} has no size: the loader will not load it, and updates have no bound`);
    }
  }
  return warnings;
}
