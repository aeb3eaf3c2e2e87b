/** Writes kdimg files and raw card images, byte-identical to the vendor's packer (specification sections 6.1 and 6.2). */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import type { Digests, ProgressSink } from "../../core/ports.ts";
import { streamRange } from "../../core/streams.ts";
import { encodeKdimgHead } from "../kdimg.ts";
import type { KdimgPart } from "../kdimg.ts";
import { KDIMG_CONTENT_START } from "../layouts.ts";
import { MBR_TAIL_OFFSET } from "../mbr.ts";
import type { CardImage } from "./model.ts";
import { buildMbrTail, buildToc, checkOverlaps, layoutWarnings, placePartitions, roundUp } from "./plan.ts";
import type { InputFile, InputFiles, Placed } from "./plan.ts";
import { configError, cutText } from "./values.ts";

/** A new, empty output file; bytes never written read as zero. */
export interface PackOutput {
  write(offset: number, bytes: Uint8Array): Promise<void>;
  truncate(size: number): Promise<void>;
}

export interface PackContext {
  readonly inputs: InputFiles;
  readonly digests: Digests;
  readonly progress: ProgressSink;
  /** What `disk-signature = random` becomes, so that the same inputs give the same bytes. */
  readonly signature: number;
}

const BLOCK = 4096;

interface Content {
  readonly offset: number;
  readonly size: number;
  readonly sha256: Uint8Array;
}

/** Packs `image` into `output`. @returns its size in bytes. @throws OtaError K230_CONFIG, K230_PACK_* */
export async function packImage(image: CardImage, output: PackOutput, context: PackContext): Promise<number> {
  if (image.tableType === "gpt" || image.tableType === "hybrid") {
    if (image.kind === "hdimage" || image.tableType === "hybrid") {
      throw configError(image.place, `partition-table-type ${image.tableType} is not made`, {
        expected: image.kind === "hdimage" ? "none, mbr or dos" : "none, mbr, dos or gpt",
      });
    }
    const text = "no GPT is written into a kdimg, as the vendor's packer writes none";
    context.progress.note("warning", `${printable(image.name)}: ${text}`);
  }
  for (const warning of layoutWarnings(image)) context.progress.note("warning", `${printable(image.name)}: ${warning}`);
  const placed = await placePartitions(image, context.inputs);
  return image.kind === "kdimage"
    ? packKdimage(image, placed, output, context)
    : packHdimage(image, placed, output, context);
}

class KdimageWriter {
  readonly parts: KdimgPart[] = [];
  readonly #contents = new Map<string, Content>();
  readonly #output: PackOutput;
  readonly #digests: Digests;
  readonly #padding: number;
  cursor = KDIMG_CONTENT_START;

  constructor(output: PackOutput, digests: Digests, padding: number) {
    this.#output = output;
    this.#digests = digests;
    this.#padding = padding;
  }

  /** Writes a content and its padding, or finds the copy of an earlier part. */
  async add(
    input: InputFile,
    part: Pick<KdimgPart, "name" | "offset" | "eraseSize" | "flag"> & { maxSize: number },
  ): Promise<void> {
    const content = this.#contents.get(input.key) ?? (await this.#write(input));
    this.#contents.set(input.key, content);
    this.parts.push({
      ...part,
      name: cutText(part.name, 31),
      size: content.size,
      contentOffset: content.offset,
      contentSize: content.size,
      sha256: content.sha256,
    });
  }

  async #write({ reader }: InputFile): Promise<Content> {
    const offset = this.cursor;
    const size = reader.size <= BLOCK ? reader.size : roundUp(reader.size, BLOCK);
    const digest = this.#digests.create("sha256");
    let at = offset;
    for await (const chunk of streamRange(reader)) {
      digest.update(chunk);
      await this.#output.write(at, chunk);
      at += chunk.length;
    }
    const padding = new Uint8Array(size - reader.size).fill(this.#padding);
    if (padding.length > 0) {
      digest.update(padding);
      await this.#output.write(at, padding);
    }
    this.cursor = offset + roundUp(size, BLOCK);
    return { offset, size, sha256: digest.digest() };
  }
}

function memoryInput(key: string, bytes: Uint8Array): InputFile {
  return { key, reader: { size: bytes.length, read: async (at, n) => bytes.subarray(at, at + n) } };
}

