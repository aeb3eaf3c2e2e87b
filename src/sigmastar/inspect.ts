/** What a package holds and what each part will do on the device: one pass, every check value compared on the way. */
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ByteStream, Cancel, Digests } from "../core/ports.ts";
import type { DumpRow } from "../core/layout.ts";
import { printable } from "../core/text.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header } from "../delta/bsdiff40/header.ts";
import { OPT, operationOf } from "./layout.ts";
import type { Destination, Generation, RecordHead } from "./layout.ts";
import { readPackage } from "./read.ts";
import type { PackageReader, PackageRecord } from "./read.ts";

export interface InspectedScript {
  readonly name: "begin" | "end";
  readonly offset: number;
  readonly size: number;
  readonly sha256: string;
  readonly content: Uint8Array;
}

export interface InspectedRecord {
  readonly index: number;
  /** Offset of the head in the plain package. */
  readonly offset: number;
  readonly payloadOffset: number;
  readonly operation: string;
  readonly head: RecordHead;
  readonly destinations: readonly Destination[];
  /** Of the payload, lower-case hex. */
  readonly sha256: string;
  /** Stored check value: MD5, or the byte sum in hex. */
  readonly check: string;
  /** Diff records: bytes of the patched result. */
  readonly resultSize?: number;
  /** A sentence for people. */
  readonly does: string;
}

export interface Inspection {
  readonly generation: Generation;
  readonly headerRows: readonly DumpRow[];
  readonly header: PackageReader["header"];
  readonly scripts: readonly InspectedScript[];
  readonly records: readonly InspectedRecord[];
  /** The first thing that is wrong behind the header and scripts; what stands before it was read and checked. */
  readonly problem?: OtaError;
}

export interface InspectOptions {
  readonly sizeBytes?: number;
  readonly cancel?: Cancel;
  readonly onPayload?: (doneBytes: number, totalBytes: number) => void;
}

const octal = (mode: number): string => (mode % 0o10000).toString(8).padStart(4, "0");

/** Says in one sentence what a client does with a record. */
export function describeRecord(head: RecordHead, destinations: readonly Destination[], resultSize?: number): string {
  const taken = destinations.filter((d) => d.mask !== 0).map((d) => printable(d.path));
  const skipped = destinations.filter((d) => d.mask === 0).map((d) => printable(d.path));
  const to = taken.length === 0 ? "nothing" : taken.join(" and ");
  const unless = skipped.length === 0 ? "" : `; skips ${skipped.join(" and ")} (mask 0)`;
  const size = `${head.fileSize} bytes`;
  switch (head.opt) {
    case OPT.BLK_UPDATE:
      return `writes ${size} to ${to}${unless}`;
    case OPT.UBI_UPDATE:
      return `replaces the UBI volume ${to} with ${size}${unless}`;
    case OPT.FILE_UPDATE:
      return `replaces the content of ${to} with ${size}, its mode stays${unless}`;
    case OPT.FILE_ADD:
      return `makes ${to} with ${size}, mode ${octal(head.mode)}${unless}`;
    case OPT.FILE_DELETE:
      return `removes ${to}${unless}`;
    case OPT.FILE_DIFF:
      return `patches ${to}${resultSize === undefined ? "" : ` to ${resultSize} bytes`} with ${size}${unless}`;
    default:
      return `runs a script of ${size}`;
  }
}

function patchSize(head: RecordHead, first: Uint8Array, index: number): number | undefined {
  if (head.opt !== OPT.FILE_DIFF) return undefined;
  if (first.length < BSDIFF40_HEADER_SIZE) {
    throw new OtaError("SIGMASTAR_RECORD_INVALID", {
      what: "the payload of a diff record is too short for a patch",
      where: `record ${index}`,
      expected: `at least ${BSDIFF40_HEADER_SIZE} bytes`,
      found: head.fileSize,
    });
  }
  return readBsdiff40Header(first).newSize;
}

/** Reads a record's payload once: its digest, and the result's size of a patch. */
async function inspectRecord(
  record: PackageRecord,
  digests: Digests,
  onBytes: (bytes: Uint8Array) => void,
): Promise<InspectedRecord> {
  const { head, index, offset, payloadOffset, destinations } = record;
  const sha256 = digests.create("sha256");
  const first = new Uint8Array(BSDIFF40_HEADER_SIZE);
  let have = 0;
  for await (const chunk of record.payload) {
    sha256.update(chunk);
    if (have < first.length) {
      const part = chunk.subarray(0, first.length - have);
      first.set(part, have);
      have += part.length;
    }
    onBytes(chunk);
  }
  const resultSize = patchSize(head, first.subarray(0, have), index);
  return {
    index,
    offset,
    payloadOffset,
    operation: operationOf(head.opt)?.name ?? String(head.opt),
    head,
    destinations,
    sha256: toHex(sha256.digest()),
    check: head.md5 === undefined ? `0x${(head.checkSum ?? 0).toString(16)}` : toHex(head.md5),
    ...(resultSize === undefined ? {} : { resultSize }),
    does: describeRecord(head, destinations, resultSize),
  };
}

