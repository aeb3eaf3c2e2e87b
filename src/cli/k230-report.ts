/** What a K230 image holds, for people and for scripts. */
import { hexOffset, toHex } from "../core/bytes.ts";
import type { OtaError } from "../core/errors.ts";
import { OtaError as Failure } from "../core/errors.ts";
import { formatBytes } from "../core/progress.ts";
import type { RandomReader } from "../core/ports.ts";
import { printable } from "../core/text.ts";
import {
  checkInstallable,
  decodeFirmwareHeader,
  describeFlag,
  driverView,
  FIRMWARE_HEADER_SIZE,
  FLAG_KIND_OOB,
  looksLikeFirmware,
  trailingBytes,
  verifyFirmware,
  type KdimgDelta,
  type KdimgScan,
  type ScannedPart,
} from "../k230/index.ts";
import { nodeFirmwareCrypto } from "../k230/firmware.node.ts";
import type { Report } from "./family.ts";

/** Contents larger than this are not loaded to check what a firmware header protects. */
const MAX_FIRMWARE = 256 * 1024 * 1024;

const CRYPTO = ["none (SHA-256)", "SM4-CBC + SM2", "AES-256-GCM + RSA-2048"];

/** The promised JSON of one image. */
export function scanJson({ header, parts }: KdimgScan): Record<string, unknown> {
  const { version, flag, imageInfo, chipInfo, boardInfo } = header ?? {};
  return {
    header: header === undefined ? null : { version, flag, imageInfo, chipInfo, boardInfo },
    parts: parts.map(partJson),
  };
}

function partJson(part: ScannedPart): Record<string, unknown> {
  const { name, offset, size, eraseSize, maxSize, flag, contentOffset, contentSize, sha256, dataOk } = part;
  return {
    name,
    offset,
    size,
    eraseSize,
    maxSize,
    flag: `0x${flag.toString(16)}`,
    contentOffset,
    contentSize,
    sha256: toHex(sha256),
    dataOk,
    ...(part.delta === undefined ? {} : { delta: deltaJson(part.delta) }),
  };
}

/** Of a delta part: what the patch was made against and what it makes. */
function deltaJson({ baseSize, baseSha256, resultSize, resultSha256 }: KdimgDelta): Record<string, unknown> {
  return { baseSize, baseSha256: toHex(baseSha256), resultSize, resultSha256: toHex(resultSha256) };
}

export function problemsJson(problems: readonly OtaError[]): unknown[] {
  return problems.map((p) => p.toJSON());
}

/** The table `kdimg info` prints. */
export function scanText({ header, parts, size }: KdimgScan): string {
  if (header === undefined) return "no kdimg";
  const lines = [
    `kdimg version ${header.version}, ${header.partCount} parts, ${formatBytes(size)}`,
    `  image  ${printable(header.imageInfo)}`,
    `  chip   ${printable(header.chipInfo)}`,
    `  board  ${printable(header.boardInfo)}`,
  ];
  for (const part of parts) {
    const { kind, pageSize, spareSize } = describeFlag(part.flag);
    const flag =
      part.flag === 0n
        ? ""
        : kind === FLAG_KIND_OOB
          ? `, pages of ${pageSize}+${spareSize}`
          : `, flag 0x${part.flag.toString(16)}`;
    lines.push(
      `${printable(part.name)}`,
      `  medium   ${hexOffset(part.offset)}, ${part.size} of ${part.maxSize} bytes${part.eraseSize > 0 ? `, erases ${part.eraseSize}` : ""}${flag}`,
      `  content  ${hexOffset(part.contentOffset)}, ${part.contentSize} bytes, ${part.dataOk ? "digest fits" : "DIGEST DOES NOT FIT"}`,
      `  sha256   ${toHex(part.sha256)}`,
    );
    if (part.delta === undefined) continue;
    const { baseSize, baseSha256, resultSize, resultSha256 } = part.delta;
    lines.push(
      `  delta    of ${baseSize} bytes with sha256 ${toHex(baseSha256)}`,
      `  makes    ${resultSize} bytes with sha256 ${toHex(resultSha256)}`,
    );
  }
  return lines.join("\n");
}

async function firmwareOf(
  part: ScannedPart,
  reader: RandomReader | undefined,
): Promise<Record<string, unknown> | undefined> {
  if (!looksLikeFirmware(part.head) || part.head.length < FIRMWARE_HEADER_SIZE) return undefined;
  try {
    const { cryptoType, length } = decodeFirmwareHeader(part.head);
    const shown = { cryptoType, crypto: CRYPTO[cryptoType], payloadLength: length };
    if (reader === undefined || !part.dataOk || part.contentSize > MAX_FIRMWARE) return shown;
    const bytes = await reader.read(part.contentOffset, part.contentSize);
    // The first stage is checked by the boot ROM, whose IVs are not stored.
    const report = verifyFirmware(bytes, nodeFirmwareCrypto, { firstStage: part.name.startsWith("spl") });
    return {
      ...shown,
      ok: report.ok,
      ...(report.version === undefined ? {} : { version: report.version }),
      ...(report.keyHash === undefined ? {} : { keyHash: report.keyHash }),
      ...(report.problem === undefined ? {} : { problem: report.problem.message }),
      ...(report.unchecked.length === 0 ? {} : { unchecked: report.unchecked }),
    };
  } catch (e) {
    if (!(e instanceof Failure)) throw e;
    return { ok: false, problem: e.message };
  }
}

function safeVerdict(scan: KdimgScan): string | undefined {
  if (scan.header === undefined) return "no kdimg";
  const [problem] = scan.problems;
  if (problem !== undefined) return problem.message;
  try {
    checkInstallable({ header: scan.header, parts: scan.parts, tableEnd: scan.tableEnd });
  } catch (e) {
    if (e instanceof Failure) return e.message;
    throw e;
  }
  const trailing = trailingBytes(scan);
  return trailing > 0 ? `${trailing} bytes follow the last content` : undefined;
}

/** `otaforge inspect`: header, parts, firmware headers, what the driver takes and ignores. */
export async function inspectReport(scan: KdimgScan, reader: RandomReader | undefined): Promise<Report> {
  const lines = [scanText(scan)];
  const firmware = new Map<string, Record<string, unknown>>();
  for (const part of scan.parts) {
    const found = await firmwareOf(part, reader);
    if (found !== undefined) firmware.set(part.name, found);
  }
  for (const [name, fw] of firmware) {
    const say = Object.entries(fw).map(([k, v]) => `${k} ${String(v)}`);
    lines.push(`firmware in ${printable(name)}: ${say.join(", ")}`);
  }
  const views =
    scan.header === undefined ? [] : driverView({ header: scan.header, parts: scan.parts, tableEnd: scan.tableEnd });
  lines.push("An A/B update by the kernel driver:");
  for (const { name, taken, why } of views) lines.push(`  ${taken ? "takes  " : "ignores"} ${printable(name)}: ${why}`);
  if (views.length === 0) lines.push("  refuses the image");
  const refused = safeVerdict(scan);
  lines.push(refused === undefined ? "The safe profile installs it." : `The safe profile refuses it: ${refused}.`);
  return {
    text: lines.join("\n"),
    json: {
      family: "k230",
      ...scanJson(scan),
      firmware: Object.fromEntries(firmware),
      driver: views,
      installable: refused === undefined,
      ...(refused === undefined ? {} : { refused }),
      problems: problemsJson(scan.problems),
    },
    exitCode: scan.problems.length > 0 ? 3 : 0,
  };
}