async function packKdimage(
  image: CardImage,
  placed: readonly Placed[],
  output: PackOutput,
  { digests, progress }: PackContext,
): Promise<number> {
  const texts = {
    imageInfo: cutText(needText(image, "image_info", image.imageInfo), 31),
    chipInfo: cutText(needText(image, "chip_info", image.chipInfo), 31),
    boardInfo: cutText(needText(image, "board_info", image.boardInfo), 63),
  };
  // Everything that can be refused is refused before the first byte of output.
  const mbr = image.tableType === "mbr" ? buildMbrTail(placed, 0) : undefined;
  const toc = image.toc ? buildToc(image) : undefined;
  checkOverlaps(placed, [
    { name: "[MBR]", offset: 0, size: mbr === undefined ? 0 : 512 },
    { name: "[TOC]", offset: image.tocOffset, size: toc?.length ?? 0 },
  ]);
  const writer = new KdimageWriter(output, digests, image.mediumType === "mmc" ? 0 : 0xff);
  const totalBytes = placed.reduce((sum, p) => sum + (p.input?.reader.size ?? 0), 0);
  let doneBytes = 0;
  for (const [i, { partition, offset, size, input }] of placed.entries()) {
    if (input === undefined) continue;
    doneBytes += input.reader.size;
    await writer.add(input, {
      name: partition.name,
      offset,
      eraseSize: partition.eraseSize,
      flag: partition.flag,
      maxSize: size,
    });
    progress.progress({
      phase: "pack",
      item: partition.name,
      index: i + 1,
      count: placed.length,
      doneBytes,
      totalBytes,
    });
  }
  if (mbr !== undefined) {
    const sector = new Uint8Array(512);
    sector.set(mbr, MBR_TAIL_OFFSET);
    await writer.add(memoryInput("[MBR]", sector), { name: "[MBR]", offset: 0, eraseSize: 0, flag: 0n, maxSize: 512 });
  }
  if (toc !== undefined) {
    const part = { name: "[TOC]", offset: image.tocOffset, eraseSize: 0, flag: 0n, maxSize: toc.length };
    await writer.add(memoryInput("[TOC]", toc), part);
  }
  const head = encodeKdimgHead(texts, writer.parts, (b) => digests.crc32(b));
  if (head.length > KDIMG_CONTENT_START) {
    throw configError(image.place, "too many partitions for the part table", {
      expected: "at most 254",
      found: String(writer.parts.length),
    });
  }
  await output.truncate(writer.cursor);
  await output.write(0, head);
  return writer.cursor;
}

function needText(image: CardImage, key: string, value: string | undefined): string {
  if (value !== undefined) return value;
  throw configError(image.place, `kdimage has no ${key}`, {
    hint: "image_info, chip_info and board_info are required.",
  });
}

async function packHdimage(
  image: CardImage,
  placed: readonly Placed[],
  output: PackOutput,
  { signature }: PackContext,
): Promise<number> {
  const mbr =
    image.tableType === "mbr"
      ? buildMbrTail(placed, image.diskSignature === "random" ? signature : image.diskSignature)
      : undefined;
  const toc = mbr !== undefined && image.toc ? buildToc(image) : undefined;
  checkOverlaps(placed, [
    { name: "[MBR]", offset: MBR_TAIL_OFFSET, size: mbr?.length ?? 0 },
    { name: "[TOC]", offset: image.tocOffset, size: toc?.length ?? 0 },
  ]);
  const end = placed.reduce((most, p) => Math.max(most, p.offset + p.size), 0);
  if (image.size !== undefined && end > image.size) {
    throw new OtaError("K230_PACK_TOO_LARGE", {
      what: "partitions reach past the end of the image",
      where: printable(image.name),
      expected: `at most ${image.size} bytes`,
      found: end,
    });
  }
  const size = Math.max(
    end,
    image.size ?? 0,
    mbr === undefined ? 0 : 512,
    toc === undefined ? 0 : image.tocOffset + toc.length,
  );
  await output.truncate(size);
  for (const { offset, input } of placed) {
    if (input === undefined) continue;
    let at = offset;
    for await (const chunk of streamRange(input.reader)) {
      await output.write(at, chunk);
      at += chunk.length;
    }
  }
  if (mbr !== undefined) await output.write(MBR_TAIL_OFFSET, mbr);
  if (toc !== undefined) await output.write(image.tocOffset, toc);
  return size;
}
