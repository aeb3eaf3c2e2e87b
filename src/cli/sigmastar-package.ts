/** `otaforge inspect|verify|extract|compare` for SigmaStar packages. */
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { hexOffset, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { formatBytes } from "../core/progress.ts";
import { decodeText, printable } from "../core/text.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import {
  comparePackages,
  detectGeneration,
  inspectPackage,
  partName,
  readPackage,
  type Inspection,
  type ReadOptions,
} from "../sigmastar/index.ts";
import type { CommonOptions, Family, PackageInput, Report } from "./family.ts";

/** The plain package of an input. No limit on its size: the reader takes only what the header and records promise. */
export function plainStream(input: PackageInput): ByteStream {
  return input.gzipped ? nodeCodecs.gunzip(input.stream(), Number.MAX_SAFE_INTEGER) : input.stream();
}

function sizeOf(input: PackageInput): Pick<ReadOptions, "sizeBytes"> {
  return input.gzipped || input.reader === undefined ? {} : { sizeBytes: input.reader.size };
}

/** Whether bytes are v1.6 or v0.3/v0.4 in all but their check values: damaged, but ours to report. */
function looksOurs(head: Uint8Array): boolean {
  if (head.length < 20) return false;
  const word = (at: number): number => (head[at] ?? 0) + (head[at + 1] ?? 0) * 256 + (head[at + 2] ?? 0) * 65536;
  if (head.length >= 128 && word(32) === 1 && word(36) === 6 && word(44) === 0 && word(56) < 0x100000) return true;
  const old = word(4) === 0 && (word(8) === 3 || word(8) === 4);
  return old && word(12) > 0 && word(12) < 0x10000 && (head[0] !== 0 || head[1] !== 0);
}

export async function detectSigmastar(input: PackageInput): Promise<boolean> {
  if (detectGeneration(input.plainHead, nodeDigests) !== undefined || looksOurs(input.plainHead)) return true;
  // v0.2 has no magic, and its sum covers scripts that may reach behind the first bytes.
  if (input.reader === undefined || input.plainHead.length < 4096) return false;
  try {
    const reader = await readPackage(plainStream(input), nodeDigests, sizeOf(input));
    await reader.close();
    return true;
  } catch {
    return false;
  }
}

function inspect(input: PackageInput, options: CommonOptions): Promise<Inspection> {
  return inspectPackage(plainStream(input), nodeDigests, {
    ...sizeOf(input),
    cancel: options.cancel,
    onPayload(doneBytes, totalBytes) {
      options.progress.progress({ phase: "verify", item: input.name, doneBytes, totalBytes });
    },
  });
}

const SHOWN_SCRIPT_BYTES = 64 * 1024;

function toJson(input: PackageInput, seen: Inspection): Record<string, unknown> {
  const { header } = seen;
  return {
    family: "sigmastar",
    generation: seen.generation,
    gzipped: input.gzipped,
    header: {
      recordCount: header.recordCount,
      totalSize: header.totalSize,
      beginScriptSize: header.beginScriptSize,
      endScriptSize: header.endScriptSize,
      ...(header.checkSum === undefined ? {} : { checkSum: hexOffset(header.checkSum) }),
      ...(header.headerMd5 === undefined ? {} : { headerMd5: toHex(header.headerMd5) }),
      ...(header.scriptMd5 === undefined ? {} : { scriptMd5: toHex(header.scriptMd5) }),
      ...(header.buildId === undefined ? {} : { buildId: printable(header.buildId) }),
    },
    scripts: seen.scripts.map(({ name, offset, size, sha256, content }) => ({
      name,
      offset,
      size,
      sha256,
      ...(size <= SHOWN_SCRIPT_BYTES ? { text: decodeText(content) } : {}),
    })),
    records: seen.records.map((r) => ({
      index: r.index,
      offset: r.offset,
      payloadOffset: r.payloadOffset,
      opt: r.head.opt,
      operation: r.operation,
      size: r.head.fileSize,
      destination: printable(r.head.destination),
      destinations: r.destinations.map((d) => ({ path: printable(d.path), mask: d.mask })),
      destinationSize: r.head.destinationSize,
      mode: r.head.mode,
      ...(r.head.sourceName === undefined ? {} : { source: printable(r.head.sourceName) }),
      ...(r.head.log === undefined ? {} : { log: printable(r.head.log) }),
      check: r.check,
      sha256: r.sha256,
      ...(r.resultSize === undefined ? {} : { resultSize: r.resultSize }),
      does: r.does,
    })),
    ok: seen.problem === undefined,
    ...(seen.problem === undefined ? {} : { problem: seen.problem.toJSON() }),
  };
}