/**
 * Inspects a plain package. Damage behind the header and scripts does not throw: it ends the list and is told as `problem`.
 *
 * @throws OtaError as `readPackage`; CANCELLED; what the source throws
 */
export async function inspectPackage(
  source: ByteStream,
  digests: Digests,
  options: InspectOptions = {},
): Promise<Inspection> {
  const { sizeBytes, cancel } = options;
  const reader = await readPackage(source, digests, {
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    ...(cancel === undefined ? {} : { cancel }),
  });
  try {
    const { format, header } = reader;
    const script = (name: "begin" | "end", content: Uint8Array, offset: number): InspectedScript => {
      const digest = digests.create("sha256");
      digest.update(content);
      return { name, offset, size: content.length, sha256: toHex(digest.digest()), content };
    };
    const scripts = [
      script("begin", reader.beginScript, format.headerSize),
      script("end", reader.endScript, format.headerSize + header.beginScriptSize),
    ];
    const records: InspectedRecord[] = [];
    let problem: OtaError | undefined;
    let done = 0;
    try {
      for await (const record of reader.records()) {
        records.push(
          await inspectRecord(record, digests, (bytes) => {
            done += bytes.length;
            options.onPayload?.(done, header.totalSize);
          }),
        );
      }
    } catch (e) {
      if (!(e instanceof OtaError) || e.kind !== "format") throw e;
      problem = e;
    }
    return {
      generation: reader.generation,
      headerRows: format.header.dump(reader.headerBytes),
      header,
      scripts,
      records,
      ...(problem === undefined ? {} : { problem }),
    };
  } finally {
    await reader.close();
  }
}

/** One difference between two packages. */
export interface Difference {
  /** `generation`, `begin script`, `record 3` … */
  readonly part: string;
  readonly field: string;
  readonly a: string;
  readonly b: string;
}

function recordFacts(r: InspectedRecord): Record<string, string> {
  return {
    operation: r.operation,
    destinations: r.destinations.map((d) => (d.mask === 1 ? d.path : `${d.path} (mask ${d.mask})`)).join(" "),
    "destination size": String(r.head.destinationSize),
    mode: `0${r.head.mode.toString(8)}`,
    size: String(r.head.fileSize),
    content: r.sha256,
    ...(r.head.sourceName === undefined ? {} : { source: r.head.sourceName }),
    ...(r.head.log === undefined ? {} : { log: r.head.log }),
  };
}

/** How two packages differ; empty when they carry the same content. The build id is told but is no content. */
export function comparePackages(a: Inspection, b: Inspection): Difference[] {
  const out: Difference[] = [];
  const say = (part: string, field: string, x: string, y: string): void => {
    if (x !== y) out.push({ part, field, a: printable(x), b: printable(y) });
  };
  say("header", "generation", a.generation, b.generation);
  for (const [i, script] of a.scripts.entries()) {
    const other = b.scripts[i] as InspectedScript;
    say(`${script.name} script`, "size", String(script.size), String(other.size));
    say(`${script.name} script`, "content", script.sha256, other.sha256);
  }
  say("header", "records", String(a.records.length), String(b.records.length));
  for (let i = 0; i < Math.max(a.records.length, b.records.length); i++) {
    const [x, y] = [a.records[i], b.records[i]];
    if (x === undefined || y === undefined) {
      const only = (x ?? y) as InspectedRecord;
      say(`record ${i}`, "present", x === undefined ? "no" : only.does, y === undefined ? "no" : only.does);
      continue;
    }
    const [p, q] = [recordFacts(x), recordFacts(y)];
    for (const field of new Set([...Object.keys(p), ...Object.keys(q)])) {
      // A field that only one generation has is told by the generation.
      if (p[field] !== undefined && q[field] !== undefined) say(`record ${i}`, field, p[field], q[field]);
    }
  }
  return out;
}

/** Name of a record's part when it is extracted: its number and a safe form of its source's or destination's name. */
export function partName(index: number, count: number, record: Pick<InspectedRecord, "head" | "destinations">): string {
  const path = record.head.sourceName !== undefined && record.head.sourceName !== "" ? record.head.sourceName : "";
  const text = path !== "" ? path : (record.destinations[0]?.path ?? "");
  const last = text
    .slice(text.lastIndexOf("/") + 1)
    .replace(/[^A-Za-z0-9._-]/g, "_")
    .slice(0, 100);
  const width = Math.max(2, String(Math.max(0, count - 1)).length);
  return `${String(index).padStart(width, "0")}-${last === "" ? "payload" : last}`;
}
