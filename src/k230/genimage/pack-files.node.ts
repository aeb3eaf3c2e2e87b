/** Packs a configuration from and to folders: everything is written beside its name and appears whole or not at all. */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import type { ByteStream, Codecs, Digests, ProgressSink, RandomReader } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { readImages } from "./model.ts";
import type { CardImage, ForeignImage } from "./model.ts";
import { EMPTY_RTAPP, EMPTY_RTAPP_SIZE, planOtaImage } from "./ota-image.ts";
import { packImage } from "./pack.ts";
import { parseConfig } from "./parse.ts";
import type { Includer } from "./parse.ts";
import type { InputFile } from "./plan.ts";
import { configError } from "./values.ts";

export interface PackFilesOptions {
  /** The genimage configuration. */
  readonly config: string;
  /** Folder the `image` options are relative to. */
  readonly inputPath: string;
  readonly outputPath: string;
  /** Make the OTA image of a release instead: `NAME_ota.kdimg`, its `.gz` and `.md5`. */
  readonly ota: boolean;
  readonly digests: Digests;
  readonly codecs: Codecs;
  readonly progress: ProgressSink;
  openReader(path: string): Promise<RandomReader & { close(): Promise<void> }>;
  /** Told of the configuration and every file it includes. */
  readonly onConfig?: (path: string) => void;
}

export interface PackedFile {
  readonly path: string;
  readonly size: number;
}

