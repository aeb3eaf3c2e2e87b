/** What a genimage configuration means: images and their partitions, with every option's type checked. */
import { printable } from "../../core/text.ts";
import type { ProgressSink } from "../../core/ports.ts";
import { configError, parseBits, parseSize, parseTruth } from "./values.ts";
import type { Place } from "./values.ts";
import type { Option, Section } from "./parse.ts";

export type TableType = "none" | "mbr" | "gpt" | "hybrid";
export type MediumType = "mmc" | "spi_nand" | "spi_nor";

export interface Partition {
  readonly name: string;
  readonly place: Place;
  /** Bytes; undefined when the configuration gives none. */
  readonly offset?: number;
  readonly size?: number;
  /** File below the input folder, or the name of an earlier image. */
  readonly image?: string;
  readonly inTable: boolean;
  readonly bootable: boolean;
  readonly partitionType: number;
  readonly load: boolean;
  readonly boot: number;
  readonly eraseSize: number;
  readonly flag: bigint;
  readonly align?: number;
}

export interface CardImage {
  readonly kind: "kdimage" | "hdimage";
  /** Name of the output file. */
  readonly name: string;
  readonly place: Place;
  readonly size?: number;
  readonly tableType: TableType;
  readonly toc: boolean;
  readonly tocOffset: number;
  readonly mediumType: MediumType;
  /** Bytes of one NAND page: the table of contents fills at least one. */
  readonly pageSize: number;
  readonly align: number;
  readonly diskSignature: number | "random";
  /** kdimage only; absent texts are an error when it is packed. */
  readonly imageInfo?: string;
  readonly chipInfo?: string;
  readonly boardInfo?: string;
  readonly partitions: readonly Partition[];
}

/** An image of a kind that other programs make; a finished file of its name is taken from the input folder. */
export interface ForeignImage {
  readonly kind: "foreign";
  readonly name: string;
  readonly place: Place;
  /** `vfat`, `uffs` … */
  readonly type: string;
  readonly size?: number;
}

export type Image = CardImage | ForeignImage;

const CARD_KINDS = ["kdimage", "hdimage"];
const DEFAULT_TOC_OFFSET = 0xe0000;
const DEFAULT_PAGE = 2048;
const SECTOR = 512;

const PARTITION_OPTIONS = new Set(
  (
    "in-partition-table offset size image load boot erase-size flag partition-type partition-type-uuid partition-uuid " +
    "bootable read-only hidden fill logical align forced-primary extraargs"
  ).split(" "),
);
const IMAGE_OPTIONS = new Set("size temporary mountpoint empty exec-pre exec-post flashtype".split(" "));
const CARD_OPTIONS = new Set(
  (
    "image_info chip_info board_info medium-type partition-table-type toc toc-offset gpt-location gpt-no-backup " +
    "disk-signature disk-uuid align fill extended-partition"
  ).split(" "),
);

function warnUnknown(options: ReadonlyMap<string, Option>, known: ReadonlySet<string>, progress: ProgressSink): void {
  for (const [key, { place }] of options) {
    if (!known.has(key))
      progress.note("warning", `${place.file}:${place.line}: option ${printable(key)} is not known and has no effect`);
  }
}

function sizeOf(section: Section | undefined, key: string): number | undefined {
  const option = section?.options.get(key);
  return option === undefined ? undefined : parseSize(option.value, option.place);
}

function truthOf(section: Section, key: string, otherwise: boolean): boolean {
  const option = section.options.get(key);
  return option === undefined ? otherwise : parseTruth(option.value, option.place);
}

function choiceOf<T extends string>(
  section: Section,
  key: string,
  choices: Readonly<Record<string, T>>,
  otherwise: T,
): T {
  const option = section.options.get(key);
  if (option === undefined) return otherwise;
  const found = choices[option.value];
  if (found !== undefined && Object.hasOwn(choices, option.value)) return found;
  throw configError(option.place, `unknown ${key}`, {
    expected: Object.keys(choices).join(", "),
    found: printable(option.value),
  });
}

const optional = <K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } =>
  (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };

