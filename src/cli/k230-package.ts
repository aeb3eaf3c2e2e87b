/** K230 images at the front door: inspect, verify, extract, compare. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { ByteStream, Digest } from "../core/ports.ts";
import { nodeCodecs } from "../device/codecs.ts";
import { nodeDigests } from "../device/digests.ts";
import { scanKdimg, type KdimgScan, type ScannedPart } from "../k230/index.ts";
import type { CommonOptions, Family, PackageInput, Report } from "./family.ts";
import { inspectReport, problemsJson, scanJson } from "./k230-report.ts";

/** Unpacked image of a compressed one: beyond it nothing can be addressed by the format's 32-bit offsets. */
const MAX_IMAGE = 2 ** 33;

/** The image's bytes in order, unpacked where it is compressed. */
export function imageStream(input: PackageInput): ByteStream {
  return input.gzipped ? nodeCodecs.gunzip(input.stream(), MAX_IMAGE) : input.stream();
}

export function scanInput(input: PackageInput): Promise<KdimgScan> {
  return scanKdimg(imageStream(input), nodeDigests);
}

async function verify(input: PackageInput): Promise<Report> {
  const scan = await scanInput(input);
  const bad = scan.problems;
  const text =
    bad.length === 0 ? `${scan.parts.length} parts, every digest fits` : bad.map((p) => p.message).join("\n");
  const exitCode = bad.length === 0 ? 0 : 3;
  return {
    text,
    json: { family: "k230", ok: bad.length === 0, ...scanJson(scan), problems: problemsJson(bad) },
    exitCode,
  };
}

/** A part's name as a file name. @throws OtaError KDIMG_UNSAFE_NAME */
function fileName(name: string): string {
  if (name !== "" && name !== "." && name !== ".." && !/[/\\\0]/.test(name) && !name.startsWith("~")) return name;
  throw new OtaError("KDIMG_UNSAFE_NAME", { what: "part name cannot be a file name", where: printable(name) });
}

/** A delta part gives a patch, for `otaforge patch`. */
const extractedName = (part: ScannedPart): string => fileName(part.name) + (part.delta === undefined ? "" : ".patch");

/** Writes one content beside its name while it is hashed; only a whole and right one gets the name. */
class PartFile {
  readonly part: ScannedPart;
  readonly path: string;
  readonly #draft: string;
  readonly #digest: Digest = nodeDigests.create("sha256");
  #file: Awaited<ReturnType<typeof open>> | undefined;
  #size = 0;

  constructor(part: ScannedPart, folder: string) {
    this.part = part;
    this.path = join(folder, extractedName(part));
    this.#draft = join(folder, `.otaforge-${process.pid}-${randomBytes(6).toString("hex")}`);
  }

  async open(): Promise<void> {
    this.#file = await open(this.#draft, constants.O_WRONLY + constants.O_CREAT + constants.O_EXCL, 0o644);
  }

  async take(at: number, bytes: Uint8Array): Promise<void> {
    const { contentOffset, contentSize } = this.part;
    const from = Math.max(at, contentOffset);
    const to = Math.min(at + bytes.length, contentOffset + contentSize);
    if (from >= to || this.#file === undefined) return;
    const piece = bytes.subarray(from - at, to - at);
    this.#digest.update(piece);
    for (let done = 0; done < piece.length;) done += (await this.#file.write(piece, done)).bytesWritten;
    this.#size += piece.length;
  }

  async end(): Promise<boolean> {
    await this.#file?.close();
    this.#file = undefined;
    const good = this.#size === this.part.contentSize && toHex(this.#digest.digest()) === toHex(this.part.sha256);
    // rename() replaces a link that lies there instead of writing through it.
    if (good) await rename(this.#draft, this.path);
    else await rm(this.#draft, { force: true });
    return good;
  }

  async discard(): Promise<void> {
    await this.#file?.close();
    await rm(this.#draft, { force: true });
  }
}

async function extract(input: PackageInput, folder: string, names: readonly string[]): Promise<Report> {
  if (input.reader === undefined) {
    throw new OtaError("UNSUPPORTED", {
      what: "extraction reads the image twice",
      hint: "Store it in a file and name that.",
    });
  }
  const scan = await scanInput(input);
  const wanted = scan.parts.filter((p) => names.length === 0 || names.includes(p.name));
  for (const name of names) {
    if (!scan.parts.some((p) => p.name === name))
      throw new OtaError("USAGE", { what: "the image has no such part", where: printable(name) });
  }
  if (scan.header === undefined && scan.problems[0] !== undefined) throw scan.problems[0];
  const seen = new Set<string>();
  for (const { name } of wanted) {
    if (seen.has(name))
      throw new OtaError("KDIMG_DUPLICATE_PART", {
        what: "two parts would have the same file",
        where: printable(name),
      });
    seen.add(name);
  }
  await mkdir(folder, { recursive: true });
  const files = wanted.map((part) => new PartFile(part, folder));
  const written: string[] = [];
  try {
    for (const file of files) await file.open();
    let at = 0;
    for await (const bytes of imageStream(input)) {
      for (const file of files) await file.take(at, bytes);
      at += bytes.length;
    }
    for (const file of files) if (await file.end()) written.push(file.path);
  } catch (e) {
    for (const file of files) await file.discard();
    throw e;
  }
  const problems = scan.problems.map((p) => p.message);
  return {
    text: [...written, ...problems].join("\n"),
    json: { family: "k230", written, problems: problemsJson(scan.problems) },
    exitCode: problems.length === 0 ? 0 : 3,
  };
}

async function compare(a: PackageInput, b: PackageInput): Promise<Report> {
  const [left, right] = [await scanInput(a), await scanInput(b)];
  for (const scan of [left, right]) if (scan.problems[0] !== undefined) throw scan.problems[0];
  const names = [...new Set([...left.parts, ...right.parts].map((p) => p.name))];
  // Of a delta part what it makes counts, so that a delta image equals the full one of the same release.
  const made = (scan: KdimgScan, name: string): { size: number; sha256: string } | undefined => {
    const part = scan.parts.find((p) => p.name === name);
    if (part === undefined) return undefined;
    const { delta } = part;
    return delta === undefined
      ? { size: part.contentSize, sha256: toHex(part.sha256) }
      : { size: delta.resultSize, sha256: toHex(delta.resultSha256) };
  };
  const say = (scan: KdimgScan, name: string): string => {
    const part = made(scan, name);
    return part === undefined ? "absent" : `${part.size} bytes, ${part.sha256.slice(0, 16)}…`;
  };
  const digest = (scan: KdimgScan, name: string): string => made(scan, name)?.sha256 ?? "";
  const different = names.filter((name) => digest(left, name) !== digest(right, name));
  const texts = (["imageInfo", "chipInfo", "boardInfo"] as const).filter((k) => left.header?.[k] !== right.header?.[k]);
  const lines = [
    ...texts.map((k) => `${k}: ${printable(left.header?.[k] ?? "")} / ${printable(right.header?.[k] ?? "")}`),
    ...different.map((name) => `${printable(name)}: ${say(left, name)} / ${say(right, name)}`),
  ];
  const same = different.length === 0;
  return {
    text: same ? ["the contents of all parts are the same", ...lines].join("\n") : lines.join("\n"),
    json: { family: "k230", same, different, texts },
    exitCode: same ? 0 : 5,
  };
}

export const k230PackageVerbs: Pick<Family, "inspect" | "verify" | "extract" | "compare"> = {
  inspect: async (input: PackageInput, _options: CommonOptions) =>
    inspectReport(await scanInput(input), input.gzipped ? undefined : input.reader),
  verify,
  extract,
  compare,
};
