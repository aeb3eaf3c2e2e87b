/** Installs a K230 image from a file, a compressed file, a pipe or an HTTP address. */
import type { IncomingMessage } from "node:http";
import { OtaError } from "../core/errors.ts";
import { formatBytes } from "../core/progress.ts";
import type { ByteStream } from "../core/ports.ts";
import { checkImageStream, createOta, type K230Card, type OtaOptions, type OtaReport } from "../k230/index.ts";
import type { PackageInput, Report } from "./family.ts";
import { imageStream } from "./k230-package.ts";
import { keepMemorySmall } from "./small-memory.ts";

export interface K230InstallOptions extends OtaOptions {
  readonly chunkSize?: number;
}

/** A stream in pieces of at most `size` bytes. */
async function* inPieces(stream: ByteStream, size: number | undefined): ByteStream {
  for await (const bytes of stream) {
    if (size === undefined) yield bytes;
    else for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
}

async function installStream(card: K230Card, stream: ByteStream, options: K230InstallOptions): Promise<OtaReport> {
  const ota = await createOta(card, options);
  try {
    for await (const bytes of inPieces(stream, options.chunkSize)) if (bytes.length > 0) await ota.update(bytes);
  } catch (e) {
    await ota.abort();
    throw e;
  }
  return ota.destroy();
}

/** @throws OtaError KDIMG_*, K230_*, DEVICE_* */
export async function installInput(
  card: K230Card,
  input: PackageInput,
  options: K230InstallOptions,
): Promise<OtaReport> {
  const vendor = options.profile === "vendor";
  if (input.reader !== undefined && (!input.gzipped || vendor)) {
    return (await createOta(card, options)).writeFile(input.reader, options.chunkSize);
  }
  if ((input.reader === undefined && input.repeatable !== true) || vendor)
    return installStream(card, vendor ? input.stream() : imageStream(input), options);
  // A compressed file is read twice: once to check all of it, once to install what was checked.
  const checkedImage = await checkImageStream(card, imageStream(input), options);
  const ota = await createOta(card, { ...options, checkedImage });
  try {
    for await (const bytes of imageStream(input)) await ota.update(bytes);
  } catch (e) {
    await ota.abort();
    throw e;
  }
  return ota.destroy();
}

/** The body of an HTTP answer, as it comes. @throws OtaError K230_DOWNLOAD */
export async function* httpBody(url: string, signal: AbortSignal): ByteStream {
  const fail = (found: string, e?: unknown): OtaError =>
    new OtaError(
      "K230_DOWNLOAD",
      {
        what: "the image could not be downloaded completely",
        where: url,
        found,
        hint: "Run the command again: what is verified is not written again.",
      },
      e,
    );
  const response = await request(url, signal).catch((e: unknown) => {
    throw fail(e instanceof Error ? e.message : String(e), e);
  });
  if (response.statusCode !== 200) {
    response.destroy();
    throw fail(`status ${response.statusCode ?? "none"}`);
  }
  const length = Number(response.headers["content-length"] ?? Number.NaN);
  const memory = keepMemorySmall();
  let seen = 0;
  try {
    for await (const chunk of response as ByteStream) {
      seen += chunk.length;
      memory.progress({ phase: "download", doneBytes: seen, totalBytes: seen });
      yield chunk;
    }
  } catch (e) {
    throw fail(`${seen} bytes`, e);
  }
  if (Number.isFinite(length) && seen !== length) throw fail(`${seen} of ${length} bytes`);
}

/** The answer to a GET, redirects as they are. Not `fetch`, which takes 40 MiB more for the same body. */
async function request(url: string, signal: AbortSignal): Promise<IncomingMessage> {
  const { get } = url.startsWith("https:") ? await import("node:https") : await import("node:http");
  return new Promise((resolve, reject) => {
    get(url, { signal }, resolve).on("error", reject);
  });
}

/** What an update ended in. */
export function installReport(report: OtaReport, signature = "unsigned"): Report {
  if (report.outcome === "nothing") {
    throw new OtaError("KDIMG_TRUNCATED", { what: "the image is empty", expected: "a kdimg", found: "0 bytes" });
  }
  if (report.outcome === "accepted-nothing-installed") {
    return {
      text: "every byte was accepted and nothing was installed, as the vendor's driver does with such an image",
      json: { family: "k230", ...report },
      exitCode: 0,
    };
  }
  const { slot, version } = report;
  const parts = "parts" in report ? report.parts : [];
  const lines = [
    `installed in slot ${slot ?? "?"}, version ${version ?? "?"}; it starts at the next restart`,
    ...parts.map(
      (p) =>
        `  ${p.name} in ${p.partition}, ${formatBytes(p.size)}${p.written ? "" : ", was written and verified before"}`,
    ),
    ...("trust" in report ? [`signature: ${signature}`] : []),
  ];
  return {
    text: lines.join("\n"),
    json: { family: "k230", ...report, ...("trust" in report ? { trust: signature } : {}) },
    exitCode: 0,
  };
}