function toText(input: PackageInput, seen: Inspection): string {
  const { header } = seen;
  const lines = [
    `${input.name}: SigmaStar package ${seen.generation}${input.gzipped ? " (gzip)" : ""}, ` +
      `${header.recordCount} record${header.recordCount === 1 ? "" : "s"}, ${formatBytes(header.totalSize)} of payload`,
    "header",
    ...seen.headerRows.map((r) => `  ${hexOffset(r.offset).padEnd(6)} ${r.name.padEnd(16)} ${r.value}`),
  ];
  for (const script of seen.scripts) {
    if (script.size === 0) continue;
    lines.push(`${script.name} script at ${hexOffset(script.offset)}, ${script.size} bytes, sha256 ${script.sha256}`);
    const text = decodeText(script.content.subarray(0, SHOWN_SCRIPT_BYTES)).replace(/\n$/, "");
    lines.push(...text.split("\n").map((line) => `  | ${printable(line.replaceAll("\t", "    "))}`));
  }
  for (const r of seen.records) {
    lines.push(`record ${r.index} at ${hexOffset(r.offset)}: ${r.operation}: ${r.does}`);
    lines.push(
      `  payload at ${hexOffset(r.payloadOffset)}, ${r.head.fileSize} bytes, sha256 ${r.sha256}, check ${r.check}`,
    );
    const more = [
      r.head.destinationSize === 0 ? "" : `destination size ${hexOffset(r.head.destinationSize)}`,
      r.head.sourceName === undefined || r.head.sourceName === "" ? "" : `source ${printable(r.head.sourceName)}`,
      r.head.log === undefined || r.head.log === "" ? "" : `log ${JSON.stringify(printable(r.head.log))}`,
    ].filter((t) => t !== "");
    if (more.length > 0) lines.push(`  ${more.join(", ")}`);
  }
  lines.push(seen.problem === undefined ? "integrity: good" : `DAMAGED: ${seen.problem.message}`);
  return lines.join("\n");
}

async function verify(input: PackageInput, options: CommonOptions): Promise<Report> {
  const seen = await inspect(input, options);
  if (seen.problem !== undefined) throw seen.problem;
  const { generation, header } = seen;
  return {
    text: `${input.name}: ${generation}, ${header.recordCount} records, ${formatBytes(header.totalSize)} of payload: integrity good`,
    json: { family: "sigmastar", generation, records: header.recordCount, totalSize: header.totalSize, ok: true },
    exitCode: 0,
  };
}

/** Writes a stream beside `path` and renames it when it was complete. */
async function writePart(path: string, content: ByteStream): Promise<void> {
  const beside = `${path}.${process.pid}.tmp`;
  const file = await open(beside, "wx", 0o644);
  try {
    for await (const chunk of content) await file.writeFile(chunk);
    await file.close();
    await rename(beside, path);
  } catch (e) {
    await file.close().catch(() => undefined);
    await rm(beside, { force: true });
    throw e;
  }
}

async function* once(bytes: Uint8Array): ByteStream {
  if (bytes.length > 0) yield bytes;
}

async function extract(
  input: PackageInput,
  folder: string,
  names: readonly string[],
  options: CommonOptions,
): Promise<Report> {
  const reader = await readPackage(plainStream(input), nodeDigests, { ...sizeOf(input), cancel: options.cancel });
  const wanted = new Set(names);
  const used = new Set<string>();
  const take = (...aliases: string[]): boolean => {
    const hits = aliases.filter((alias) => wanted.has(alias));
    hits.forEach((alias) => used.add(alias));
    return wanted.size === 0 || hits.length > 0;
  };
  const written: { name: string; size: number; what: string }[] = [];
  try {
    await mkdir(folder, { recursive: true });
    for (const [name, script] of [
      ["begin.sh", reader.beginScript],
      ["end.sh", reader.endScript],
    ] as const) {
      if (script.length === 0 || !take(name)) continue;
      await writePart(join(folder, name), once(script));
      written.push({ name, size: script.length, what: `${name === "begin.sh" ? "begin" : "end"} script` });
    }
    for await (const record of reader.records()) {
      const { head, index, destinations } = record;
      const name = partName(index, reader.header.recordCount, record);
      const aliases = [name, String(index), head.sourceName ?? "", ...destinations.map((d) => d.path)];
      if (head.opt === 4 || !take(...aliases)) continue;
      const item = printable(head.destination);
      let doneBytes = 0;
      const counted = async function* (): ByteStream {
        for await (const chunk of record.payload) {
          doneBytes += chunk.length;
          const count = reader.header.recordCount;
          options.progress.progress({
            phase: "extract",
            item,
            index: index + 1,
            count,
            doneBytes,
            totalBytes: head.fileSize,
          });
          yield chunk;
        }
      };
      await writePart(join(folder, name), counted());
      written.push({ name, size: head.fileSize, what: item });
    }
  } finally {
    await reader.close();
  }
  const missing = names.filter((name) => !used.has(name));
  if (missing.length > 0) {
    throw new OtaError("USAGE", { what: "no such part in the package", found: missing.map(printable).join(", ") });
  }
  return {
    text: written.map((w) => `${w.name}  ${w.size} bytes  ${w.what}`).join("\n"),
    json: { family: "sigmastar", folder, parts: written },
    exitCode: 0,
  };
}

async function compare(a: PackageInput, b: PackageInput, options: CommonOptions): Promise<Report> {
  const seen: Inspection[] = [];
  for (const input of [a, b]) {
    const one = await inspect(input, options);
    if (one.problem !== undefined) throw one.problem;
    seen.push(one);
  }
  const differences = comparePackages(seen[0] as Inspection, seen[1] as Inspection);
  const same = differences.length === 0;
  return {
    text: same ? "same content" : differences.map((d) => `${d.part}, ${d.field}:\n  a: ${d.a}\n  b: ${d.b}`).join("\n"),
    json: { family: "sigmastar", same, differences },
    exitCode: same ? 0 : 5,
  };
}

/** What this file brings to the family. */
export const sigmastarPackageVerbs: Pick<Family, "detect" | "inspect" | "verify" | "extract" | "compare"> = {
  detect: detectSigmastar,
  async inspect(input, options) {
    const seen = await inspect(input, options);
    return { text: toText(input, seen), json: toJson(input, seen), exitCode: seen.problem?.exitCode ?? 0 };
  },
  verify,
  extract,
  compare,
};