/** The images of a configuration in their order. @throws OtaError K230_CONFIG */
export function readImages(sections: readonly Section[], progress: ProgressSink): Image[] {
  const flashes = new Map<string, Section>();
  const images: Image[] = [];
  for (const section of sections) {
    if (section.type === "flash") flashes.set(section.name, section);
    else if (section.type === "image") images.push(readImage(section, flashes, progress));
    else if (section.type !== "config") {
      throw configError(section.place, `unknown section ${printable(section.type)}`, { expected: "image or flash" });
    }
  }
  const seen = new Set<string>();
  for (const { name, place } of images) {
    if (seen.has(name)) throw configError(place, "image occurs twice", { found: printable(name) });
    seen.add(name);
  }
  if (images.length === 0)
    throw configError({ file: sections[0]?.place.file ?? "configuration", line: 1 }, "no image section");
  return images;
}

function readImage(section: Section, flashes: ReadonlyMap<string, Section>, progress: ProgressSink): Image {
  const { name, place } = section;
  if (name === "" || name.includes("/") || name === "." || name === ".." || name.includes("\0")) {
    throw configError(place, "image needs a plain file name", { found: printable(name) });
  }
  warnUnknown(section.options, IMAGE_OPTIONS, progress);
  const kinds = section.sections.filter((s) => s.type !== "partition");
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw configError(place, "image needs exactly one kind", {
      expected: "kdimage or hdimage",
      found: kinds.map((k) => k.type).join(", ") || "none",
    });
  }
  const size = sizeOf(section, "size");
  if (!CARD_KINDS.includes(kind.type))
    return { kind: "foreign", name, place, type: kind.type, ...optional("size", size) };
  warnUnknown(kind.options, CARD_OPTIONS, progress);
  const tableType = choiceOf<TableType>(
    kind,
    "partition-table-type",
    { none: "none", mbr: "mbr", dos: "mbr", gpt: "gpt", hybrid: "hybrid" },
    "none",
  );
  const flashName = section.options.get("flashtype");
  const flash = flashName === undefined ? undefined : flashes.get(flashName.value);
  if (flashName !== undefined && flash === undefined) {
    throw configError(flashName.place, "flashtype names no flash section", { found: printable(flashName.value) });
  }
  const signature = kind.options.get("disk-signature");
  return {
    kind: kind.type as "kdimage" | "hdimage",
    name,
    place,
    ...optional("size", size),
    tableType,
    toc: truthOf(kind, "toc", false),
    tocOffset: sizeOf(kind, "toc-offset") ?? DEFAULT_TOC_OFFSET,
    mediumType: choiceOf<MediumType>(
      kind,
      "medium-type",
      { mmc: "mmc", spi_nand: "spi_nand", spi_nor: "spi_nor" },
      "mmc",
    ),
    pageSize: sizeOf(flash, "page-size") ?? DEFAULT_PAGE,
    align: sizeOf(kind, "align") ?? SECTOR,
    diskSignature:
      signature === undefined
        ? 0
        : signature.value === "random"
          ? "random"
          : Number(parseBits(signature.value, signature.place) & 0xffffffffn),
    ...optional("imageInfo", kind.options.get("image_info")?.value),
    ...optional("chipInfo", kind.options.get("chip_info")?.value),
    ...optional("boardInfo", kind.options.get("board_info")?.value),
    partitions: section.sections
      .filter((s) => s.type === "partition")
      .map((s) => readPartition(s, tableType, progress)),
  };
}

function readPartition(section: Section, tableType: TableType, progress: ProgressSink): Partition {
  const { name, place, options } = section;
  if (name === "") throw configError(place, "partition needs a name");
  warnUnknown(options, PARTITION_OPTIONS, progress);
  for (const inner of section.sections)
    throw configError(inner.place, "a partition has no sections", { found: inner.type });
  const bits = (key: string): bigint => {
    const option = options.get(key);
    return option === undefined ? 0n : parseBits(option.value, option.place);
  };
  const byte = (key: string): number => {
    const value = bits(key);
    if (value > 0xffn) throw configError(options.get(key)?.place ?? place, `${key} is beyond one byte`);
    return Number(value);
  };
  return {
    name,
    place,
    ...optional("offset", sizeOf(section, "offset")),
    ...optional("size", sizeOf(section, "size")),
    ...optional("image", options.get("image")?.value),
    inTable: tableType !== "none" && truthOf(section, "in-partition-table", true),
    bootable: truthOf(section, "bootable", false),
    partitionType: byte("partition-type"),
    load: truthOf(section, "load", false),
    boot: byte("boot"),
    eraseSize: sizeOf(section, "erase-size") ?? 0,
    flag: bits("flag"),
    ...optional("align", sizeOf(section, "align")),
  };
}
