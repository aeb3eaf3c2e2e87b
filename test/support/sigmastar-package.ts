/** Small SigmaStar packages for tests, made record by record with the library's own layouts. */
import { concatBytes } from "../../src/core/bytes.ts";
import { encodeText } from "../../src/core/text.ts";
import { nodeDigests } from "../../src/device/digests.ts";
import { sealHeader, startRecordCheck } from "../../src/sigmastar/integrity.ts";
import { FORMATS, OPT } from "../../src/sigmastar/layout.ts";
import type { Generation, OperationName, RecordHead } from "../../src/sigmastar/layout.ts";

export interface TestRecord {
  readonly operation: OperationName;
  readonly destination: string;
  readonly payload?: Uint8Array | string;
  readonly mode?: number;
  readonly destinationSize?: number;
  readonly masks?: readonly number[];
  readonly log?: string;
}

export interface TestPackage {
  readonly generation?: Generation;
  readonly begin?: string;
  readonly end?: string;
  readonly records?: readonly TestRecord[];
}

function bytesOf(payload: Uint8Array | string | undefined): Uint8Array {
  return typeof payload === "string" ? encodeText(payload) : (payload ?? new Uint8Array(0));
}

/** The bytes of a whole and valid package. */
export function testPackage({ generation = "v1.6", begin = "", end = "", records = [] }: TestPackage): Uint8Array {
  const format = FORMATS[generation];
  const parts = records.flatMap((record) => {
    const payload = bytesOf(record.payload);
    const masks = Array.from({ length: 16 }, (_, i) => record.masks?.[i] ?? 1);
    const head: RecordHead = {
      opt: OPT[record.operation],
      fileSize: payload.length,
      destination: record.destination,
      destinationSize: record.destinationSize ?? 0,
      mode: record.mode ?? 0,
      sourceName: "",
      log: record.log ?? "",
      masks,
    };
    const check = startRecordCheck(nodeDigests, format, head);
    check.update(payload);
    return [check.seal(), payload];
  });
  const [beginBytes, endBytes] = [encodeText(begin), encodeText(end)];
  const header = sealHeader(
    nodeDigests,
    {
      generation,
      recordCount: records.length,
      totalSize: records.reduce((sum, r) => sum + bytesOf(r.payload).length, 0),
      beginScriptSize: beginBytes.length,
      endScriptSize: endBytes.length,
    },
    { begin: beginBytes, end: endBytes },
  );
  return concatBytes(header, beginBytes, endBytes, ...parts);
}

/** Bytes that look random and are the same in every run. */
export function noise(length: number, seed: number): Uint8Array {
  const out = new Uint8Array(length);
  let x = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    out[i] = x >>> 24;
  }
  return out;
}
