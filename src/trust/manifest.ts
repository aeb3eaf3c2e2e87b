/**
 * The signed manifest: what a package is, for which device, and the digest of every block of it.
 *
 * It stands beside the package (`PACKAGE.manifest`) or inside it where the vendor's format has room that stock tools ignore.
 * Blocks let a stream be verified before each block is written; item digests prove the base and the result of differential
 * records, about which a bare BSDIFF40 patch says nothing.
 */
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Digests } from "../core/ports.ts";
import { StreamTaker } from "../core/streams.ts";
import { decodeText, encodeText } from "../core/text.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { isOrdered, parseVersion } from "./version.ts";

export const MANIFEST_TYPE = "application/vnd.otaforge.manifest+json";

/** What the package digest is over. */
export type Coverage =
  /** Every byte of the file. */
  | "file"
  /** The gzip file without its embedded signature: flag FEXTRA clear, no extra field. */
  | "gzip-without-extra"
  /** The kdimg with its reserved header bytes zero and the header CRC that belongs to that. */
  | "kdimg-without-reserved";

const COVERAGES: readonly Coverage[] = ["file", "gzip-without-extra", "kdimg-without-reserved"];

export interface ContentDigest {
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Digests of one item that is made from what the device has (a differential record or part). */
export interface ManifestItem {
  readonly index: number;
  readonly name: string;
  /** Absent: the item is complete in itself. */
  readonly base?: ContentDigest;
  readonly result: ContentDigest;
}

export interface Manifest {
  readonly family: "sigmastar" | "k230" | "android";
  /** Hardware names the package is for; empty: any. */
  readonly hardware: readonly string[];
  readonly version: string;
  /** Version the package must be installed over, for differential packages. */
  readonly baseVersion?: string;
  readonly coverage: Coverage;
  readonly package: ContentDigest;
  /** Bytes of a block; the last one may be shorter. */
  readonly blockSize: number;
  /** SHA-256 of every block, one behind the other. */
  readonly blocks: Uint8Array;
  readonly items: readonly ManifestItem[];
  /** Ids of all keys that sign this manifest, ascending: a signature cannot be dropped or swapped unnoticed. */
  readonly signers: readonly string[];
}

/** Smallest block, and most blocks of a manifest: the block grows with the package so that the manifest stays small. */
const LEAST_BLOCK = 64 * 1024;
const MOST_BLOCKS = 16_384;

/** Bytes of a block of a package of `size` bytes, a power of two, so that there are at most `most` blocks. */
export function blockSizeFor(size: number, most = MOST_BLOCKS): number {
  let block = LEAST_BLOCK;
  while (Math.ceil(size / block) > most) block *= 2;
  return block;
}

/** Digest of a whole stream of `size` bytes and of its blocks. @throws OtaError READ_PAST_END when it is shorter or longer */
export async function digestBlocks(
  stream: ByteStream,
  size: number,
  digests: Digests,
  blockSize = blockSizeFor(size),
): Promise<Pick<Manifest, "package" | "blockSize" | "blocks">> {
  const blocks = new Uint8Array(Math.ceil(size / blockSize) * 32);
  const whole = digests.create("sha256");
  const taker = new StreamTaker(stream);
  for (let i = 0; i * blockSize < size; i++) {
    const length = Math.min(blockSize, size - i * blockSize);
    const block = await taker.take(length);
    if (block.length < length) {
      throw new OtaError("READ_PAST_END", { what: "the package became shorter", expected: size, found: taker.offset });
    }
    whole.update(block);
    const one = digests.create("sha256");
    one.update(block);
    blocks.set(one.digest(), i * 32);
  }
  if (!(await taker.atEnd())) {
    throw new OtaError("READ_PAST_END", { what: "the package became longer", expected: size, found: "more bytes" });
  }
  return { package: { size, sha256: toHex(whole.digest()) }, blockSize, blocks };
}

function contentJson(content: ContentDigest): Record<string, unknown> {
  return { size: content.size, sha256: content.sha256 };
}

/** The one canonical text of a manifest. @throws OtaError TRUST_VERSION */
export function encodeManifest(m: Manifest): Uint8Array {
  parseVersion(m.version);
  if (m.baseVersion !== undefined) parseVersion(m.baseVersion);
  const json = {
    otaforge: 1,
    family: m.family,
    hardware: m.hardware,
    version: m.version,
    ...(m.baseVersion === undefined ? {} : { baseVersion: m.baseVersion }),
    coverage: m.coverage,
    package: contentJson(m.package),
    blockSize: m.blockSize,
    blocks: toBase64(m.blocks),
    items: m.items.map((item) => ({
      index: item.index,
      name: item.name,
      ...(item.base === undefined ? {} : { base: contentJson(item.base) }),
      result: contentJson(item.result),
    })),
    signers: m.signers,
  };
  return encodeText(JSON.stringify(json));
}

function malformed(where: string): OtaError {
  return new OtaError("TRUST_MANIFEST", { what: "the signed manifest is malformed", where });
}

type Json = Record<string, unknown>;

function asObject(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(where);
  return value as Json;
}

function asText(value: unknown, where: string): string {
  if (typeof value !== "string") throw malformed(where);
  return value;
}

function asSize(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw malformed(where);
  return value;
}

function asList(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(where);
  return value as unknown[];
}

function asContent(value: unknown, where: string): ContentDigest {
  const json = asObject(value, where);
  const sha256 = asText(json["sha256"], `${where}.sha256`);
  if (fromHex(sha256)?.length !== 32) throw malformed(`${where}.sha256`);
  return { size: asSize(json["size"], `${where}.size`), sha256 };
}

/** Reads a manifest that {@link encodeManifest} wrote; any other text is refused. @throws OtaError TRUST_MANIFEST */
export function decodeManifest(bytes: Uint8Array): Manifest {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decodeText(bytes));
  } catch {
    throw malformed("no JSON");
  }
  const json = asObject(parsed, "the whole");
  if (json["otaforge"] !== 1) throw malformed("otaforge (format version)");
  const family = asText(json["family"], "family");
  if (family !== "sigmastar" && family !== "k230" && family !== "android") throw malformed("family");
  const coverage = COVERAGES.find((c) => c === json["coverage"]);
  if (coverage === undefined) throw malformed("coverage");
  const content = asContent(json["package"], "package");
  const blockSize = asSize(json["blockSize"], "blockSize");
  const blocks = fromBase64(asText(json["blocks"], "blocks"));
  if (blockSize < LEAST_BLOCK || blocks === undefined) throw malformed("blocks");
  if (blocks.length !== Math.ceil(content.size / blockSize) * 32) throw malformed("blocks");
  const manifest: Manifest = {
    family,
    hardware: asList(json["hardware"], "hardware").map((h) => asText(h, "hardware")),
    version: asText(json["version"], "version"),
    ...(json["baseVersion"] === undefined ? {} : { baseVersion: asText(json["baseVersion"], "baseVersion") }),
    coverage,
    package: content,
    blockSize,
    blocks,
    items: asList(json["items"], "items").map((entry, i) => {
      const item = asObject(entry, `items[${i}]`);
      return {
        index: asSize(item["index"], `items[${i}].index`),
        name: asText(item["name"], `items[${i}].name`),
        ...(item["base"] === undefined ? {} : { base: asContent(item["base"], `items[${i}].base`) }),
        result: asContent(item["result"], `items[${i}].result`),
      };
    }),
    signers: asList(json["signers"], "signers").map((s) => asText(s, "signers")),
  };
  if (!isOrdered(manifest.version)) throw malformed("version");
  if (manifest.baseVersion !== undefined && !isOrdered(manifest.baseVersion)) throw malformed("baseVersion");
  if (!equalBytes(encodeManifest(manifest), bytes)) throw malformed("not in its canonical form");
  return manifest;
}