const includer =
  (onConfig: PackFilesOptions["onConfig"]): Includer =>
  async (name, from) => {
    const file = resolve(dirname(from), name);
    const text = await readText(file);
    if (text === undefined) return undefined;
    onConfig?.(file);
    return { file, text };
  };

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Files that are being made: hidden until all of them are complete. */
class Outputs {
  readonly #folder: string;
  readonly #suffix = `.otaforge-${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #names: string[] = [];
  /** First of the folders that were made for the output. */
  #made: string | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Where `name` is written for now. */
  draft(name: string): string {
    return join(this.#folder, `.${name}${this.#suffix}`);
  }

  final(name: string): string {
    return join(this.#folder, name);
  }

  async create(name: string, write: (file: Awaited<ReturnType<typeof open>>) => Promise<void>): Promise<void> {
    this.#made ??= await mkdir(this.#folder, { recursive: true });
    const file = await open(this.draft(name), "wx");
    this.#names.push(name);
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  has(name: string): boolean {
    return this.#names.includes(name);
  }

  async commit(): Promise<void> {
    for (const name of this.#names) await rename(this.draft(name), this.final(name));
  }

  async discard(): Promise<void> {
    for (const name of this.#names) await rm(this.draft(name), { force: true });
    const made = this.#made;
    if (made === undefined) return;
    // Only folders that were made here and are empty again.
    for (let folder = resolve(this.#folder); folder.startsWith(made); folder = dirname(folder)) {
      await rmdir(folder).catch(() => undefined);
    }
  }
}

async function writeFully(file: Awaited<ReturnType<typeof open>>, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/**
 * Packs every image of a configuration. A failure leaves no file behind.
 * @returns the files made, in order
 * @throws OtaError K230_CONFIG, K230_PACK_*, DEVICE_*
 */
export async function packFiles(options: PackFilesOptions): Promise<PackedFile[]> {
  const text = await readText(options.config);
  options.onConfig?.(options.config);
  if (text === undefined) {
    throw new OtaError("K230_PACK_INPUT", { what: "configuration cannot be read", where: options.config });
  }
  const images = readImages(await parseConfig(text, options.config, includer(options.onConfig)), options.progress);
  const outputs = new Outputs(options.outputPath);
  const packer = new Packer(options, outputs, text);
  try {
    if (options.ota) {
      await packer.ota(planOtaImage(images).image);
    } else {
      for (const image of images) await (image.kind === "foreign" ? packer.foreign(image) : packer.card(image));
    }
    await outputs.commit();
    return packer.files;
  } catch (e) {
    await outputs.discard();
    throw e;
  } finally {
    await packer.close();
  }
}

class Packer {
  readonly files: PackedFile[] = [];
  readonly #options: PackFilesOptions;
  readonly #outputs: Outputs;
  readonly #signature: number;
  readonly #open = new Map<string, RandomReader & { close(): Promise<void> }>();
  readonly #declared = new Map<string, number>();
  readonly #finished = new Set<string>();

  constructor(options: PackFilesOptions, outputs: Outputs, config: string) {
    this.#options = options;
    this.#outputs = outputs;
    this.#signature = createHash("sha256").update(config).digest().readUInt32LE(0);
  }

  async close(): Promise<void> {
    for (const reader of this.#open.values()) await reader.close();
  }

  /** A finished file of that name from the input folder stands for an image other programs make. */
  async foreign({ name, type, size, place }: ForeignImage): Promise<void> {
    if ((await this.#reader(join(this.#options.inputPath, name))) === undefined) {
      throw configError(place, `images of kind ${printable(type)} are made by other programs`, {
        hint: `Put the finished ${printable(name)} into the input folder.`,
      });
    }
    this.#options.progress.note("info", `${printable(name)}: ${type} image taken as it is from the input folder`);
    if (size !== undefined) this.#declared.set(name, size);
  }

  async card(image: CardImage): Promise<void> {
    await this.#outputs.create(image.name, async (file) => {
      const output = {
        write: (offset: number, bytes: Uint8Array) => writeFully(file, offset, bytes),
        truncate: (size: number) => file.truncate(size),
      };
      const size = await packImage(image, output, {
        inputs: (name) => this.#input(name),
        digests: this.#options.digests,
        progress: this.#options.progress,
        signature: this.#signature,
      });
      this.files.push({ path: this.#outputs.final(image.name), size });
    });
    this.#finished.add(image.name);
    if (image.size !== undefined) this.#declared.set(image.name, image.size);
  }

  async ota(image: CardImage): Promise<void> {
    await this.card(await this.#withRtapp(image));
    const packed = `${image.name}.gz`;
    const draft = this.#outputs.draft(image.name);
    await this.#write(packed, this.#options.codecs.gzip(createReadStream(draft) as ByteStream));
    const lines: string[] = [];
    for (const name of [image.name, packed]) {
      const digest = this.#options.digests.create("md5");
      for await (const chunk of createReadStream(this.#outputs.draft(name)) as ByteStream) digest.update(chunk);
      lines.push(`${Buffer.from(digest.digest()).toString("hex")}  ${name}\n`);
    }
    await this.#write(`${image.name}.md5`, [Buffer.from(lines.join(""))]);
  }

  /** A missing application file becomes the SDK's zeros as well. */
  async #withRtapp(image: CardImage): Promise<CardImage> {
    const partitions = [...image.partitions];
    const rtapp = partitions[1];
    if (rtapp?.image === undefined || (await this.#input(rtapp.image)) !== undefined) return image;
    const { progress } = this.#options;
    progress.note("warning", `${printable(rtapp.image)} is not there: a zero-filled rtapp is packed`);
    partitions[1] = { ...rtapp, image: EMPTY_RTAPP };
    return { ...image, partitions };
  }

  async #write(name: string, content: ByteStream | Iterable<Uint8Array>): Promise<void> {
    let size = 0;
    await this.#outputs.create(name, async (file) => {
      for await (const chunk of content) {
        await writeFully(file, size, chunk);
        size += chunk.length;
      }
    });
    this.files.push({ path: this.#outputs.final(name), size });
  }

  async #input(name: string): Promise<InputFile | undefined> {
    if (name === EMPTY_RTAPP) return { key: name, reader: memoryReader(new Uint8Array(EMPTY_RTAPP_SIZE)) };
    const path = this.#finished.has(name) ? this.#outputs.draft(name) : resolve(this.#options.inputPath, name);
    const reader = await this.#reader(path);
    const declaredSize = this.#declared.get(name);
    return reader === undefined
      ? undefined
      : { key: path, reader, ...(declaredSize === undefined ? {} : { declaredSize }) };
  }

  async #reader(path: string): Promise<RandomReader | undefined> {
    const open = this.#open.get(path);
    if (open !== undefined) return open;
    try {
      const reader = await this.#options.openReader(path);
      this.#open.set(path, reader);
      return reader;
    } catch (e) {
      if (e instanceof OtaError && e.code === "DEVICE_NOT_FOUND") return undefined;
      throw e;
    }
  }
}
